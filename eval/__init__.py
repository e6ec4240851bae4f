"""Scores finished runs, aggregates the scores and writes the report."""
