"""The 95% interval of one cell's score, and of what stands beside it.

Owns which error an interval holds: seeds and items together where there are three seeds or more,
items alone below that, and Wilson's over items always. Knows arrays only; contrasts are
`eval.evidence.estimates`' affair.

Axes: C cells, S seeds, R bootstrap replicates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from eval.evidence.contrast import LEAST_SEEDS
from eval.evidence.statistics import effective_trials, wilson

Basis = Literal["seeds and items", "items only", ""]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A cell's value, seeds averaged, with its interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None
    basis: Basis


NOTHING = Interval(value=None, low=None, high=None, basis="")


def share(own: np.ndarray, drawn: np.ndarray, *, stage: np.ndarray, trials: int) -> Interval:
    """Of an accuracy. own: (S,); drawn: (R, S) its replicates; stage: (C, S) the scores of all
    cells of its stage, whose spread over seeds is pooled; trials: independent items.

    Where nothing varied, neither seeds nor items, the interval is Wilson's: an error of zero is
    what few items look like, not certainty.
    """
    known = np.isfinite(own)
    if not known.any():
        return NOTHING
    value = float(own[known].mean())
    half = _half(own, drawn, stage=stage)
    if half is not None:
        return Interval(
            value=value,
            low=max(0.0, value - half),
            high=min(1.0, value + half),
            basis="seeds and items",
        )
    low, high = over_items(own, drawn, trials=trials)
    return Interval(value=value, low=low, high=high, basis="items only")


def over_items(
    own: np.ndarray, drawn: np.ndarray, *, trials: int
) -> tuple[float, float] | tuple[None, None]:
    """Wilson's interval of an accuracy at the number of independent items that the bootstrap finds:
    defined at 0, at 1 and for one item. It says nothing about another seed.
    """
    known = np.isfinite(own)
    if not known.any() or trials < 1:
        return None, None
    value = float(own[known].mean())
    return wilson(value, effective_trials(value, _item_error(own, drawn), trials))


def mean(own: np.ndarray, drawn: np.ndarray, *, stage: np.ndarray, trials: int) -> Interval:
    """As `share`, of a score without bounds (nats a byte, margin, Brier). Below three seeds the
    interval is normal over items, and there is none for a single item.
    """
    known = np.isfinite(own)
    if not known.any():
        return NOTHING
    value = float(own[known].mean())
    half = _half(own, drawn, stage=stage)
    basis: Basis = "seeds and items"
    if half is None:
        if trials < 2:
            return Interval(value=value, low=None, high=None, basis="")
        half, basis = float(stats.norm.ppf(0.975)) * _item_error(own, drawn), "items only"
    return Interval(value=value, low=value - half, high=value + half, basis=basis)


def _half(own: np.ndarray, drawn: np.ndarray, *, stage: np.ndarray) -> float | None:
    """Half the t interval over seeds and items; None with too few seeds or nothing that varied."""
    seeds = int(np.isfinite(own).sum())
    whole = stage[np.isfinite(stage).all(axis=1)]
    if seeds < LEAST_SEEDS or not len(whole):
        return None
    variance = float(whole.var(axis=1, ddof=1).mean())
    degrees = len(whole) * (whole.shape[1] - 1)
    error = math.sqrt(variance / seeds + _item_error(own, drawn) ** 2)
    return float(stats.t.ppf(0.975, degrees)) * error if error > 0 else None


def _item_error(own: np.ndarray, drawn: np.ndarray) -> float:
    known = np.isfinite(own)
    means = drawn[:, known].mean(axis=1)
    means = means[np.isfinite(means)]
    return float(means.std()) if means.size else 0.0
