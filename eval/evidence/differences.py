"""Which differences are real: every pair of cells of one stage, suite, size and token budget.

Owns the matrix and its verdicts. Cells of unequal budgets are refused; each block is one stage at
one budget, and unadapted span-corruption models before finetuning stand in a block of their own, as
in the table.

A pair is asked two questions, each with Holm's correction over the pairs of its block:

    is there a difference?           two-sided against zero, the interval at the pair's Holm level
    is it smaller than the margin?   two one-sided tests against +-margin

    real                        there is one, and it is not shown to be smaller than the margin
    smaller than the margin     the second question is answered yes, whatever the first says
    not told apart              neither
    not decided                 fewer than three seeds: items alone never decide

The error of a pair is a contrast's (`eval.evidence.estimates`): seeds pooled over the stage, items
paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from eval.evidence.budgets import CLOSE
from eval.evidence.contrast import LEAST_SEEDS, Estimate
from eval.evidence.estimates import OwnRuns
from eval.evidence.panel import Panel
from eval.evidence.statistics import POWER, holm, minimum_effect
from study.runs.cells import CellKey
from study.runs.measure import Measure

ALPHA = 0.05
"""Two-sided, over all pairs of a block."""

Verdict = Literal["real", "smaller than the margin", "not told apart", "not decided"]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """first minus second. low, high: 95%, of this pair alone; holm_low, holm_high: at the level
    that Holm gives the pair, so that `real` and `excludes zero` agree.

    p: two-sided against zero; p_holm: adjusted over the block; p_small: of the second question,
    adjusted, None without a margin. detectable: the true difference that the block's design finds
    with power `POWER` at Holm's first step (two-sided `ALPHA` over the number of pairs); None where
    nothing is ever decided.
    """

    first: CellKey
    second: CellKey
    value: float
    standard_error: float
    degrees: float
    low: float
    high: float
    holm_low: float
    holm_high: float
    p: float
    p_holm: float
    p_small: float | None
    detectable: float | None
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """A block. cells: in the plan's order; pairs: first before second in that order.

    margin: below which a difference does not matter; None where no claim names one. holes: pairs
    without an estimate, and why.
    """

    suite: str
    size: str
    stage: str
    tokens: int
    measure: Measure
    cells: tuple[CellKey, ...]
    seeds: int
    margin: float | None
    pairs: tuple[Difference, ...]
    holes: tuple[tuple[CellKey, CellKey, str], ...] = ()
    alpha: float = ALPHA
    power: float = POWER

    def pair(self, first: CellKey, second: CellKey) -> Difference | None:
        """The pair in either order, as it is kept."""
        return next(
            (each for each in self.pairs if {each.first, each.second} == {first, second}), None
        )


def matrices(panel: Panel, *, margin: float | None) -> tuple[Matrix, ...]:
    """One for each stage and budget at which two cells or more were scored."""
    if not panel.headline:
        return ()
    found: dict[tuple[str, int], list[CellKey]] = {}
    for key in sorted(panel.cells, key=lambda each: each.tokens):
        stage = key.stage_label
        block = next(
            (place for place in found if place[0] == stage and _equal(place[1], key.tokens)),
            (stage, key.tokens),
        )
        found.setdefault(block, []).append(key)
    return tuple(
        matrix(panel, [key for key in panel.cells if key in keys], margin=margin)
        for keys in found.values()
        if len(keys) > 1
    )


def matrix(panel: Panel, cells: Sequence[CellKey], *, margin: float | None) -> Matrix:
    """All pairs of these cells. Raises ValueError for unequal budgets or mixed stages."""
    budgets = sorted({key.tokens for key in cells})
    if not _equal(budgets[0], budgets[-1]):
        listed = ", ".join(f"{each:,}" for each in budgets)
        raise ValueError(f"cells of unequal token budgets: {listed}; legal: one budget, within 1%")
    stages: list[str] = list(dict.fromkeys(key.stage_label for key in cells))
    if len(stages) > 1:
        raise ValueError(f"cells of the stages {', '.join(stages)}; legal: one stage")
    source = OwnRuns({panel.suite: panel}, decided=1)
    estimates: dict[tuple[CellKey, CellKey], Estimate] = {}
    holes = []
    for first, second in combinations(cells, 2):
        weights = np.zeros(len(panel.cells))
        weights[panel.cells.index(first)], weights[panel.cells.index(second)] = 1.0, -1.0
        one = source.weighed(panel, weights)
        if isinstance(one, Estimate):
            estimates[first, second] = one
        else:
            holes.append((first, second, one))
    return Matrix(
        suite=panel.suite,
        size=panel.size,
        stage=stages[0],
        tokens=budgets[0],
        measure=panel.measure,
        cells=tuple(cells),
        seeds=min((each.seeds for each in estimates.values()), default=0),
        margin=margin,
        pairs=_decided(estimates, margin),
        holes=tuple(holes),
    )


def _equal(tokens: int, other: int) -> bool:
    return abs(tokens - other) <= CLOSE * max(tokens, other)


def _decided(
    estimates: dict[tuple[CellKey, CellKey], Estimate], margin: float | None
) -> tuple[Difference, ...]:
    every = list(estimates.values())
    p_values = [min(1.0, 2 * min(one.above(0.0), one.below(0.0))) for one in every]
    tested = holm(p_values, alpha=ALPHA)
    small: list[float | None] = [None] * len(every)
    if margin is not None:
        sides = [max(one.above(-margin), one.below(margin)) for one in every]
        small = [each.p for each in holm(sides, alpha=ALPHA)]
    return tuple(
        _difference(
            pair,
            one,
            p=(p_values[place], tested[place].p, small[place]),
            level=tested[place].level,
            number=len(every),
        )
        for place, (pair, one) in enumerate(estimates.items())
    )


def _difference(
    pair: tuple[CellKey, CellKey],
    one: Estimate,
    *,
    p: tuple[float, float, float | None],
    level: float,
    number: int,
) -> Difference:
    low, high = one.interval(ALPHA / 2)
    holm_low, holm_high = one.interval(level / 2)
    enough = one.seeds >= LEAST_SEEDS and one.basis == "seeds and items"
    detectable = None
    if enough:
        detectable = minimum_effect(one.standard_error, one.degrees, alpha=ALPHA / 2 / number)
    return Difference(
        first=pair[0],
        second=pair[1],
        value=one.value,
        standard_error=one.standard_error,
        degrees=one.degrees,
        low=low,
        high=high,
        holm_low=holm_low,
        holm_high=holm_high,
        p=p[0],
        p_holm=p[1],
        p_small=p[2],
        detectable=detectable,
        verdict=_verdict(p[1], p[2]) if enough else "not decided",
    )


def _verdict(p_holm: float, p_small: float | None) -> Verdict:
    if p_small is not None and p_small < ALPHA:
        return "smaller than the margin"
    return "real" if p_holm < ALPHA else "not told apart"
