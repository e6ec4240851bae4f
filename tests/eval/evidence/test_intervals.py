"""Every interval of the table is defined or a hole: one item, 0, 1, chance 1, broken scores."""

import math

import numpy as np
import pytest
from scipy import stats

from eval.evidence import intervals, table
from eval.evidence.statistics import wilson
from eval.evidence.table import Row


def row_of(panel_of, key_of, answers, task="effect", **options) -> Row:
    keys = [key_of(f"c{index}") for index in range(len(answers))]
    built = table.build([panel_of([answers], keys, **options)])
    for values in built.values():
        for name, value in values.items():
            assert not (isinstance(value, float) and not math.isfinite(value)), name
    return next(row for row in built.rows if row.task == task)


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("items", [1, 2, 40])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_wilson_is_there_at_0_and_1_and_for_one_item(panel_of, key_of, value, items, seeds):
    row = row_of(panel_of, key_of, np.full((2, seeds, 1, items), value))
    expected = stats.binomtest(int(value * items), items).proportion_ci(method="wilson")
    assert (row.wilson_low, row.wilson_high) == pytest.approx((expected.low, expected.high))
    assert (row.low, row.high) == (row.wilson_low, row.wilson_high)
    assert row.interval == "items only"  # nothing varied over seeds: no certainty follows


def test_wilson_stands_beside_the_interval_over_seeds(panel_of, key_of):
    rng = np.random.default_rng(0)
    shares = 0.7 + 0.1 * rng.normal(size=(3, 4, 1, 1))
    row = row_of(panel_of, key_of, (rng.random((3, 4, 1, 400)) < shares).astype(float))
    assert row.interval == "seeds and items"
    assert row.low < row.wilson_low < row.value < row.wilson_high < row.high


@pytest.fixture
def arrays():
    """own (S,), drawn (R, S), stage (C, S) of a cell whose stage has two more and a broken one."""
    rng = np.random.default_rng(4)
    stage = 0.6 + 0.05 * rng.normal(size=(4, 3))
    stage[3, 1] = np.nan
    drawn = stage[0] + 0.02 * rng.normal(size=(500, 1)) + 0.01 * rng.normal(size=(500, 3))
    return stage[0], drawn, stage


def test_an_interval_is_student_s_over_seeds_and_items(arrays):
    """By hand: the variance over seeds pooled over the whole cells of the stage, the error of items
    of the mean over seeds.
    """
    own, drawn, stage = arrays
    variance = np.mean([stage[cell].var(ddof=1) for cell in range(3)])
    error = math.sqrt(variance / 3 + drawn.mean(axis=1).var())
    low, high = stats.t.interval(0.95, 3 * 2, loc=own.mean(), scale=error)
    for made in (intervals.share, intervals.mean):
        found = made(own, drawn, stage=stage, trials=100)
        assert (found.low, found.high) == pytest.approx((low, high))
        assert (found.value, found.basis) == (pytest.approx(own.mean()), "seeds and items")


def test_below_three_seeds_an_interval_is_over_items(arrays):
    own, drawn, stage = (each[..., :2] for each in arrays)
    error = drawn.mean(axis=1).std()
    found = intervals.mean(own, drawn, stage=stage, trials=2)
    expected = stats.norm.interval(0.95, loc=own.mean(), scale=error)
    assert (found.low, found.high) == pytest.approx(expected)
    assert found.basis == "items only"
    assert intervals.mean(own, drawn, stage=stage, trials=1).low is None
    share = intervals.share(own, drawn, stage=stage, trials=10_000)
    trials = own.mean() * (1 - own.mean()) / error**2
    assert (share.low, share.high) == pytest.approx(wilson(own.mean(), trials))
    few = intervals.share(own, drawn, stage=stage, trials=50)
    assert (few.low, few.high) == pytest.approx(wilson(own.mean(), 50))
    # a seed without a score takes no part in the other's
    gap = intervals.share(np.array([own[0], np.nan]), drawn, stage=stage, trials=10_000)
    trials = own[0] * (1 - own[0]) / drawn[:, 0].var()
    assert (gap.low, gap.high) == pytest.approx(wilson(own[0], trials))


def test_an_accuracy_s_interval_ends_at_0_and_1_and_no_other_s_does(arrays):
    own, drawn, stage = arrays
    for place in (0.02, 0.98):
        shift = place - own.mean()
        found = intervals.share(own + shift, drawn + shift, stage=stage, trials=100)
        assert (found.low == 0.0) == (place == 0.02)
        assert (found.high == 1.0) == (place == 0.98)
        free = intervals.mean(own + shift, drawn + shift, stage=stage, trials=100)
        assert free.low < 0.0 or free.high > 1.0


def test_the_seeds_of_another_stage_do_not_narrow_an_interval(panel_of, key_of):
    """Cells at chance barely vary before finetuning; those after it do."""
    rng = np.random.default_rng(1)
    calm = np.tile((np.arange(100) % 2).astype(float), (4, 3, 1, 1))
    wild = (rng.random((4, 3, 1, 100)) < 0.5 + 0.3 * rng.normal(size=(4, 3, 1, 1))).astype(float)
    keys = [key_of(f"c{i}") for i in range(4)] + [key_of(f"c{i}", finetuned=True) for i in range(4)]
    rows = table.suite_rows(panel_of([np.concatenate([calm, wild])], keys))
    alone = table.suite_rows(panel_of([wild], keys[4:]))
    assert [each.high for each in rows[4:]] == [each.high for each in alone]
    assert rows[0].high - rows[0].low < 0.3 * (rows[4].high - rows[4].low)


def test_a_chance_of_one_is_refused_and_of_zero_is_the_score_itself(panel_of, key_of):
    answers = (np.arange(40) % 2).astype(float) + np.zeros((1, 1, 1, 1))
    with pytest.raises(ValueError, match=r"chance is 1\.0; legal: 0\.0 <= chance < 1\.0"):
        panel_of([answers], [key_of("a")], chance=1.0)
    for task in ("effect", table.SUITE):
        row = row_of(panel_of, key_of, answers, task=task, chance=0.0)
        assert (row.normalised, row.normalised_low, row.normalised_high) == (
            row.value,
            row.low,
            row.high,
        )
    assert row.p is None  # nothing is below a chance of 0


def test_scores_that_are_nothing_are_holes(panel_of, key_of):
    answers = np.ones((2, 1, 1, 8))
    answers[0] = np.nan
    row = row_of(panel_of, key_of, answers)
    suite = row_of(panel_of, key_of, answers, task=table.SUITE)
    assert row.value is suite.value is row.low is None
    assert row.hole == "no items"
    assert suite.hole == "no valid item of some task"


def test_continuous_scores_have_intervals_and_one_item_has_none(panel_of, key_of):
    rng = np.random.default_rng(2)
    noise = lambda values: rng.normal(1.0, 1.0, values.shape)  # noqa: E731
    answers = np.ones((3, 3, 2, 50))
    row = row_of(panel_of, key_of, answers, margin=noise, brier=noise)
    margin, brier = row.of("margin"), row.of("brier")
    assert margin.low < margin.value < margin.high
    assert margin.value == pytest.approx(1.0, abs=0.3)
    assert brier.low < brier.value < brier.high
    assert row.of("gold_nats_per_byte").value == pytest.approx(-1.0)
    single = row_of(panel_of, key_of, answers[:, :1, :, :1], margin=noise, brier=noise)
    assert single.of("margin").value is not None
    assert single.of("margin").low is None


def test_continuous_intervals_cover_the_truth(panel_of, key_of):
    """Margins with seed and item noise about 0: the 95% interval holds 0 at about that rate."""
    rng = np.random.default_rng(3)
    inside = 0
    rounds = 150
    for _ in range(rounds):

        def noise(values):
            cells, seeds, _, items = values.shape
            luck = 0.2 * rng.normal(size=(cells, seeds, 1, 1))
            hard = rng.normal(size=(1, 1, 1, items))
            return luck + hard + rng.normal(size=values.shape)

        panel = panel_of([np.ones((3, 3, 1, 60))], [key_of(c) for c in "abc"], margin=noise)
        (row, *_) = (each for each in table.build([panel]).rows if each.task == "effect")
        inside += row.of("margin").low <= 0 <= row.of("margin").high
    assert inside / rounds > 0.88


def test_a_seed_that_is_missing_is_left_out_and_none_is_no_score(arrays):
    own, drawn, stage = (each.copy() for each in arrays)
    own[1], drawn[:, 1], stage[0, 1] = np.nan, np.nan, np.nan
    found = intervals.mean(own, drawn, stage=stage, trials=100)
    assert found.value == pytest.approx((own[0] + own[2]) / 2)
    assert intervals.mean(np.full(3, np.nan), drawn, stage=stage, trials=100) == intervals.NOTHING


def test_without_trials_or_scores_there_is_no_interval_over_items(arrays):
    own, drawn, _ = arrays
    assert intervals.over_items(own, drawn, trials=0) == (None, None)
    assert intervals.over_items(np.full(3, np.nan), drawn, trials=9) == (None, None)
    low, high = intervals.over_items(own, drawn, trials=1)
    assert 0 < low < own.mean() < high < 1
