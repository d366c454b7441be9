"""Engines map the computation of units over processes and devices."""
