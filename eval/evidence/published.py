"""Published numbers of public checkpoints as data, as a sweep declares them in `PUBLISHED`.

Owns what such an entry says: the numbers, where they were read, and how their source averages.
`eval.evidence.calibration` sets our own scores beside them. No numpy, no torch: sweeps import this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

SUITE = "(suite)"
"""In place of a task: the mean over the suite's headline tasks."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """Accuracies in per cent of one checkpoint on one suite, by task.

    what: how the source averages, in words. source: where the numbers were read, empty where none
    were found (`what` then says so). scores: by a task of the suite, `(suite)`, or a name of
    `means`. means: tasks of the suite whose plain mean is one published number. prompts: how the
    source puts a task's prompts together; ours are put together alike before they are compared.
    tasks: how many tasks the source's `(suite)` is the mean of; a suite of ours with another number
    is another suite, and its mean no comparison.
    """

    suite: str
    what: str
    source: str
    scores: Mapping[str, float]
    means: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    prompts: Literal["median", "mean"] = "median"
    tasks: int = 0

    def __post_init__(self) -> None:
        for name, value in self.scores.items():
            if not 0 <= value <= 100:
                raise ValueError(f"{name!r} is published as {value}; legal: per cent, 0 to 100")
        if SUITE in self.scores and self.tasks < 1:
            raise ValueError(
                f"{SUITE!r} is published as the mean of {self.tasks} tasks; legal: 1 or more"
            )
        if bool(self.scores) != bool(self.source):
            raise ValueError(
                f"{len(self.scores)} scores on {self.suite!r} from the source {self.source!r}; "
                "legal: scores with their source, or neither"
            )

    def tasks_of(self, name: str) -> tuple[str, ...]:
        """The tasks that one published number is about; none for the whole suite."""
        return () if name == SUITE else self.means.get(name, (name,))
