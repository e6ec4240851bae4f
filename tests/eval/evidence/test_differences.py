"""The matrix of differences: which pairs stand in it, what it says of them, what it refuses."""

import math
from dataclasses import replace

import numpy as np
import pytest
from made_claims import paper_claims

from eval.claims.claim import margin_of
from eval.evidence.differences import ALPHA, Matrix, matrices, matrix

NAMES = ("CD:FLM", "ND:PLM", "ED:PLM", "CD:X")


def made(shares, *, seeds=4, items=400, spread=0.0, seed=0):
    """(C, S, 1, I) answers of two tasks; `spread` is each cell's and seed's own luck."""
    rng = np.random.default_rng(seed)
    luck = np.array(shares)[:, None, None, None] + spread * rng.normal(
        size=(len(shares), seeds, 1, 1)
    )
    return [(rng.random((len(shares), seeds, 1, items)) < luck).astype(float) for _ in range(2)]


def block(panel_of, key_of, shares, *, margin=0.05, **options) -> Matrix:
    keys = [key_of(name) for name in NAMES[: len(shares)]]
    (found,) = matrices(panel_of(made(shares, **options), keys), margin=margin)
    return found


def test_every_pair_once_with_its_verdict(panel_of, key_of):
    found = block(panel_of, key_of, (0.9, 0.9, 0.5), margin=0.05, items=800)
    verdicts = {
        (one.first.label, one.second.label): (round(one.value, 1), one.verdict)
        for one in found.pairs
    }
    assert verdicts == {
        ("CD:FLM", "ND:PLM"): (0.0, "smaller than the margin"),
        ("CD:FLM", "ED:PLM"): (0.4, "real"),
        ("ND:PLM", "ED:PLM"): (0.4, "real"),
    }
    assert (found.alpha, found.power, found.seeds) == (0.05, 0.8, 4)


def test_real_and_excludes_zero_agree_and_holm_is_wider(panel_of, key_of):
    for seed in range(8):
        found = block(panel_of, key_of, (0.6, 0.65, 0.7, 0.75), margin=None, spread=0.03, seed=seed)
        for one in found.pairs:
            assert (one.verdict == "real") == (one.holm_low > 0 or one.holm_high < 0)
            assert one.holm_low <= one.low <= one.value <= one.high <= one.holm_high
            assert one.p <= one.p_holm
            assert one.p_small is None


def test_a_noisy_pair_is_not_told_apart(panel_of, key_of):
    found = block(panel_of, key_of, (0.6, 0.63, 0.6), items=40, spread=0.1)
    assert {one.verdict for one in found.pairs} == {"not told apart"}


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_never_decide(panel_of, key_of, seeds):
    found = block(panel_of, key_of, (1.0, 0.5, 0.0), seeds=seeds)
    assert {one.verdict for one in found.pairs} == {"not decided"}
    assert all(one.detectable is None for one in found.pairs)
    assert found.seeds == seeds


def test_the_detectable_difference_is_found_at_the_stated_power(panel_of, key_of):
    """By the t distribution itself: shifted by `detectable`, the first of Holm's tests has 80%."""
    from scipy import stats

    (one, *_) = (found := block(panel_of, key_of, (0.6, 0.6, 0.6), spread=0.03)).pairs
    critical = stats.t.ppf(1 - ALPHA / 2 / len(found.pairs), one.degrees)
    assert one.detectable is not None
    shift = one.detectable / one.standard_error
    assert stats.nct.sf(critical, one.degrees, shift) == pytest.approx(0.8, abs=1e-6)


def test_unequal_budgets_and_stages_are_refused(panel_of, key_of):
    keys = [key_of("a", 100), key_of("b", 200), key_of("c", 100, finetuned=True)]
    panel = panel_of(made((0.6, 0.6, 0.6)), keys)
    with pytest.raises(ValueError, match="unequal token budgets: 100, 200; legal: one budget"):
        matrix(panel, keys[:2], margin=None)
    with pytest.raises(ValueError, match="legal: one stage"):
        matrix(panel, keys[::2], margin=None)
    assert matrices(panel, margin=None) == ()


def test_blocks_are_stages_and_budgets_and_masked_models_stand_apart(panel_of, key_of):
    keys = [
        key_of("CD:FLM", 1000),
        key_of("ND:PLM", 1001),
        key_of("CD:MLM", 1000),
        key_of("ND:MLM", 1000),
        key_of("CD:FLM", 2000),
        key_of("CD:FLM", 1000, finetuned=True),
        key_of("ND:MLM", 1000, finetuned=True),
    ]
    found = matrices(panel_of(made([0.6] * 7), keys), margin=None)
    assert [(each.stage, [key.label for key in each.cells]) for each in found] == [
        ("before finetuning", ["CD:FLM", "ND:PLM"]),
        ("before finetuning, off-objective", ["CD:MLM", "ND:MLM"]),
        ("after finetuning", ["CD:FLM → CD:MTF", "ND:MLM → ND:MTF"]),
    ]


def test_one_item_and_saturated_scores_decide_nothing_falsely(panel_of, key_of):
    one_item = block(panel_of, key_of, (1.0, 0.0), items=1)
    assert not one_item.pairs
    assert "2 independent items on s; it takes 10" in one_item.holes[0][2]
    equal = block(panel_of, key_of, (1.0, 1.0), items=20, margin=0.05)
    (pair,) = equal.pairs
    assert pair.verdict == "not told apart"  # 20 items cannot say that it is below 5 points
    assert pair.standard_error > 0
    assert pair.low < 0 < pair.high
    (sure,) = block(panel_of, key_of, (1.0, 0.0), items=200).pairs
    assert sure.verdict == "real"
    assert math.isfinite(sure.holm_low)


def test_a_missing_seed_is_left_out_of_its_pairs_only(panel_of, key_of):
    answers = made((0.9, 0.9, 0.5))
    for values in answers:
        values[2, 3] = np.nan
    keys = [key_of(name) for name in NAMES[:3]]
    panel = panel_of(answers, keys)
    (found,) = matrices(panel, margin=0.05)
    assert found.seeds == 3
    broken = replace(panel, tasks=tuple(replace(each) for each in panel.tasks))
    for each in broken.tasks:
        each.answers[2] = np.nan
    (found,) = matrices(broken, margin=0.05)
    assert [why for _, _, why in found.holes] == ["no seed has all of its cells"] * 2


def test_the_margin_is_the_claims_own():
    assert margin_of(paper_claims("microworld", 0.05), "microworld") == 0.05
    assert margin_of(paper_claims("microworld", 0.05), "t0") is None
