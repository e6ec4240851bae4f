"""The estimators behind every number of a report: errors of seeds and items, intervals, tests.

Owns arithmetic over arrays; knows neither runs nor files nor verdicts. The replicate is the
pretraining seed, seeds are blocks (cells of one seed share the data order), items are resampled
jointly for all cells, and items that belong together (twins) stay together.

What more data would decide a contrast, seeds or items, is told at the variance that was seen. The
effect asked for is the margin itself, since a smaller one does not matter:
with so many seeds (or so many times the items) a true effect of the margin is found with power 0.8
at the claim's level. An equivalence must clear both margins, so each side has half of the missing
power. Degrees of freedom grow with the seeds; items only lessen their own part of the error.

Axes: C cells, S seeds, R bootstrap replicates, I items, K templates.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from eval.evidence.contrast import LEAST_SEEDS, Contrast, Estimate

REPLICATES = 2000
POWER = 0.8


@dataclass(frozen=True, kw_only=True)
class Residual:
    """Variance of a score around cell and seed effects, pooled over the cells of one layout."""

    variance: float
    degrees: int
    unequal_p: float | None
    """Brown–Forsythe's p that the cells' residual variances are equal; None where undefined."""


def residual(scores: np.ndarray) -> Residual:
    """Of a complete (C, S) layout without interaction: (C - 1)(S - 1) degrees of freedom."""
    cells, seeds = scores.shape
    degrees = (cells - 1) * (seeds - 1)
    if degrees < 1:
        return Residual(variance=math.nan, degrees=0, unequal_p=None)
    left = (
        scores
        - scores.mean(axis=1, keepdims=True)
        - scores.mean(axis=0, keepdims=True)
        + scores.mean()
    )
    variance = float((left**2).sum() / degrees)
    p = None
    if seeds > 2 and variance > 0:
        p = float(stats.levene(*left, center="median").pvalue)
        p = None if math.isnan(p) else p
    return Residual(variance=variance, degrees=degrees, unequal_p=p)


def resampling_counts(groups: np.ndarray, *, replicates: int, seed: int) -> np.ndarray:
    """(R, I): how often each item is drawn when whole groups are drawn with replacement.

    groups: (I,) integers; items of one group are drawn together.
    """
    _, member = np.unique(groups, return_inverse=True)
    number = int(member.max()) + 1
    draws = np.random.default_rng(seed).multinomial(
        number, np.full(number, 1 / number), size=replicates
    )
    return draws[:, member].astype(np.float32)


def wilson(share: float, trials: float, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval for a proportion; defined for 0 and 1, and for fractional trials."""
    if not trials > 0:
        return (math.nan, math.nan)
    z = float(stats.norm.ppf(0.5 + level / 2))
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = (
        z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials**2))
    )
    # At 0 and 1 the bound is the share itself, which rounding may miss.
    return (max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share)))


def effective_trials(share: float, standard_error: float, trials: int) -> float:
    """Trials of the binomial that has this standard error, at most `trials`: what correlated items
    are worth. Where nothing varied, `trials` itself.
    """
    if not standard_error > 0 or not 0 < share < 1:
        return float(trials)
    return min(float(trials), share * (1 - share) / standard_error**2)


@dataclass(frozen=True, kw_only=True)
class Tested:
    """One hypothesis among others. p: adjusted. level: at which it is tested; those after the first
    that stands share its level.
    """

    p: float
    level: float


def holm(p_values: Sequence[float], *, alpha: float) -> list[Tested]:
    """Holm's step-down over these hypotheses at `alpha` together, in the given order."""
    number = len(p_values)
    found: dict[int, Tested] = {}
    p, stopped = 0.0, None
    for place, index in enumerate(sorted(range(number), key=lambda each: p_values[each])):
        p = max(p, min(1.0, p_values[index] * (number - place)))
        level = alpha / (number - place) if stopped is None else stopped
        if p_values[index] >= level:
            stopped = level
        found[index] = Tested(p=p, level=level)
    return [found[index] for index in range(number)]


@dataclass(frozen=True, kw_only=True)
class ChanceTest:
    """Two-sided test of a family's accuracy against guessing."""

    p: float
    method: str


def against_chance(
    correct: np.ndarray, groups: np.ndarray, *, chance: float, twins: bool
) -> ChanceTest:
    """correct: (I, K) credit per item and template, NaN where a template did not apply.

    Twins are two prompts with the same choices and opposite golds. If the golds have nothing to do
    with the answers, exchanging them turns every pair's surplus over 2 * chance into its negative,
    so flipping the signs of whole pairs is an exact test; a binomial test over items would be wrong
    (a scorer that ignores its prompt has exactly one right in every pair). Without twins: the exact
    binomial test under one template, else Student's t over items with their templates averaged.
    """
    if twins:
        if chance != 0.5:
            raise ValueError(f"chance is {chance} for twins; legal: 0.5")
        return _sign_flip(correct, groups, chance)
    if correct.shape[1] == 1 and np.isin(correct[np.isfinite(correct)], (0.0, 1.0)).all():
        known = correct[np.isfinite(correct)]
        if not known.size or not 0 < chance < 1:
            return ChanceTest(p=1.0, method="none")
        test = stats.binomtest(int(known.sum()), known.size, chance, alternative="two-sided")
        return ChanceTest(p=float(test.pvalue), method="exact binomial over items")
    with np.errstate(invalid="ignore"):
        means = np.array([np.nanmean(row) for row in correct if np.isfinite(row).any()])
    if means.size < 2:
        return ChanceTest(p=1.0, method="none")
    if np.ptp(means) == 0:
        return ChanceTest(p=float(means[0] == chance), method="t over items")
    return ChanceTest(p=_t_test(means, chance), method="t over items, templates averaged")


def _sign_flip(correct: np.ndarray, groups: np.ndarray, chance: float) -> ChanceTest:
    """Exact by counting for surpluses in whole steps of 1/K; one pass over the distribution of
    their signed sum.
    """
    known = np.isfinite(correct)
    surplus = np.where(known, correct - chance, 0.0)
    _, member = np.unique(groups, return_inverse=True)
    per_group = np.zeros(int(member.max()) + 1)
    np.add.at(per_group, member, surplus.sum(axis=1))
    # Ties give half a point and chance is a half, so every surplus is a multiple of a quarter.
    steps = np.rint(np.abs(per_group) * 4).astype(int)
    steps = steps[steps > 0]
    method = "sign flips of twin pairs over all templates, exact"
    if not steps.size:
        return ChanceTest(p=1.0, method=method)
    distribution = np.ones(1)
    for step in steps:
        wider = np.zeros(distribution.size + 2 * step)
        wider[: distribution.size] += distribution / 2
        wider[2 * step :] += distribution / 2
        distribution = wider
    reach = int(steps.sum())
    observed = abs(int(np.rint(per_group.sum() * 4)))
    sums = np.abs(np.arange(-reach, reach + 1))
    return ChanceTest(p=min(1.0, float(distribution[sums >= observed].sum())), method=method)


def minimum_effect(
    standard_error: float, degrees: float, *, alpha: float, power: float = POWER
) -> float:
    """The smallest true effect that a one-sided test at `alpha` finds with this power."""
    return standard_error * _shift(degrees, alpha, power)


@functools.lru_cache
def _shift(degrees: float, alpha: float, power: float) -> float:
    """In standard errors."""
    if math.isinf(degrees):
        return float(stats.norm.ppf(1 - alpha) + stats.norm.ppf(power))
    critical = stats.t.ppf(1 - alpha, degrees)

    def shortfall(shift: float) -> float:
        return float(stats.nct.sf(critical, degrees, shift)) - power

    # a pair only under full_output, which the stubs do not tell apart
    shift: float = optimize.brentq(shortfall, 0.0, 4 * critical + 10)  # type: ignore[assignment]
    return shift


@dataclass(frozen=True, kw_only=True)
class Exponent:
    """k of y = c x^k, fitted, and its standard error; intercept is log c."""

    value: float
    error: float
    intercept: float


def exponent(x: Sequence[float], y: Sequence[float]) -> Exponent:
    """Ordinary least squares of log y on log x. The error is the residuals': it holds where a power
    law does, and curvature enters it. Raises ValueError for fewer than three different x.
    """
    if len(set(x)) < 3 or min(*x, *y) <= 0:
        raise ValueError(f"{len(set(x))} lengths, least value {min(*x, *y)}; legal: 3, above 0")
    fit = stats.linregress(np.log(x), np.log(y))
    # scipy's result has these attributes, its stubs a tuple
    return Exponent(value=fit.slope, error=fit.stderr, intercept=fit.intercept)  # type: ignore[attr-defined]


def _t_test(values: np.ndarray, mean: float) -> float:
    ratio = (values.mean() - mean) / (values.std(ddof=1) / math.sqrt(values.size))
    return 2 * float(stats.t.sf(abs(ratio), values.size - 1))


MOST_SEEDS = 200
MOST_ITEMS = 1e6


@dataclass(frozen=True, kw_only=True)
class More:
    """seeds: in all, with the items of now; None where no number does. items: how many times those
    of now, with the seeds of now; None likewise, or where no error of items is known.
    """

    seeds: int | None
    items: float | None

    def describe(self, estimate: Estimate) -> str:
        """In words, against what is there."""
        if estimate.remedy:
            return estimate.remedy
        if self.seeds == estimate.seeds:
            return "no more for the margin (power 0.8 is there): the effect is near a bound"
        if estimate.basis != "published, items only" and estimate.seeds < LEAST_SEEDS:
            return f"{LEAST_SEEDS} seeds, to know their variance (there are {estimate.seeds})"
        ways = []
        if self.seeds is not None:
            ways.append(f"{self.seeds} seeds (there are {estimate.seeds})")
        if self.items is not None:
            ways.append(f"{self.items:.3g} times the items")
        return " or ".join(ways) or "more seeds and more items: neither alone"


def more(contrast: Contrast, estimate: Estimate, *, alpha: float) -> More:
    """What would decide a contrast at the margin. alpha: the claim's one-sided level."""
    if estimate.item_variance is None or not math.isfinite(estimate.standard_error):
        return More(seeds=None, items=None)
    power = 1 - (1 - POWER) / 2 if contrast.kind == "equivalent" else POWER
    item = estimate.item_variance
    seed = max(estimate.standard_error**2 - item, 0.0)

    def finds(error: float, degrees: float) -> bool:
        return minimum_effect(error, degrees, alpha=alpha, power=power) <= contrast.margin

    return More(
        seeds=_seeds(estimate, seed=seed, item=item, finds=finds),
        items=_items(estimate, seed=seed, item=item, finds=finds),
    )


def _seeds(estimate: Estimate, *, seed: float, item: float, finds) -> int | None:
    now = estimate.seeds
    if estimate.basis == "published, items only" or now < LEAST_SEEDS:
        return None
    each = estimate.degrees / (now - 1)  # the layout's cells less one
    for number in range(now, MOST_SEEDS + 1):
        if finds(math.sqrt(seed * now / number + item), each * (number - 1)):
            return number
    return None


def _items(estimate: Estimate, *, seed: float, item: float, finds) -> float | None:
    if not item > 0 or not finds(math.sqrt(seed + item / MOST_ITEMS), estimate.degrees):
        return None
    low, high = 0.0, math.log(MOST_ITEMS)
    if finds(math.sqrt(seed + item), estimate.degrees):
        return 1.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        error = math.sqrt(seed + item / math.exp(middle))
        low, high = (low, middle) if finds(error, estimate.degrees) else (middle, high)
    return math.exp(high)
