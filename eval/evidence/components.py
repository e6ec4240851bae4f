"""Where the spread of a score comes from: items, prompts and seeds, each by itself.

Owns the variance components of one data set's credit y (seed s, condition k, item i) of one cell,

    y = mean + S_s + K_k + I_i + (SK)_sk + (SI)_si + (KI)_ki + rest_ski

all effects independent with mean zero. They are estimated by the method of moments over pairs: half
the mean squared difference of two answers that differ in exactly the factors D and share the others
has the expectation

    g(D) = sum of the variances of the effects that hold a factor of D

(Koch 1968, Technometrics 10: symmetric differences), so that the variances follow by subtraction.
For complete data these are the usual estimates by analysis of variance; conditions that ask some of
the items only need no other method. They are unbiased and may be negative where there is little to
find; sums and means keep the sign, and what is printed as a standard deviation stops at zero.

Cells are averaged: their variances are of one kind, not of one size. The rest of single answers
(0 or 1) is mostly chance itself.

Axes: C cells, S seeds, K conditions (prompts, say), I items.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import chain, combinations

import numpy as np

from eval.evidence.panel import Panel
from eval.evidence.table import SUITE

_AXES = {"seed": 0, "condition": 1, "item": 2}
_Factors = frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Components:
    """Variances of single answers; None where the factor has one level, so that it cannot be told.

    With one condition `item` holds what condition and item do together, and so on: what cannot be
    told apart stands under the factor that varied.
    """

    seed: float | None
    condition: float | None
    item: float | None
    seed_condition: float | None
    seed_item: float | None
    condition_item: float | None
    rest: float | None


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The mean components of a stage's cells on one task, or over tasks (task `(suite)`).

    seeds, conditions, items: levels behind them (of a suite the means over tasks).
    """

    suite: str
    size: str
    stage: str
    task: str
    cells: int
    seeds: float
    conditions: float
    items: float
    is_share: bool
    variances: Components

    def deviation(self, name: str) -> float | None:
        """Standard deviation of one component, in the unit of the score; 0 where the estimate is
        negative.
        """
        value = getattr(self.variances, name)
        return None if value is None else math.sqrt(max(value, 0.0))


def components(answers: np.ndarray) -> Components:
    """answers: (S, K, I), NaN where none was given."""
    known = np.isfinite(answers)
    centre = answers[known].mean() if known.any() else 0.0
    factors = [name for name, axis in _AXES.items() if _levels(known, axis) > 1]
    between = _half_squares(np.where(known, answers - centre, 0.0), known)
    found = {effect: _variance(effect, factors, between) for effect in _subsets(factors) if effect}
    return Components(
        **{
            each.name: found.get(
                frozenset(factors)
                if each.name == "rest" and len(factors) == 3
                else frozenset(each.name.split("_"))
            )
            for each in fields(Components)
        }
    )


def spreads(panel: Panel) -> tuple[Spread, ...]:
    """One for each stage and headline task, then one over the tasks."""
    found: list[Spread] = []
    for stage in dict.fromkeys(each.stage_label for each in panel.cells):
        own = [index for index, key in enumerate(panel.cells) if key.stage_label == stage]
        tasks = [
            Spread(
                suite=panel.suite,
                size=panel.size,
                stage=stage,
                task=task.task.name,
                cells=len(own),
                seeds=_levels(_known(task.answers[own]), 0),
                conditions=_levels(_known(task.answers[own]), 1),
                items=_levels(_known(task.answers[own]), 2),
                is_share=task.measure.is_share,
                variances=_mean([components(task.answers[index]) for index in own]),
            )
            for task in panel.headline
            if task.measure.aggregation == "mean"
        ]
        found += tasks
        if len(tasks) > 1:
            found.append(_over(tasks))
    return tuple(found)


def _over(tasks: Sequence[Spread]) -> Spread:
    first = tasks[0]
    return Spread(
        suite=first.suite,
        size=first.size,
        stage=first.stage,
        task=SUITE,
        cells=first.cells,
        seeds=float(np.mean([each.seeds for each in tasks])),
        conditions=float(np.mean([each.conditions for each in tasks])),
        items=float(np.mean([each.items for each in tasks])),
        is_share=first.is_share,
        variances=_mean([each.variances for each in tasks]),
    )


def _mean(found: Iterable[Components]) -> Components:
    """Over those that have the component."""
    found = list(found)
    means: dict[str, float | None] = {}
    for each in fields(Components):
        values = [v for one in found if (v := getattr(one, each.name)) is not None]
        means[each.name] = float(np.mean(values)) if values else None
    return Components(**means)


def _known(answers: np.ndarray) -> np.ndarray:
    """(S, K, I): whether any cell has the answer."""
    return np.asarray(np.isfinite(answers).any(axis=0))


def _levels(known: np.ndarray, axis: int) -> int:
    others = tuple(each for each in range(known.ndim) if each != axis)
    return int(known.any(axis=others).sum())


def _subsets(names: Iterable[str]) -> Iterable[_Factors]:
    names = list(names)
    return map(
        frozenset, chain.from_iterable(combinations(names, n) for n in range(len(names) + 1))
    )


def _half_squares(values: np.ndarray, known: np.ndarray) -> dict[_Factors, float]:
    """g(D) for every set D of factors; NaN where no pair differs in exactly D.

    values: (S, K, I), 0 where not known.
    """
    at_least: dict[_Factors, tuple[float, float]] = {}
    for shared in _subsets(_AXES):
        summed = tuple(axis for name, axis in _AXES.items() if name not in shared)
        number = known.sum(axis=summed)
        total, squares = values.sum(axis=summed), (values**2).sum(axis=summed)
        # over ordered pairs within a group: sum of (a - b)^2 / 2 = n sum a^2 - (sum a)^2
        at_least[shared] = (
            float((number * squares - total**2).sum()),
            float((number.astype(float) ** 2).sum()),
        )
    found: dict[_Factors, float] = {}
    for shared in _subsets(_AXES):
        left = [name for name in _AXES if name not in shared]
        parts = [(-1 if len(more) % 2 else 1, at_least[shared | more]) for more in _subsets(left)]
        pairs = sum(sign * counted for sign, (_, counted) in parts)
        squares = sum(sign * value for sign, (value, _) in parts)
        found[frozenset(left)] = squares / pairs if pairs > 0.5 else math.nan
    return found


def _variance(
    effect: _Factors, factors: Sequence[str], between: dict[_Factors, float]
) -> float | None:
    """v(B) from g, where g(D) = total - sum of v over the effects within the complement of D.

    So the sum of v over the effects within a set W is total - g(all - W), and v(B) follows by
    inclusion and exclusion over the subsets W of B; the totals cancel but for W = {}, whose sum is
    zero.
    """
    whole = frozenset(factors)
    value = 0.0
    for within in _subsets(effect):
        outside = between[whole - within] if whole - within else 0.0
        sign = -1 if (len(effect) - len(within)) % 2 else 1
        value += sign * (between[whole] - outside)
    return None if math.isnan(value) else value
