"""A row: what is timed, beside what, its goal, and the figures that were found.

Owns how a figure is summed up (median, least, largest) and when a goal is met. A row's `measure`
runs in a process of its own (`bench.__main__`), so that no row finds the memory, threads or
compiled code of another.
"""

from __future__ import annotations

import operator
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.clock import Turn, take_turns

FEWEST = 5
"""Rounds of a figure: a median of fewer is no median."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One quantity, a value a round. unit: `x` for a ratio."""

    unit: str
    values: tuple[float, ...]

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
class Goal:
    """What a figure should be, in the figure's own unit."""

    sense: Literal["at least", "at most"]
    value: float

    def met(self, figure: Figure) -> bool:
        if self.sense == "at least":
            return figure.median >= self.value
        return figure.median <= self.value


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


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What a row is given, and how it times. folder: its own, empty. shared: of all rows, for
    corpora that several read.
    """

    folder: Path
    shared: Path
    rounds: int
    threads: int

    def alone(self, turn: Turn, *, unit: str, untimed: int = 1) -> Finding:
        """One side, whose own figure is the row's."""
        found = take_turns({"ours": turn}, rounds=self.rounds, untimed=untimed)
        return Finding(figure=Figure(values=found["ours"], unit=unit))

    def beside(
        self,
        ours: Turn,
        peer: Turn,
        *,
        unit: str,
        by: Callable[[float, float], float] = operator.truediv,
        into: str = "x",
        untimed: int = 1,
    ) -> Finding:
        """Two sides, and ours by the peer's as the figure, in the unit `into`: taken within each
        round, since what else the machine does changes between them.
        """
        found = take_turns({"ours": ours, "peer": peer}, rounds=self.rounds, untimed=untimed)
        return Finding(
            figure=Figure(values=tuple(map(by, found["ours"], found["peer"])), unit=into),
            ours=Figure(values=found["ours"], unit=unit),
            peer=Figure(values=found["peer"], unit=unit),
        )


@dataclass(frozen=True, kw_only=True)
class Row:
    """what: is timed. peer: beside whom. floor: what bounds the figure, whoever computes it.
    missed: why the goal is not met, said where it is not. measure: None where another command
    measures it. gpu: needs one, and is unmeasured where there is none. command: what measures it,
    where that is not `make bench`.
    """

    name: str
    what: str
    peer: str = ""
    goal: Goal | None = None
    floor: str
    measure: Callable[[Bench], Finding] | None = None
    missed: str = ""
    gpu: bool = False
    command: str = ""
    unit: str = "x"
