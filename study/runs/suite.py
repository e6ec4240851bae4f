"""Tasks that are scored together. No torch.

Owns the suite and its holes. What a task is, and by which rule it is scored, is a domain's: its own
values derive from `Task` and `ScoringRule`, which have no fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar


class Task:
    """Base of what a suite scores. is_headline: whether it counts in the suite's score."""

    name: str

    @property
    def is_headline(self) -> bool:
        return True


class ScoringRule:
    """Base of the options by which tasks are scored."""


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
