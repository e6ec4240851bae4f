"""Fixtures of the store."""

from made_folders import directory, store

__all__ = ["directory", "store"]
