"""Text: the first domain."""
