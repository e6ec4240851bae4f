"""Estimators against brute force, published figures and small simulations."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from eval.evidence.statistics import (
    against_chance,
    effective_trials,
    exponent,
    holm,
    minimum_effect,
    resampling_counts,
    residual,
    wilson,
)


def test_residual_is_free_of_cell_and_seed_effects():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.02, (6, 3))
    moved = noise + rng.normal(size=(6, 1)) + rng.normal(size=(1, 3))
    assert residual(moved).degrees == 10
    assert residual(moved).variance == pytest.approx(residual(noise).variance)
    draws = [residual(rng.normal(0, 0.02, (6, 3))).variance for _ in range(2000)]
    assert np.mean(draws) == pytest.approx(0.02**2, rel=0.03)


def test_unequal_variances_are_told():
    rng = np.random.default_rng(1)
    scores = rng.normal(0, 1, (4, 40)) * np.array([[1], [1], [1], [12]])
    found = residual(scores).unequal_p
    assert found is not None
    assert found < 0.01
    assert residual(np.ones((1, 3))).degrees == 0
    assert residual(np.ones((3, 3))).unequal_p is None


def test_the_test_of_equal_variances_is_brown_and_forsythe_s():
    """An analysis of variance of distances from each cell's median; two seeds have equal ones, so
    that there is nothing to test.
    """
    scores = np.random.default_rng(5).gamma(1.0, size=(4, 5))
    left = scores - scores.mean(1, keepdims=True) - scores.mean(0) + scores.mean()
    distances = np.abs(left - np.median(left, axis=1, keepdims=True))
    assert residual(scores).unequal_p == pytest.approx(stats.f_oneway(*distances).pvalue)
    assert residual(scores[:, :3]).unequal_p is not None
    assert residual(scores[:, :2]).unequal_p is None


def test_false_positives_of_a_contrast_stay_near_their_level():
    """Two of six equal cells, three seeds, at 5%: 3.4 to 4.3% is expected with items on top."""
    rng = np.random.default_rng(2)
    wrong = planted = 0
    rounds = 3000
    for _ in range(rounds):
        scores = rng.normal(0, 1, (6, 3)) + rng.normal(0, 2, (1, 3))
        found = residual(scores)
        error = math.sqrt(2 * found.variance / 3)
        critical = stats.t.ppf(0.975, found.degrees) * error
        difference = scores[0].mean() - scores[1].mean()
        wrong += abs(difference) > critical
        planted += abs(difference + 4.0) > critical
    assert 0.035 < wrong / rounds < 0.065
    assert planted / rounds > 0.95


@pytest.mark.parametrize(("seeds", "expected"), [(3, 3.9), (5, 2.7)])
def test_minimum_effect_is_the_one_that_was_published(seeds, expected):
    """In residual standard deviations, six cells, Holm's first step over 13 claims."""
    error, degrees = math.sqrt(2 / seeds), 5 * (seeds - 1)
    assert minimum_effect(error, degrees, alpha=0.025 / 13) == pytest.approx(expected, abs=0.07)
    assert minimum_effect(1.0, math.inf, alpha=0.025) == pytest.approx(2.80, abs=0.01)
    for power in (0.5, 0.9):
        shift = minimum_effect(0.1, degrees, alpha=0.01, power=power) / 0.1
        critical = stats.t.ppf(0.99, degrees)
        assert stats.nct.sf(critical, degrees, shift) == pytest.approx(power)


@pytest.mark.parametrize(("hits", "trials"), [(0, 20), (20, 20), (7, 20), (1, 400)])
def test_wilson(hits, trials):
    for level in (0.95, 0.8):
        expected = stats.binomtest(hits, trials).proportion_ci(level, method="wilson")
        found = wilson(hits / trials, trials, level=level)
        assert found == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_without_trials_is_not_a_number():
    assert all(math.isnan(bound) for bound in wilson(0.5, 0))


def test_effective_trials():
    assert effective_trials(0.5, 0.05, 400) == pytest.approx(100)
    assert effective_trials(0.5, 0.001, 400) == 400
    assert effective_trials(1.0, 0.0, 400) == 400
    assert effective_trials(1.0, 0.01, 400) == effective_trials(0.0, 0.01, 400) == 400


def test_holm():
    def adjusted(p_values):
        return [each.p for each in holm(p_values, alpha=0.05)]

    assert adjusted([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjusted([0.9, 0.8]) == [1.0, 1.0]
    assert adjusted([]) == []


def test_holm_s_levels_stop_at_the_first_hypothesis_that_stands():
    """.02 stands at .05 / 3, so what comes after it shares that level: .021 and .022 would be below
    .05 / 2 and .05.
    """

    def levels(p_values):
        return [each.level for each in holm(p_values, alpha=0.05)]

    assert levels([0.022, 0.001, 0.02, 0.021]) == pytest.approx(
        [0.05 / 3, 0.05 / 4, 0.05 / 3, 0.05 / 3]
    )
    assert levels([0.001, 0.04, 0.002]) == pytest.approx([0.05 / 3, 0.05, 0.05 / 2])
    # at its level itself a hypothesis stands
    assert levels([0.025, 0.03]) == pytest.approx([0.025, 0.025])
    assert levels([]) == []


def test_groups_are_drawn_whole():
    groups = np.array([4, 9, 4, 9, 7, 7])
    counts = resampling_counts(groups, replicates=300, seed=0)
    assert counts.shape == (300, 6)
    for left, right in ((0, 2), (1, 3), (4, 5)):
        assert (counts[:, left] == counts[:, right]).all()
    assert (counts.sum(axis=1) == 6).all()
    assert counts[:, 0].std() > 0


def test_draws_follow_from_their_seed():
    one, same, other = (
        resampling_counts(np.arange(50), replicates=20, seed=seed) for seed in (3, 3, 4)
    )
    assert (one == same).all()
    assert (one != other).any()
    # each of n is drawn n times 1/n: its count has the mean 1 and the variance 1 - 1/n
    many = resampling_counts(np.arange(50), replicates=4000, seed=0)
    assert many.mean(axis=0) == pytest.approx(np.ones(50), abs=0.08)
    assert many.var(axis=0).mean() == pytest.approx(1 - 1 / 50, rel=0.02)


def pairs(number):
    return np.repeat(np.arange(number), 2)


def test_a_scorer_that_ignores_its_prompt_is_at_chance():
    correct = np.tile([1.0, 0.0], 60)[:, None]
    assert against_chance(correct, pairs(60), chance=0.5, twins=True).p == 1.0


@pytest.mark.parametrize("right", [0.3, 0.45, 0.6])
def test_sign_flips_are_exact(right):
    rng = np.random.default_rng(3)
    correct = rng.choice([0.0, 0.5, 1.0], (16, 4), p=[0.9 - right, 0.1, right])
    surplus = (correct - 0.5).reshape(8, 2, 4).sum(axis=(1, 2))
    signs = np.array(list(itertools.product([-1, 1], repeat=8)))
    expected = np.mean(np.abs(signs @ surplus) >= abs(surplus.sum()) - 1e-9)
    found = against_chance(correct, pairs(8), chance=0.5, twins=True)
    assert found.p == pytest.approx(expected)
    assert 0.005 < found.p < 1


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_both_directions_are_found(value):
    correct = np.full((40, 2), value)
    assert against_chance(correct, pairs(20), chance=0.5, twins=True).p == pytest.approx(2**-19)
    assert against_chance(correct, np.arange(40), chance=0.5, twins=False).p < 0.001
    single = against_chance(correct[:, :1], np.arange(40), chance=0.5, twins=False)
    assert single.method.startswith("exact binomial")
    assert single.p == pytest.approx(2**-39)


def test_untwinned_tests_hold_their_level():
    rng = np.random.default_rng(4)
    wrong = 0
    for _ in range(400):
        skill = rng.beta(1, 3, (80, 1))  # templates agree on an item
        correct = (rng.random((80, 4)) < skill).astype(float)
        wrong += against_chance(correct, np.arange(80), chance=0.25, twins=False).p < 0.05
    assert wrong / 400 < 0.09


def test_missing_answers_are_left_out():
    correct = np.array([[1.0, np.nan], [np.nan, np.nan], [0.0, 1.0], [1.0, 1.0]])
    found = against_chance(correct, np.arange(4), chance=0.5, twins=False)
    assert 0 < found.p <= 1
    assert against_chance(np.full((2, 1), np.nan), np.arange(2), chance=0.5, twins=False).p == 1.0


@pytest.mark.parametrize("chance", [0.25, 0.6])
def test_without_twins_it_is_student_s_or_the_binomial_test(chance):
    """By scipy's own, on both sides of chance, over what was answered."""
    rng = np.random.default_rng(6)
    correct = (rng.random((9, 3)) < 0.45).astype(float)
    correct[0, 1:] = np.nan
    correct[4] = np.nan
    means = [np.nanmean(row) for row in correct if np.isfinite(row).any()]
    found = against_chance(correct, np.arange(9), chance=chance, twins=False)
    assert found.p == pytest.approx(stats.ttest_1samp(means, chance).pvalue)
    single = correct[:, :1]
    hits, known = int(np.nansum(single)), int(np.isfinite(single).sum())
    found = against_chance(single, np.arange(9), chance=chance, twins=False)
    assert (found.method, known) == ("exact binomial over items", 8)
    assert found.p == pytest.approx(stats.binomtest(hits, known, chance).pvalue)
    # a tie shares its point: no count of successes any more
    shared = np.array([[1.0], [0.5], [0.0], [1.0], [0.5]])
    found = against_chance(shared, np.arange(5), chance=chance, twins=False)
    assert found.method.startswith("t over items")
    assert found.p == pytest.approx(stats.ttest_1samp(shared[:, 0], chance).pvalue)


def test_answers_that_do_not_vary_are_at_chance_or_surely_not():
    for share, p in ((0.5, 1.0), (0.25, 0.0)):
        flat = np.tile([share * 2, 0.0], (10, 1))
        assert against_chance(flat, np.arange(10), chance=0.5, twins=False).p == p


def test_twins_have_a_chance_of_one_half():
    with pytest.raises(ValueError, match=r"legal: 0\.5"):
        against_chance(np.ones((4, 1)), pairs(2), chance=0.2, twins=True)


def test_an_exponent_is_that_of_the_power_law():
    lengths = (512, 1024, 2048, 4096, 8192)
    for power in (1.0, 1.5, 2.0):
        found = exponent(lengths, [3e-7 * length**power for length in lengths])
        assert found.value == pytest.approx(power)
        assert found.error == pytest.approx(0.0, abs=1e-6)
        assert math.exp(found.intercept) == pytest.approx(3e-7)


def test_an_exponent_needs_three_different_lengths_above_nothing():
    for x, y in (([1, 2], [1, 2]), ([1, 2, 2], [1, 2, 3]), ([1, 2, 3], [0, 1, 2])):
        with pytest.raises(ValueError, match="legal: 3, above 0"):
            exponent(x, y)
    assert exponent([1, 2, 4, 4], [1, 2, 4, 4]).value == pytest.approx(1.0), "three are enough"


def test_an_exponents_error_is_that_of_the_fit():
    """Over many noisy power laws its t interval covers the truth as often as it says."""
    rng = np.random.default_rng(3)
    lengths = np.array([512.0, 1024, 2048, 4096, 8192])
    bound = stats.t.ppf(0.975, len(lengths) - 2)
    inside = 0
    for _ in range(2000):
        noisy = 1e-6 * lengths**1.7 * np.exp(rng.normal(0, 0.1, lengths.size))
        found = exponent(list(lengths), list(noisy))
        inside += abs(found.value - 1.7) < bound * found.error
    assert inside / 2000 == pytest.approx(0.95, abs=0.015)


def test_a_cost_that_bends_has_an_exponent_between_and_an_error():
    lengths = (512, 1024, 2048, 4096, 8192)
    found = exponent(lengths, [1e-5 * n + 1e-8 * n**2 for n in lengths])
    assert 1.2 < found.value < 1.95
    assert found.error > 0.02


@pytest.mark.parametrize(("x", "y"), [((1, 2), (1.0, 2.0)), ((1, 2, 4), (1.0, 0.0, 2.0))])
def test_no_exponent_of_two_lengths_or_of_no_time(x, y):
    with pytest.raises(ValueError, match="legal: 3, above 0"):
        exponent(x, y)


def test_two_items_are_enough_for_students_test_and_one_is_not():
    two = np.array([[0.5, 1.0], [0.0, 0.25]])
    found = against_chance(two, np.arange(2), chance=0.5, twins=False)
    assert found.method.startswith("t over items")
    assert found.p == pytest.approx(stats.ttest_1samp(two.mean(axis=1), 0.5).pvalue)
    one = against_chance(two[:1], np.arange(1), chance=0.5, twins=False)
    assert (one.p, one.method) == (1.0, "none")
