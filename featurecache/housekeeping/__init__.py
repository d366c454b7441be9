"""What is done to a store that is there: check, repair, clean up, compare, export, pack."""
