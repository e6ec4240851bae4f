"""A contrast over our own runs: its value and error by hand, which cells it takes, its level."""

from dataclasses import replace

import numpy as np
import pytest
from made_panels import panel_of_tasks, task_scores, with_column
from scipy import stats

from eval.evidence.contrast import ALPHA, CHANCE, Contrast, Estimate
from eval.evidence.estimates import OwnRuns
from eval.evidence.statistics import minimum_effect
from study.language.cells import AFTER, BEFORE, key_of
from study.language.recipes.presets import world_suite_task


def panel_of(correct, keys, *, chance=0.5):
    """correct: (tasks, C, S, K, I)."""
    tasks = [
        task_scores(
            world_suite_task(
                ("effect", "cause")[place], rows=2, seed=1, chance=chance, role="headline"
            ),
            values,
            correct_other_end=1 - values,
            gold_nats_per_byte=values,
        )
        for place, values in enumerate(correct)
    ]
    return panel_of_tasks(tasks, keys)


def key(name, tokens=100):
    return key_of((name,), tokens=tokens)


def contrast(high="a", low="b", **changes):
    low_cell = CHANCE if low == "chance" else (low,)
    fields = {
        "name": "c",
        "suite": "s",
        "weights": (((high,), 1.0), (low_cell, -1.0)),
        "kind": "greater",
        "margin": 0.05,
    }
    return Contrast(**(fields | changes))


def estimated(panel, asked=None, **options):
    return OwnRuns({"s": panel}, decided=1, **options)(asked or contrast())


def made(rng, *, cells=6, seeds=3, items=80, seed_spread=0.0, base=0.7):
    """Items of equal difficulty for all; each cell and seed has its own luck."""
    shares = base + seed_spread * rng.normal(size=(cells, seeds, 1, 1))
    return [(rng.random((cells, seeds, 1, items)) < shares).astype(float) for _ in range(2)]


def test_value_and_error_by_hand():
    rng = np.random.default_rng(0)
    correct = made(rng, seed_spread=0.05)
    panel = panel_of(correct, [key(name) for name in "abcdef"])
    found = estimated(panel)
    assert isinstance(found, Estimate)
    scores = np.mean([values.mean(axis=(2, 3)) for values in correct], axis=0)
    assert found.value == pytest.approx(scores[0].mean() - scores[1].mean())
    left = scores - scores.mean(1, keepdims=True) - scores.mean(0) + scores.mean()
    variance = 2 * (left**2).sum() / 10 / 3
    # Of the mean over tasks of a paired difference over items, seeds averaged.
    differences = [values.mean(axis=(1, 2)) for values in correct]
    item = sum((d[0] - d[1]).var() / 80 for d in differences) / 4
    assert found.degrees == 10
    assert found.standard_error == pytest.approx((variance + item) ** 0.5, rel=0.05)
    assert found.basis == "seeds and items"
    assert found.minimum_effect == pytest.approx(3.2 * found.standard_error, rel=0.05)


def test_the_score_is_the_median_over_templates():
    values = np.zeros((2, 1, 3, 10))
    values[0, 0, 0] = 1.0
    values[0, 0, 1, :4] = 1.0
    found = estimated(panel_of([values], [key("a"), key("b")]))
    assert isinstance(found, Estimate)
    assert found.value == pytest.approx(0.4)
    assert (found.basis, found.seeds, found.degrees) == ("items only", 1, np.inf)
    assert found.standard_error**2 == pytest.approx(found.item_variance)


def test_a_template_that_does_not_apply_is_left_out():
    values = np.ones((2, 1, 2, 10))
    values[1] = 0.0
    values[0, 0, 1, 3:] = np.nan
    found = estimated(panel_of([values], [key("a"), key("b")]))
    assert isinstance(found, Estimate)
    assert found.value == pytest.approx(1.0)


def test_chance_is_a_constant():
    values = np.ones((2, 1, 1, 20))
    panel = panel_of([values], [key("a"), key("b")])
    found = estimated(panel, contrast(low="chance"))
    assert isinstance(found, Estimate)
    assert found.value == pytest.approx(0.5)
    assert not found.floor


def test_budgets():
    rng = np.random.default_rng(1)
    keys = [key("a", 100), key("a", 200), key("b", 100), key("b", 201), key("c", 400)]
    panel = panel_of(made(rng, cells=5), keys)
    scores = panel.scores().mean(axis=1)

    def value(asked):
        found = estimated(panel, asked)
        return found if isinstance(found, str) else found.value

    assert value(contrast()) == pytest.approx(scores[1] - scores[3])
    assert value(contrast(budget=0)) == pytest.approx(scores[0] - scores[2])
    assert str(value(contrast(low="c"))).startswith("unequal token budgets: a 100, 200; c 400")
    labelled = estimated(panel, contrast(low="c", matching="unequal"))
    assert isinstance(labelled, Estimate)
    assert labelled.note == "unequal token budgets by construction: 200 against 400"
    assert value(contrast(low="d")) == "missing d"
    assert value(contrast(budgets=3)) == "needs 3 token budgets; there is 2"
    assert value(contrast(suite="other")) == "no scores on other"


def test_only_complete_seeds_count():
    rng = np.random.default_rng(2)
    correct = made(rng)
    for values in correct:
        values[1, 2] = np.nan
    found = estimated(panel_of(correct, [key(name) for name in "abcdef"]))
    assert isinstance(found, Estimate)
    assert found.seeds == 2
    assert found.basis == "items only"


def test_cells_at_chance_are_a_floor():
    rng = np.random.default_rng(3)
    flat = estimated(panel_of(made(rng, base=0.5), [key(name) for name in "abcdef"]))
    learned = estimated(panel_of(made(rng, base=0.9), [key(name) for name in "abcdef"]))
    assert isinstance(flat, Estimate)
    assert isinstance(learned, Estimate)
    assert flat.floor
    assert not learned.floor


def test_the_other_end_of_sequence_is_another_score():
    rng = np.random.default_rng(4)
    panel = panel_of(made(rng), [key(name) for name in "abcdef"])
    own, other = estimated(panel), estimated(panel, option="other")
    assert isinstance(own, Estimate)
    assert isinstance(other, Estimate)
    assert other.value == pytest.approx(-own.value)


def item_error(correct, weights, seeds=slice(None)):
    """Squared, of a contrast over the one task, seeds averaged, by the variance over items."""
    (values,) = correct
    found = weights @ values[:, seeds].mean(axis=(1, 2))
    return found.var() / found.size


def seed_error(scores, weights):
    """Squared, of one layout's cells."""
    left = scores - scores.mean(1, keepdims=True) - scores.mean(0) + scores.mean()
    degrees = (len(scores) - 1) * (scores.shape[1] - 1)
    return (np.square(weights).sum()) * (left**2).sum() / degrees / scores.shape[1]


def test_each_stage_has_its_own_variance_and_the_fewer_degrees_count():
    """Four cells that hardly vary over seeds before finetuning, three that do after it."""
    rng = np.random.default_rng(6)
    calm, wild = made(rng, cells=4, seed_spread=0.01), made(rng, cells=3, seed_spread=0.1)
    correct = [np.concatenate([calm[0], wild[0]])]
    keys = [key(name) for name in "abcd"]
    keys += [key_of((name, f"{name}:MTF"), tokens=100) for name in "abc"]
    panel = panel_of(correct, keys)
    assert [one.stage for one in panel.cells] == [BEFORE] * 4 + [AFTER] * 3
    scores, source = panel.scores(), OwnRuns({"s": panel}, decided=1)
    weights = np.array([-1.0, 0, 0, 0, 2.0, 0, 0])
    found = source.weighed(panel, weights)
    assert isinstance(found, Estimate)
    seeds = seed_error(scores[:4], weights[:4]) + seed_error(scores[4:], weights[4:])
    assert found.degrees == 2 * 2
    assert found.standard_error**2 - found.item_variance == pytest.approx(seeds)
    assert found.item_variance == pytest.approx(item_error(correct, weights), rel=0.12)
    alone = source.weighed(panel, np.array([-1.0, 1.0, 0, 0, 0, 0, 0]))
    assert isinstance(alone, Estimate)
    assert alone.degrees == 3 * 2


def test_what_is_not_complete_takes_no_part_in_any_error():
    """Seed 2 of four is missing in one of the contrast's cells: value and both errors are those of
    the other three; another missing seed of the same number is another layout.
    """
    rng = np.random.default_rng(7)
    correct = made(rng, seeds=4, seed_spread=0.05)[:1]
    names = [key(name) for name in "abcdef"]
    before = [values.copy() for values in correct]
    for values in correct:
        values[1, 2] = np.nan
        values[3, 0] = np.nan
    panel, rest = panel_of(correct, names), [0, 1, 3]
    source = OwnRuns({"s": panel}, decided=1)
    weights = np.array([1.0, -1.0, 0, 0, 0, 0])
    found = source.weighed(panel, weights)
    assert isinstance(found, Estimate)
    assert (found.seeds, found.basis) == (3, "seeds and items")
    scores = panel_of(before, names).scores()[:, rest]
    assert found.value == pytest.approx(scores[0].mean() - scores[1].mean())
    # cell d lacks seed 0, so it is not in the layout of these three
    there = [0, 1, 2, 4, 5]
    seeds = seed_error(scores[there], np.array([1.0, -1.0]))
    assert found.degrees == 4 * 2
    assert found.standard_error**2 - found.item_variance == pytest.approx(seeds)
    assert found.item_variance == pytest.approx(item_error(before, weights, rest), rel=0.12)
    other = source.weighed(panel, np.array([1.0, 0, 0, -1.0, 0, 0]))
    fresh = OwnRuns({"s": panel}, decided=1).weighed(panel, np.array([1.0, 0, 0, -1.0, 0, 0]))
    assert other == fresh


def test_the_other_end_of_sequence_has_its_own_errors():
    rng = np.random.default_rng(8)
    panel = panel_of(made(rng, seed_spread=0.05), [key(name) for name in "abcdef"])
    others = made(rng, seed_spread=0.2)
    tasks = zip(panel.tasks, others, strict=True)
    turned = replace(
        panel, tasks=tuple(with_column(task, correct_other_end=values) for task, values in tasks)
    )
    alone = estimated(panel_of(others, panel.cells))
    found = estimated(turned, option="other")
    assert isinstance(found, Estimate)
    assert isinstance(alone, Estimate)
    assert (found.value, found.standard_error) == (alone.value, alone.standard_error)
    assert found.over_tasks == alone.over_tasks


def test_independent_items_are_groups_and_ten_are_enough():
    rng = np.random.default_rng(9)
    names = [key(name) for name in "ab"]
    (values,) = made(rng, cells=2, items=20, base=0.5)[:1]
    panel = panel_of([values], names)
    twins = replace(panel, tasks=(replace(panel.tasks[0], groups=np.arange(20) // 2),))
    assert isinstance(estimated(twins), Estimate)
    threes = replace(panel, tasks=(replace(panel.tasks[0], groups=np.arange(20) // 3),))
    assert estimated(threes) == "7 independent items on s; it takes 10"
    several = panel_of([values[..., :5], values[..., 5:10]], names)
    assert isinstance(estimated(several), Estimate)
    fewer = panel_of([values[..., :5], values[..., 5:9]], names)
    assert estimated(fewer) == "9 independent items on s; it takes 10"


def test_scores_that_never_vary_have_wilson_s_error():
    """All right against all wrong, on 20 rows of 10 groups and on 30: no resample differs. Each
    cell's share has the variance of two more successes and failures.
    """
    values = [np.zeros((2, 3, 1, n)) for n in (20, 30)]
    for each in values:
        each[0] = 1.0
    panel = panel_of(values, [key("a"), key("b")])
    first = replace(panel.tasks[0], groups=np.arange(20) // 2)
    found = estimated(replace(panel, tasks=(first, panel.tasks[1])))
    assert isinstance(found, Estimate)
    z2 = stats.norm.ppf(0.975) ** 2
    shares = [(z2 / 2 / (n + z2), n) for n in (10, 30)]
    variance = sum(2 * p * (1 - p) / (n + z2) for p, n in shares) / 4
    assert found.item_variance == pytest.approx(variance)


def test_the_minimum_effect_is_at_holm_s_first_step():
    panel = panel_of(made(np.random.default_rng(10)), [key(name) for name in "abcdef"])
    found = OwnRuns({"s": panel}, decided=13)(contrast())
    assert isinstance(found, Estimate)
    assert found.minimum_effect == pytest.approx(
        minimum_effect(found.standard_error, found.degrees, alpha=ALPHA / 13)
    )


def test_over_tasks_is_student_s_interval_of_the_tasks_differences():
    rng = np.random.default_rng(11)
    correct = made(rng, items=40)
    panel = panel_of(correct, [key(name) for name in "abcdef"])
    scores = np.array([values.mean(axis=(1, 2, 3)) for values in correct])
    for asked, differences in (
        (contrast(), scores[:, 0] - scores[:, 1]),
        (contrast(low="chance"), scores[:, 0] - 0.5),
    ):
        found = estimated(panel, asked)
        assert isinstance(found, Estimate)
        error = stats.sem(differences)
        expected = stats.t.interval(0.95, 1, loc=differences.mean(), scale=error)
        assert found.over_tasks == pytest.approx(expected)
    assert estimated(panel_of(correct[:1], panel.cells)).over_tasks is None


def test_a_floor_is_all_cells_at_chance_and_none_far_below_it():
    rng = np.random.default_rng(12)
    bases = np.array([0.5, 0.5, 0.9, 0.1])[:, None, None, None]
    values = [(rng.random((4, 3, 1, 200)) < bases).astype(float) for _ in range(2)]
    panel = panel_of(values, [key(name) for name in "abcd"])

    def floor(low):
        found = estimated(panel, contrast(low=low))
        assert isinstance(found, Estimate)
        return found.floor

    assert floor("b")
    assert not floor("c")
    assert not floor("d")


def test_a_floor_is_one_of_the_end_of_sequence_that_is_asked_for():
    rng = np.random.default_rng(13)
    flat, learned = (made(rng, base=base) for base in (0.5, 0.9))
    panel = panel_of(flat, [key(name) for name in "abcdef"])
    tasks = [
        with_column(task, correct_other_end=other)
        for task, other in zip(panel.tasks, learned, strict=True)
    ]
    panel = replace(panel, tasks=tuple(tasks))
    found = [estimated(panel, option=option) for option in ("own", "other")]
    assert [isinstance(each, Estimate) and each.floor for each in found] == [True, False]


def test_a_cell_that_is_named_twice_has_both_weights():
    panel = panel_of(made(np.random.default_rng(13)), [key(name) for name in "abcdef"])
    twice = contrast(weights=((("a",), 1.0), (("b",), -0.5), (("b",), -0.5)))
    assert estimated(panel, twice) == estimated(panel)


def test_equal_cells_are_told_apart_no_oftener_than_the_level():
    """Seed luck as large as the item error, through the whole estimator, at 5% two-sided."""
    rng = np.random.default_rng(5)
    names = [key(name) for name in "abcdef"]
    wrong = found = 0
    rounds = 120
    for _ in range(rounds):
        correct = made(rng, items=60, seed_spread=0.04)
        one = estimated(panel_of(correct, names))
        assert isinstance(one, Estimate)
        wrong += min(one.above(0.0), one.below(0.0)) < 0.025
        better = [np.concatenate([np.ones_like(v[:1]), v[1:]]) for v in correct]
        planted = estimated(panel_of(better, names))
        assert isinstance(planted, Estimate)
        found += planted.above(0.0) < 0.025
    assert wrong <= 11  # 6 expected at most; 12 or more have p < 0.02
    assert found >= 0.95 * rounds
