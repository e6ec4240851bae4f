"""The whole decision, simulated: answers -> panel -> estimates -> verdicts, with what was planted.

Six cells, three seeds or five. Items have a difficulty that all cells share and one for each cell,
which all of its seeds share; seeds bring luck to a cell, about as large as the item error, and luck
that the cells of one seed share. So neither items alone nor seeds alone have the right error. Long
versions (marked slow) give the figures that LOG.md cites.
"""

import functools
import math
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from eval.claims.claim import Claim
from eval.claims.verdicts import decide
from eval.evidence import task_scores
from eval.evidence.contrast import ALPHA, Contrast
from eval.evidence.differences import matrices
from eval.evidence.estimates import OwnRuns
from eval.evidence.statistics import minimum_effect, resampling_counts

CELLS, ITEMS = 6, 60
NAMES = ("CD:FLM", "ND:PLM", "ED:PLM", "CD:A", "ND:A", "ED:A")
MARGIN = 0.05
SEED_SPREAD = 0.04
"""Of a cell's score over seeds; the item error of two tasks of 60 is .045 a cell."""


@functools.lru_cache
def _counts(size, replicates, seed):
    return resampling_counts(np.arange(size), replicates=replicates, seed=seed)


@pytest.fixture(autouse=True)
def drawn_once(monkeypatch):
    """The bootstrap's draws depend on nothing that a round changes; most of the time goes there."""
    monkeypatch.setattr(
        task_scores,
        "resampling_counts",
        lambda groups, *, replicates, seed: _counts(len(groups), replicates, seed),
    )


def answers(rng, *, seeds, effects=(), spreads=SEED_SPREAD, apart=False):
    """For two tasks (C, S, 1, I). effects: added to the first cells' chance of being right.

    apart: each seed answers an item by a draw of its own. Else the seeds of a cell share the draw,
    so that they differ by their luck alone: the harder case, since draws of their own enter both
    the seeds' variance and the items', which makes the error too large.
    """
    shift = np.zeros((CELLS, 1, 1, 1))
    shift[: len(effects), 0, 0, 0] = effects
    own = np.broadcast_to(spreads, CELLS)[:, None, None, None] * rng.normal(
        size=(CELLS, seeds, 1, 1)
    )
    shared = 0.03 * rng.normal(size=(1, seeds, 1, 1))
    made = []
    for _ in range(2):
        hard = rng.uniform(-0.1, 0.1, size=(1, 1, 1, ITEMS))
        hard = hard + rng.uniform(-0.2, 0.2, size=(CELLS, 1, 1, ITEMS))
        chances = np.clip(0.5 + shift + own + shared + hard, 0, 1)
        draws = rng.random((CELLS, seeds if apart else 1, 1, ITEMS))
        made.append((draws < chances).astype(float))
    return made


def claims(kind="greater"):
    """The first cell against each of the others, a claim each."""
    return tuple(
        Claim(
            id=f"1>{place}",
            text="",
            kind="greater",
            components=(
                Contrast(
                    name="c",
                    suite="s",
                    weights=(((NAMES[0],), 1.0), ((NAMES[place],), -1.0)),
                    kind=kind,
                    margin=MARGIN,
                ),
            ),
        )
        for place in range(1, CELLS)
    )


def drawn_panel(panel_of, key_of, rng, **options):
    return panel_of(answers(rng, **options), [key_of(name) for name in NAMES])


def at_most(count, rounds, level):
    """Whether `count` of `rounds` is what a rate of `level` or less gives, at p = 0.001."""
    return stats.binom.sf(count - 1, rounds, level) > 0.001


def simulate(make, rounds, *, kind="positive"):
    """Rounds in which any claim was decided, in which any pair of the matrix was called real, the
    verdicts of the first claim and of the first pair, and the share of pairs with p < 0.05 each.
    """
    decided = real = single = pairs = 0
    first_claim, first_pair = Counter(), Counter()
    for _ in range(rounds):
        one = make()
        verdicts = decide(claims(kind), OwnRuns({"s": one}, decided=CELLS - 1))
        decided += any(each.verdict in ("replicated", "contradicted") for each in verdicts)
        first_claim[verdicts[0].verdict] += 1
        (matrix,) = matrices(one, margin=None)
        real += any(each.verdict == "real" for each in matrix.pairs)
        first_pair[matrix.pairs[0].verdict] += 1
        single += sum(each.p < 0.05 for each in matrix.pairs)
        pairs += len(matrix.pairs)
    return decided, real, first_claim, first_pair, single / pairs


def check_no_effect(panel_of, key_of, *, seeds, rounds, level=2 * ALPHA, **options):
    rng = np.random.default_rng(seeds)
    decided, real, _, _, single = simulate(
        lambda: drawn_panel(panel_of, key_of, rng, seeds=seeds, **options), rounds
    )
    told = ", ".join(f"{name} {value}" for name, value in options.items())
    print(
        f"\nno effect, {seeds} seeds {told}: any claim {decided}/{rounds}, "
        f"any pair {real}/{rounds}, one pair alone {100 * single:.1f}%"
    )
    assert at_most(decided, rounds, level)
    assert at_most(real, rounds, level)


@pytest.mark.parametrize("seeds", [3, 5])
def test_without_an_effect_nothing_is_decided_oftener_than_the_level(panel_of, key_of, seeds):
    """Familywise over five claims (two-sided 5%), and over the fifteen pairs of the matrix."""
    check_no_effect(panel_of, key_of, seeds=seeds, rounds=80)


@pytest.mark.slow
@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("seeds", [3, 5])
def test_without_an_effect_long(panel_of, key_of, seeds, apart):
    check_no_effect(panel_of, key_of, seeds=seeds, rounds=400, apart=apart)


def check_unequal(panel_of, key_of, *, rounds):
    """Cells' seed variances differ (SD of log variance 0.6): up to 7% is expected."""
    spreads = SEED_SPREAD * np.exp(0.3 * np.random.default_rng(9).normal(size=CELLS))
    check_no_effect(panel_of, key_of, seeds=3, rounds=rounds, spreads=spreads, level=0.07)


def test_unequal_variances_cost_no_more_than_is_said(panel_of, key_of):
    check_unequal(panel_of, key_of, rounds=60)


@pytest.mark.slow
def test_unequal_variances_long(panel_of, key_of):
    check_unequal(panel_of, key_of, rounds=400)


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_never_decide(panel_of, key_of, seeds):
    """Not even an effect of forty points on every item."""
    rng = np.random.default_rng(7)
    decided, real, first, pair, _ = simulate(
        lambda: drawn_panel(panel_of, key_of, rng, seeds=seeds, effects=(0.4,)), 10
    )
    told = f"underpowered ({seeds} seed{'s' if seeds > 1 else ''})"
    assert (decided, real) == (0, 0)
    assert set(first) == {told}
    assert set(pair) == {"not decided"}


def typical(panel_of, key_of, *, seeds, rng):
    """(standard error of the first pair, degrees) as the design has them, over thirty draws."""
    errors, degrees = [], 0.0
    for _ in range(30):
        (matrix,) = matrices(drawn_panel(panel_of, key_of, rng, seeds=seeds), margin=None)
        errors.append(matrix.pairs[0].standard_error)
        degrees = matrix.pairs[0].degrees
    return math.sqrt(np.mean(np.square(errors))), degrees


def check_power(panel_of, key_of, *, rounds, slack):
    """An effect of the minimum detectable size, and one of twice that, at Holm's first step."""
    rng = np.random.default_rng(11)
    error, degrees = typical(panel_of, key_of, seeds=5, rng=rng)
    effect = minimum_effect(error, degrees, alpha=ALPHA)
    found = larger = 0
    for _ in range(rounds):
        for size in (1, 2):
            made = drawn_panel(panel_of, key_of, rng, seeds=5, effects=(size * effect,))
            (verdict,) = decide(claims("positive")[:1], OwnRuns({"s": made}, decided=1))
            found += size == 1 and verdict.verdict == "replicated"
            larger += size == 2 and verdict.verdict == "replicated"
    print(f"\nminimum effect {100 * effect:.1f} points: {found}/{rounds}; twice: {larger}/{rounds}")
    assert abs(found / rounds - 0.8) < slack
    assert larger / rounds > 0.98


def test_the_minimum_detectable_effect_is_found_four_times_in_five(panel_of, key_of):
    check_power(panel_of, key_of, rounds=100, slack=0.14)  # 3.5 standard errors


@pytest.mark.slow
def test_the_minimum_detectable_effect_long(panel_of, key_of):
    check_power(panel_of, key_of, rounds=400, slack=0.07)


def check_equivalence(panel_of, key_of, *, rounds):
    """Pairs whose true difference is the margin itself are seldom called smaller than it."""
    rng = np.random.default_rng(13)
    wrong = 0
    for _ in range(rounds):
        made = drawn_panel(panel_of, key_of, rng, seeds=5, effects=(0.1,), spreads=0.005)
        (matrix,) = matrices(made, margin=0.1)
        wrong += any(
            each.verdict == "smaller than the margin"
            for each in matrix.pairs
            if NAMES[0] in (each.first.label, each.second.label)
        )
    print(f"\nat the margin: {wrong}/{rounds}")
    assert at_most(wrong, rounds, 0.05)


def test_a_difference_of_the_margin_is_not_called_smaller(panel_of, key_of):
    check_equivalence(panel_of, key_of, rounds=40)
