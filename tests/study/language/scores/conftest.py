"""Fixtures of the statistics."""

from made_panels import key_of, panel_of

__all__ = ["key_of", "panel_of"]
