"""How a number is written, wherever it stands: in a terminal, on a page, in a sentence.

Owns the dash of a number that is not there, and the true minus sign. What a number means, and which
way of writing it fits, its column says.
"""

from __future__ import annotations

import math
from collections.abc import Callable

DASH = "–"


def percent(value: float | None) -> str:
    """A share in percent; a dash where there is none."""
    return DASH if value is None or not math.isfinite(value) else f"{100 * value:.1f}"


def points(value: float | None) -> str:
    """A difference of two percentages, signed."""
    return DASH if value is None or not math.isfinite(value) else signed(100 * value, digits=1)


def signed(value: float, *, digits: int) -> str:
    """With a sign, unless it rounds to zero."""
    rounded = round(value, digits)
    return f"{rounded:+.{digits}f}".replace("-", "−") if rounded else f"{0:.{digits}f}"


def over_chance(value: float | None) -> str:
    """A chance-normalised score: 0 is guessing, 1 is all right."""
    return DASH if value is None or not math.isfinite(value) else signed(value, digits=3)


def difference(value: float | None) -> str:
    """Of two numbers that are no shares, signed."""
    return DASH if value is None or not math.isfinite(value) else signed(value, digits=3)


def decimal(value: float | None) -> str:
    """Three digits after the point."""
    return DASH if value is None else f"{value:.3f}".replace("-", "−")


def between(low: float | None, high: float | None, write: Callable[[float], str] = percent) -> str:
    """Both ends of an interval, written alike."""
    return DASH if low is None or high is None else f"{write(low)} to {write(high)}"


def p_value(p: float | None) -> str:
    if p is None:
        return DASH
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def count(number: int | None) -> str:
    """`1,230,000`, every digit."""
    return DASH if number is None else f"{number:,}"


def counted(number: int, noun: str) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def scientific(number: float | None) -> str:
    """`1.23e12`, two digits after the point."""
    if number is None:
        return DASH
    if not number:
        return "0"
    power = math.floor(math.log10(abs(number)))
    return f"{number / 10**power:.2f}e{power}"


def quantity(number: int | float | None) -> str:
    """`1.23 M`, three digits; an empty cell for None."""
    if number is None:
        return ""
    for power, letter in ((21, "Z"), (18, "E"), (15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if abs(number) >= 10**power:
            return f"{number / 10**power:.3g} {letter}"
    return f"{number:g}"


def budget(tokens: int) -> str:
    """`1.2M`: a budget of tokens where a lineage is named by it."""
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if tokens >= size:
            return f"{tokens / size:.3g}{unit}"
    return str(tokens)
