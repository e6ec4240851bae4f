"""Claims as data, decided."""
