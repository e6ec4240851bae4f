"""Tasks that are scored together. No torch.

Owns the suite, its holes and its views. What a task is, and by which rule it is scored, is a
domain's: its own values derive from `Task` and `ScoringRule`, which have no fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar


class Task:
    """Base of what a suite scores, one name each."""

    name: str

    @property
    def measure(self) -> str:
        """The name of the domain's measure that scores it."""
        raise NotImplementedError

    @property
    def at_chance(self) -> float | None:
        """What guessing scores; None where there is no such thing."""
        return None

    @property
    def is_headline(self) -> bool:
        """Whether it counts in the suite's score. Tasks that count together have one measure."""
        return True

    @property
    def shown_as(self) -> str:
        """What it is to the suite's score, as tables say it."""
        return "headline" if self.is_headline else "beside"

    @property
    def scored_by(self) -> str:
        """How its answers are scored, where the measure's name does not say it."""
        return self.measure


class ScoringRule:
    """Base of the options by which tasks are scored."""


@dataclass(frozen=True, kw_only=True)
class View:
    """A suite's score without the tasks that weigh on it for a known reason. without: their names;
    why: in words.
    """

    name: str
    without: tuple[str, ...]
    why: str


_Task = TypeVar("_Task", bound=Task)
_Rule = TypeVar("_Rule", bound=ScoringRule)


@dataclass(frozen=True, kw_only=True)
class Hole:
    """A headline task of a suite that is not scored. wanted: the rows it would read."""

    name: str
    wanted: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Suite(Generic[_Task, _Rule]):
    """Tasks aggregated together: median over conditions, then mean over the headline tasks.

    holes: what else belongs to the suite. A suite with holes is another suite, with another id: its
    mean is over fewer data sets, and says so.
    """

    name: str
    tasks: tuple[_Task, ...]
    scoring: _Rule
    holes: tuple[Hole, ...] = ()

    def __post_init__(self) -> None:
        known = {task.name for task in self.tasks}
        if both := [hole.name for hole in self.holes if hole.name in known]:
            raise ValueError(f"suite {self.name!r}: {both[0]!r} is a task and a hole")

    @property
    def headline(self) -> tuple[_Task, ...]:
        """What the suite's score is the mean of."""
        return tuple(task for task in self.tasks if task.is_headline)
