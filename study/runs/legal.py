"""Refusing numbers that no value may hold, in words. No torch."""

from __future__ import annotations


def positive(owner: object, *names: str) -> None:
    for name in names:
        number = getattr(owner, name)
        if not number > 0:
            raise ValueError(f"{type(owner).__name__}.{name} is {number!r}; it must be positive")


def within(owner: object, name: str, *, low: float, high: float) -> None:
    """Refuse a value outside [low, high)."""
    number = getattr(owner, name)
    if not low <= number < high:
        raise ValueError(
            f"{type(owner).__name__}.{name} is {number!r}; legal: {low} <= {name} < {high}"
        )
