"""A prompt's accuracy beside that of its answers alone; scores without some tasks."""

import numpy as np
import pytest

from eval.evidence import subpanels, table
from eval.evidence.context_free import rows, summaries


def made(rng, shares):
    """(C, S, K, I) answers, the same share for every item."""
    shares = np.asarray(shares)
    return (rng.random((*shares.shape, 2, 60)) < shares[..., None, None]).astype(float)


def test_each_prompt_has_its_context_free_accuracy_beside_it(panel_of, key_of):
    answers = np.zeros((2, 3, 2, 60))
    answers[:, :, 0, :45] = 1.0
    answers[:, :, 1, :30] = 1.0
    alone = lambda values: np.where(np.arange(60) < 42, 1.0, 0.0) + 0 * values  # noqa: E731
    panel = panel_of([answers], [key_of("a"), key_of("b")], correct_without_context=alone)
    found = rows(panel)
    assert [(each.cell, each.condition) for each in found] == [
        ("a", "t0"), ("a", "t1"), ("b", "t0"), ("b", "t1"),
    ]  # fmt: skip
    first = found[0]
    assert (first.score, first.context_free) == pytest.approx((0.75, 0.7))
    assert first.spread == pytest.approx(0.25)
    assert first.low < 0.7 < first.high
    assert (first.items, first.seeds) == (60, 3)
    (one, two) = summaries(found)
    assert (one.condition, one.score, one.cells) == ("t0", 0.75, 2)
    assert (two.lowest, two.highest) == pytest.approx((0.7, 0.7))


def test_where_nobody_asked_there_is_no_row(panel_of, key_of):
    panel = panel_of([np.ones((1, 1, 1, 5))], [key_of("a")])
    assert rows(panel) == ()


def test_views_leave_tasks_out_and_keep_the_estimator(panel_of, key_of):
    rng = np.random.default_rng(0)
    names = ("lambada", "sciq", "rte", "mrpc")
    answers = [made(rng, np.full((2, 3), share)) for share in (0.1, 0.9, 0.6, 0.7)]
    keys = [key_of("a"), key_of("b")]
    panel = panel_of(answers, keys, names=names)
    found = {each.view.name: each for each in subpanels.view_scores(panel)}
    assert {name: each.left for name, each in found.items()} == {
        "all tasks": names,
        "without LAMBADA": ("sciq", "rte", "mrpc"),
        "without leaked tasks": ("lambada", "rte"),
        "without either": ("rte",),
    }
    alone = table.suite_rows(panel_of([answers[2]], keys, names=("rte",)))
    assert [each.value for each in found["without either"].rows] == [each.value for each in alone]
    assert [each.low for each in found["without either"].rows] == [each.low for each in alone]
    whole = table.suite_rows(panel_of(answers, keys, names=names))
    assert found["all tasks"].rows == whole


def test_a_suite_without_those_tasks_has_no_views(panel_of, key_of):
    panel = panel_of([np.ones((1, 1, 1, 5))], [key_of("a")])
    assert subpanels.view_scores(panel) == ()
    two = panel_of([np.ones((1, 1, 1, 5))] * 2, [key_of("a")], names=("lambada", "rte"))
    found = [each.view.name for each in subpanels.view_scores(two)]
    assert found == ["all tasks", "without LAMBADA"]
