"""The commands. Nothing here computes: each body calls one function of the library."""
