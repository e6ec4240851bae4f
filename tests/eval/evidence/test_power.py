"""What more data would decide a contrast, checked against the power that it gives."""

import math

import numpy as np
import pytest
from scipy import stats

from eval.evidence.contrast import Contrast, Estimate
from eval.evidence.statistics import More, more

CELLS = 6
ALPHA = 0.0025


def contrast(kind="greater", margin=0.05):
    return Contrast(name="c", suite="s", weights=((("a",), 1.0),), kind=kind, margin=margin)


def estimate(*, seed, item, seeds=3, value=0.0):
    """seed: variance of the contrast at one seed; item: of the items."""
    return Estimate(
        value=value,
        standard_error=math.sqrt(seed / seeds + item),
        degrees=(CELLS - 1) * (seeds - 1),
        seeds=seeds,
        basis="seeds and items",
        item_variance=item,
    )


def power(*, seed, item, seeds, effect=0.05, rounds=20_000):
    """Of a t test as verdicts make it, by simulation."""
    rng = np.random.default_rng(1)
    degrees = (CELLS - 1) * (seeds - 1)
    scale = rng.chisquare(degrees, rounds) / degrees
    error = np.sqrt(seed / seeds * scale + item)
    true = math.sqrt(seed / seeds + item)
    values = effect + true * rng.normal(size=rounds)
    return float((values / error > stats.t.ppf(1 - ALPHA, degrees)).mean())


def test_so_many_seeds_find_the_margin_and_one_fewer_does_not():
    seed = 0.04**2
    found = more(contrast(), estimate(seed=seed, item=0.0), alpha=ALPHA)
    assert found.seeds is not None
    assert found.seeds > 3
    assert found.items is None
    assert power(seed=seed, item=0.0, seeds=found.seeds) >= 0.78
    assert power(seed=seed, item=0.0, seeds=found.seeds - 1) < 0.8


def test_so_many_items_find_the_margin():
    item = 0.02**2
    found = more(contrast(), estimate(seed=1e-8, item=item), alpha=ALPHA)
    assert found.seeds is None  # the items' error stays with any number of seeds
    assert found.items == pytest.approx(power_items(item), rel=0.02)


def power_items(item):
    """By the noncentral t, solved by hand for the factor."""
    degrees = (CELLS - 1) * 2
    critical = stats.t.ppf(1 - ALPHA, degrees)
    grid = np.linspace(3, 6, 30_001)
    shift = grid[np.argmin(np.abs(stats.nct.sf(critical, degrees, grid) - 0.8))]
    return item / (0.05 / shift) ** 2


def test_an_equivalence_takes_more_than_a_difference():
    one = estimate(seed=0.03**2, item=0.0)
    assert more(contrast("equivalent"), one, alpha=ALPHA).seeds > (
        more(contrast(), one, alpha=ALPHA).seeds
    )


def test_a_wide_margin_needs_no_more():
    one = estimate(seed=0.02**2, item=0.01**2)
    found = more(contrast(margin=0.5), one, alpha=ALPHA)
    assert found == More(seeds=3, items=1.0)
    assert found.describe(one).startswith("no more for the margin")


def test_neither_alone():
    one = estimate(seed=0.2**2, item=0.2**2)
    found = more(contrast(margin=0.01), one, alpha=ALPHA)
    assert found == More(seeds=None, items=None)
    assert found.describe(one) == "more seeds and more items: neither alone"


def test_in_words():
    one = estimate(seed=0.04**2, item=0.0001)
    found = more(contrast(), one, alpha=ALPHA)
    assert found.describe(one).startswith(f"{found.seeds} seeds (there are 3)")
    few = estimate(seed=0.04**2, item=0.0001, seeds=2)
    assert found.describe(few) == "3 seeds, to know their variance (there are 2)"
    unknown = Estimate(
        value=0.0,
        standard_error=math.inf,
        degrees=math.inf,
        seeds=1,
        basis="seeds only",
    )
    assert more(contrast(), unknown, alpha=ALPHA) == More(seeds=None, items=None)


def test_a_published_table_can_only_have_more_items():
    one = Estimate(
        value=0.007,
        standard_error=0.0062,
        degrees=math.inf,
        seeds=1,
        basis="published, items only",
        item_variance=0.0062**2,
    )
    found = more(contrast(margin=0.01), one, alpha=ALPHA)
    needed = (stats.norm.ppf(1 - ALPHA) + stats.norm.ppf(0.8)) ** 2 * 0.0062**2 / 0.01**2
    assert found.seeds is None
    assert found.items == pytest.approx(needed, rel=0.01)
    assert found.describe(one) == f"{found.items:.3g} times the items"
