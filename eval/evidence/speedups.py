"""Contrasts of held-out curves: the tokens at which a loss is reached, and losses at equal tokens.

Owns interpolation, censoring and the error over seeds. For `tokens_to_loss` the target is the loss
that the first cell ends with, seed by seed; a cell reaches it where its curve first comes down to
it, linear in the log of the tokens between validations (linear in tokens from the start, which has
no log). Per seed the value is the log of the first cell's tokens less
the log of the second's. What is not reached gives a bound:

    not reached by the second cell     its tokens are at least its last: the value is an upper bound
    reached before its first training  nothing was spent: no log, and no estimate

The error is that of `eval.evidence.estimates`, with the comparison's own two cells as the layout:
seeds are blocks, S - 1 degrees of freedom. Held-out rows are the same for all; their sampling is in
no interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from eval.evidence.contrast import ALPHA, LEAST_SEEDS, Contrast, Estimate
from eval.evidence.held_out import HeldOut, Unit
from eval.evidence.statistics import minimum_effect
from study.runs.cells import Cell, label

HELD_OUT_NOTE = "held-out rows are fixed"


@dataclass(frozen=True, kw_only=True)
class Bounded(Estimate):
    """An estimate of which only an upper bound is known, since a curve stays above the target.

    value: the bound's mean over seeds. apart: one-sided p-value against the curves' ends lying at
    the target or below, over the seeds that did not reach it.
    """

    apart: float

    def interval(self, alpha: float) -> tuple[float, float]:
        high = super().interval(alpha)[1]
        return (-math.inf, high if self.apart < alpha else math.inf)

    def above(self, bound: float) -> float:
        return 1.0

    def below(self, bound: float) -> float:
        return max(super().below(bound), self.apart)


def reached(spent: np.ndarray, losses: np.ndarray, target: float) -> float | None:
    """Where a curve first comes down to a loss; None where it stays above. spent, losses: (V,),
    spent ascending from 0 or more.
    """
    down = np.flatnonzero(losses <= target)
    if not down.size:
        return None
    end = int(down[0])
    if end == 0:
        return float(spent[0])
    share = (losses[end - 1] - target) / (losses[end - 1] - losses[end])
    low, high = float(spent[end - 1]), float(spent[end])
    return low * (high / low) ** share if low > 0 else low + share * (high - low)


def loss_at(spent: np.ndarray, losses: np.ndarray, at: float) -> float:
    """The loss after so much, which lies within the curve; interpolated as in `reached`."""
    end = int(np.clip(np.searchsorted(spent, at), 1, spent.size - 1))
    low, high = float(spent[end - 1]), float(spent[end])
    share = math.log(at / low) / math.log(high / low) if low > 0 else (at - low) / (high - low)
    return float(losses[end - 1] + share * (losses[end] - losses[end - 1]))


def estimate(
    contrast: Contrast, curves: Iterable[HeldOut], *, unit: Unit, decided: int
) -> Estimate | str:
    """The estimate of a contrast that measures losses, or in words why there is none.

    curves: of one model size. unit: what is spent until a loss, tokens or training FLOPs. decided:
    how many claims Holm runs over, for the minimum detectable effect.
    """
    (high, _), (low, _) = contrast.weights
    found = _by_seed(curves, (high, low))
    if isinstance(found, str):
        return found
    pairs = list(zip(found[high], found[low], strict=True))
    for first, second in pairs:
        if first.question != second.question:
            return (
                f"other held-out losses: {label(high)} {first.description} ({first.question[:8]}), "
                f"{label(low)} {second.description} ({second.question[:8]})"
            )
    match contrast.measure:
        case "tokens_to_loss":
            return _speedup(contrast, pairs, unit=unit, decided=decided)
        case "loss":
            return _loss(pairs, unit=unit, decided=decided)
        case "score":
            raise ValueError(f"measure {contrast.measure!r}; legal: tokens_to_loss, loss")


def _by_seed(
    curves: Iterable[HeldOut], cells: Sequence[Cell]
) -> Mapping[Cell, list[HeldOut]] | str:
    """The curves of each cell at the seeds that all have, in the seeds' order."""
    found: dict[Cell, dict[int, HeldOut]] = {cell: {} for cell in cells}
    for curve in curves:
        if curve.cell not in found:
            continue
        if curve.seed in found[curve.cell]:
            return f"two runs are {label(curve.cell)} of seed {curve.seed}; legal: one"
        found[curve.cell][curve.seed] = curve
    if lacking := [label(cell) for cell in cells if not found[cell]]:
        return f"no finished held-out losses of {', '.join(lacking)}"
    seeds = sorted(set.intersection(*(set(each) for each in found.values())))
    if not seeds:
        return "no seed has the held-out losses of both"
    return {cell: [each[seed] for seed in seeds] for cell, each in found.items()}


Pair = tuple[HeldOut, HeldOut]


def _speedup(
    contrast: Contrast, pairs: Sequence[Pair], *, unit: Unit, decided: int
) -> Estimate | str:
    logs = np.zeros((2, len(pairs)))
    gaps = []
    for seed, (first, second) in enumerate(pairs):
        target = float(first.losses[-1])
        for row, curve in enumerate((first, second)):
            at = reached(curve.spent(unit), curve.losses, target)
            if at is None:
                gaps.append(float(curve.losses[-1]) - target)
                at = float(curve.spent(unit)[-1])
            if contrast.counted == "total":
                at += curve.spent_before(unit)
            if not at > 0:
                return f"{label(curve.cell)} has the loss before any of its own {unit}"
            logs[row, seed] = math.log(at)
    note = _factors(logs, [first for first, _ in pairs], unit=unit, missed=len(gaps))
    made = _over_seeds(logs, note=note, decided=decided)
    if not gaps:
        return made
    longer = f"training {label(pairs[0][1].cell)} until it reaches the loss"
    fields: dict[str, Any] = vars(made) | {"remedy": longer}
    return Bounded(**fields, apart=_apart(gaps))


def _apart(gaps: Sequence[float]) -> float:
    """One-sided p of the gaps' mean against zero: at one seed nothing is known."""
    if len(gaps) < 2:
        return 1.0
    error = float(np.std(gaps, ddof=1)) / math.sqrt(len(gaps))
    if not error > 0:
        return 0.0 if np.mean(gaps) > 0 else 1.0
    return float(stats.t.sf(float(np.mean(gaps)) / error, len(gaps) - 1))


def _factors(logs: np.ndarray, targets: Sequence[HeldOut], *, unit: Unit, missed: int) -> str:
    own, other = (float(np.exp(row.mean())) for row in logs)
    factor = math.exp(float((logs[0] - logs[1]).mean()))
    loss = float(np.mean([each.losses[-1] for each in targets]))
    bound = f"not reached by {missed} of {len(targets)} seeds: at least " if missed else ""
    most = "at most " if missed else ""
    text = (
        f"{bound}{_big(other)} {unit} against {_big(own)} to the loss {loss:.3f}, "
        f"{most}{factor:.2f} times"
    )
    return f"{text}; {HELD_OUT_NOTE}"


def _loss(pairs: Sequence[Pair], *, unit: Unit, decided: int) -> Estimate:
    values = np.zeros((2, len(pairs)))
    places = []
    for seed, pair in enumerate(pairs):
        at = min(float(curve.spent(unit)[-1]) for curve in pair)
        places.append(at)
        for row, curve in enumerate(pair):
            values[row, seed] = loss_at(curve.spent(unit), curve.losses, at)
    own, other = values.mean(axis=1)
    note = f"{own:.3f} against {other:.3f} nats after {_big(float(np.mean(places)))} own {unit}"
    return _over_seeds(values, note=f"{note}; {HELD_OUT_NOTE}", decided=decided)


def _over_seeds(values: np.ndarray, *, note: str, decided: int) -> Estimate:
    """Of the first row less the second. values: (2, S)."""
    differences = values[0] - values[1]
    seeds = differences.size
    value = float(differences.mean())
    if seeds < LEAST_SEEDS:
        return Estimate(
            value=value,
            standard_error=math.inf,
            degrees=math.inf,
            seeds=seeds,
            basis="seeds only",
            note=note,
        )
    # of two cells, sum(w^2) s^2 / S is the squared error of the mean difference
    error = float(differences.std(ddof=1)) / math.sqrt(seeds)
    return Estimate(
        value=value,
        standard_error=error,
        degrees=seeds - 1,
        seeds=seeds,
        basis="seeds only",
        note=note,
        item_variance=0.0,
        minimum_effect=minimum_effect(error, seeds - 1, alpha=ALPHA / max(decided, 1)),
    )


def _big(number: float) -> str:
    for size, letter in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "B"), (1e6, "M")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return f"{number:,.0f}"
