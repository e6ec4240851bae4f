"""Scores of one task as arrays: cells x seeds x conditions x items, and its resamples.

Owns how a measure (`study.runs.measure`) becomes a score: under each condition one number of the
items, over conditions the median. Resamples draw whole groups of items, alike for all cells, seeds
and conditions, so that differences between cells are paired.

Axes: C cells, S seeds, K conditions, I items, R bootstrap replicates, D places of a vector.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from eval.evidence.statistics import REPLICATES, resampling_counts
from study.runs.measure import Measure
from study.runs.suite import Task

BOOTSTRAP_SEED = 20220412
Option = Literal["own", "other"]
"""Scores under the suite's own scoring rule, or under the other option of it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskScores:
    """One task. measure: its own; others: what else its items have. columns: of those measures by
    name, (C, S, K, I), or (C, S, K, I, D) of vectors, NaN where there is no value. groups: (I,).

    A cell and seed without one valid item has no values: a broken model is a hole, not a score
    below chance.
    """

    task: Task
    measure: Measure
    conditions: tuple[str, ...]
    columns: Mapping[str, np.ndarray]
    groups: np.ndarray
    twins: bool
    others: tuple[Measure, ...] = ()

    @property
    def at_chance(self) -> float | None:
        """What guessing scores; None where there is no such thing."""
        return self.task.at_chance

    @property
    def answers(self) -> np.ndarray:
        """(C, S, K, I): the values that the score is the mean of, or that it starts from."""
        return self.columns[self.measure.columns[0]]

    @property
    def known(self) -> np.ndarray:
        """(C, S, K, I): whether there is a value."""
        there = np.asarray(~np.isnan(self.answers))
        return there if there.ndim == 4 else np.asarray(there.any(axis=4))

    @property
    def independent(self) -> int:
        """Groups of items that anybody has answered."""
        return len(np.unique(self.groups[self.known.any(axis=(0, 1, 2))]))

    def has(self, measure: Measure) -> bool:
        """Whether any cell has a value of it."""
        return all(np.isfinite(self.columns[name]).any() for name in measure.columns)

    def scores(self, *, option: Option = "own") -> np.ndarray:
        """(C, S) of its own measure."""
        return self.values(_under(self.measure, option))

    def bootstrap(self, *, option: Option = "own") -> np.ndarray:
        """(R, C, S): the same scores of resampled items."""
        return self.replicates(_under(self.measure, option))

    def values(self, measure: Measure) -> np.ndarray:
        """(C, S): the median over conditions."""
        return _median(_each(self, measure), axis=2)

    def replicates(self, measure: Measure) -> np.ndarray:
        """(R, C, S); of a measure that resampling biases, its value R times."""
        return _replicates(self, measure)

    def by_condition(self) -> np.ndarray:
        """(C, S, K)."""
        return _each(self, self.measure)

    def blind(self) -> np.ndarray | None:
        """(C, S, K): the scores of the same answers chosen without the question; None where nobody
        asked.
        """
        name = self.measure.blind
        if not name or not np.isfinite(self.columns[name]).any():
            return None
        return _mean(self.columns[name], axis=3)

    def each_condition(self) -> tuple[TaskScores, ...]:
        """The task under each of its conditions alone."""
        return tuple(
            replace(
                self,
                conditions=(name,),
                columns={key: values[:, :, [at]] for key, values in self.columns.items()},
            )
            for at, name in enumerate(self.conditions)
        )

    def part(self, cells: list[int], seeds: list[int]) -> TaskScores:
        """Of these cells and seeds, by place."""
        place = np.ix_(cells, seeds)
        return replace(self, columns={key: each[place] for key, each in self.columns.items()})

    def over(self, items: np.ndarray) -> TaskScores:
        """Of these items alone. items: (C, I) bool."""
        kept = items[:, None, None, :]
        return replace(
            self,
            columns={
                key: np.where(kept if each.ndim == 4 else kept[..., None], each, np.nan)
                for key, each in self.columns.items()
            },
        )


def _under(measure: Measure, option: Option) -> Measure:
    """A rule without another option gives the same score under it."""
    if option == "own" or not measure.otherwise:
        return measure
    return replace(measure, columns=(measure.otherwise,), otherwise="")


def _each(task: TaskScores, measure: Measure) -> np.ndarray:
    """(C, S, K)."""
    columns = [task.columns[name] for name in measure.columns]
    match measure.aggregation:
        case "mean":
            return _mean(columns[0], axis=3)
        case "ratio":
            with np.errstate(invalid="ignore", divide="ignore"):
                above, below = (np.nansum(each, axis=3) for each in columns)
                return above / below
    return _of_set(task, measure, np.arange(len(task.groups)))


def _of_set(task: TaskScores, measure: Measure, drawn: np.ndarray) -> np.ndarray:
    """(C, S, K): a function of the drawn items that have a value; NaN where none has."""
    assert measure.of is not None
    known = task.known
    found = np.full(known.shape[:3], np.nan)
    for place in np.ndindex(*found.shape):
        own = drawn[known[place][drawn]]
        if own.size:
            columns = {name: task.columns[name][place][own] for name in measure.columns}
            found[place] = measure.of(columns)
    return found


@functools.lru_cache(maxsize=256)
def _replicates(task: TaskScores, measure: Measure) -> np.ndarray:
    if not measure.resampled:
        values = task.values(measure)
        return np.broadcast_to(values, (REPLICATES, *values.shape))
    counts = resampling_counts(task.groups, replicates=REPLICATES, seed=BOOTSTRAP_SEED)
    if measure.aggregation == "set":
        places = np.arange(len(task.groups))
        each = [_of_set(task, measure, np.repeat(places, drawn)) for drawn in counts.astype(int)]
        return _median(np.stack(each), axis=3)
    first, *rest = (task.columns[name] for name in measure.columns)
    known = np.isfinite(first)
    below = rest[0] if rest else known
    with np.errstate(invalid="ignore", divide="ignore"):
        means = _drawn(counts, np.where(known, first, 0.0)) / _drawn(counts, np.nan_to_num(below))
    if rest:  # a value without bounds (of a text that has no price, say) leaves none to its sum
        means[:, np.isinf(first).any(axis=3)] = np.nan
    return _median(means, axis=3)


def _drawn(counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(R, C, S, K): sums over resampled items."""
    flat = counts @ values.reshape(-1, values.shape[3]).T.astype(np.float32)
    return flat.reshape(len(counts), *values.shape[:3])


def _mean(values: np.ndarray, *, axis: int) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a mean of nothing is NaN, and meant so
        return np.nanmean(values, axis=axis)


def _median(values: np.ndarray, *, axis: int) -> np.ndarray:
    if np.isfinite(values).all():
        return np.median(values, axis=axis)  # many times faster than the one that skips NaN
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmedian(values, axis=axis)
