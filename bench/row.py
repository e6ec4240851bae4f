"""A row of the table: what is measured, beside what, and the goal.

A row's `measure` runs in a process of its own (`bench.__main__`), so that no row finds the memory,
threads or compiled code of another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.finding import Finding, Goal


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What a row is given. folder: its own, empty. shared: of all rows, for corpora that several
    read.
    """

    folder: Path
    shared: Path
    rounds: int
    threads: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """floor: what bounds the figure, whoever computes it. missed: why the goal is not met, said
    where it is not. measure: None where another command measures it. gpu: needs one, and is
    unmeasured where there is none. command: what measures it, where that is not `make bench`.
    """

    name: str
    what: str
    peer: str
    goal: Goal | None
    floor: str
    measure: Callable[[Bench], Finding] | None
    missed: str = ""
    gpu: bool = False
    command: str = ""
    unit: str = "x"
