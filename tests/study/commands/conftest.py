"""Fixtures of the commands."""

from made_cluster import fake, store, sweep

__all__ = ["fake", "store", "sweep"]
