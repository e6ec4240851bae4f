"""Functions that fill in whole runs and trees of them."""
