"""Prompt templates, and the rows that they read."""
