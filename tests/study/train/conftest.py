"""Fixtures of training."""

from made_loops import one_thread
from made_work import built, store, threads_restored

__all__ = ["built", "one_thread", "store", "threads_restored"]
