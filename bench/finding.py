"""What a benchmark states: a goal, and figures that were measured in turns.

Owns how a figure is summed up (median, least, largest) and when a goal is met. No torch.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Literal

FEWEST = 5
"""Rounds of a figure: a median of fewer is no median."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a figure should be, in the figure's own unit."""

    sense: Literal["at least", "at most"]
    value: float

    def met(self, figure: Figure) -> bool:
        if self.sense == "at least":
            return figure.median >= self.value
        return figure.median <= self.value


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One quantity, a value a round. unit: `x` for a ratio."""

    values: tuple[float, ...]
    unit: str

    def __post_init__(self) -> None:
        if len(self.values) < FEWEST:
            raise ValueError(f"{len(self.values)} rounds; legal: {FEWEST} or more")

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def least(self) -> float:
        return min(self.values)

    @property
    def largest(self) -> float:
        return max(self.values)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one row measured.

    figure: what the goal is about. ours, peer: the two sides in their own unit, where there are
    two. goal: only where it is not the row's own (a limit that was measured as well). same: what
    the two sides were found to share before anything was timed. notes: what else a reader needs.
    """

    figure: Figure
    ours: Figure | None = None
    peer: Figure | None = None
    goal: Goal | None = None
    same: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
