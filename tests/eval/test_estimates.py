"""A contrast over our own runs: its value and error by hand, which cells it takes, its level."""

import numpy as np
import pytest

from eval.cells import CellKey
from eval.claims import CHANCE, Contrast
from eval.estimates import OwnRuns
from eval.panel import Panel, TaskScores
from eval.verdicts import Estimate
from study.presets import world_suite_task


def panel_of(correct, keys, *, chance=0.5):
    """correct: (tasks, C, S, K, I)."""
    tasks = tuple(
        TaskScores(
            task=world_suite_task(
                ("effect", "cause")[place], rows=2, seed=1, chance=chance, role="headline"
            ),
            templates=tuple(f"t{k}" for k in range(values.shape[2])),
            correct=values,
            other=1 - values,
            nats=values,
            groups=np.arange(values.shape[3]),
            twins=False,
            rolled=None,
        )
        for place, values in enumerate(correct)
    )
    seeds = correct[0].shape[1]
    return Panel(
        suite="s",
        size="m",
        cells=tuple(keys),
        seeds=tuple(range(seeds)),
        tasks=tasks,
        runs=(),
        holes=(),
    )


def key(name, tokens=100):
    return CellKey(lineage=(name,), tokens=tokens)


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
    assert (found.basis, found.seeds) == ("items only", 1)


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
    own, other = estimated(panel), estimated(panel, end="other")
    assert isinstance(own, Estimate)
    assert isinstance(other, Estimate)
    assert other.value == pytest.approx(-own.value)


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
