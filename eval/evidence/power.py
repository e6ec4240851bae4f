"""What more data would decide a contrast: seeds, or items, at the variance that was seen.

Owns the arithmetic. The effect asked for is the margin itself, since a smaller one does not matter:
with so many seeds (or so many times the items) a true effect of the margin is found with power 0.8
at the claim's level. An equivalence must clear both margins, so each side has half of the missing
power. Degrees of freedom grow with the seeds; items only lessen their own part of the error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from eval.evidence.claims import Contrast
from eval.evidence.statistics import POWER, minimum_effect
from eval.evidence.verdicts import LEAST_SEEDS, Estimate

MOST_SEEDS = 200
MOST_ITEMS = 1e6


@dataclass(frozen=True, kw_only=True)
class More:
    """seeds: in all, with the items of now; None where no number does. items: how many times those
    of now, with the seeds of now; None likewise, or where no error of items is known.
    """

    seeds: int | None
    items: float | None

    def told(self, estimate: Estimate) -> str:
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
