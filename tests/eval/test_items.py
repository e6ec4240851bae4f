"""What per-item columns say of ties, of broken scores and of an empty context."""

import math

import pytest

from eval import items, suites
from eval.score import Scored
from eval.suites import Item, Prompts
from study.presets import world_suite_task
from study.run import Scoring


class Given:
    """An `lm` whose scores are written down: {(context, answer): (target, end)}, None invalid."""

    def __init__(self, known, *, end=False):
        self.known, self.scoring = known, Scoring(end_of_sequence=end, truncation="left")

    def loglikelihood(self, requests):
        return [self.scored(*each.args) for each in requests]

    def scored(self, context, answer):
        found = self.known[context, answer]
        target, end = found or (0.0, 0.0)
        return Scored(
            target_log_likelihood=target,
            end_log_likelihood=end,
            greedy_target=found is not None and target > -1,
            greedy_end=found is not None,
            tokens=1,
            truncated=0,
            valid=found is not None,
        )


def collected(known, *, gold=0, choices=(" a", " b"), metric="rank", end=False):
    task = world_suite_task("effect", rows=2, seed=1, chance=0.5, role="headline")
    task = type(task)(**{**vars(task), "metric": metric})
    item = Item(index=0, group=0, key="k", inputs="q", continuations=choices, gold=gold)
    prompts = Prompts(task=task, template="t", items=(item,), twins=False, skipped={})
    (row,) = items.collect([prompts], lm=Given(known, end=end), run="r").to_pylist()
    return row


def scores(a, b, *, null_a=(-1.0, 0.0), null_b=(-1.0, 0.0)):
    return {("q", " a"): a, ("q", " b"): b, ("", " a"): null_a, ("", " b"): null_b}


def test_the_winner_its_margin_and_its_brier_score():
    row = collected(scores((-1.0, 0.0), (-3.0, 0.0)))
    share = 1 / (1 + math.exp(-2))
    assert (row["correct"], row["prediction"], row["tie"], row["valid"]) == (1.0, 0, False, True)
    assert row["margin"] == pytest.approx(2.0)
    assert row["brier"] == pytest.approx(2 * (1 - share) ** 2)
    assert row["gold_nats_per_byte"] == pytest.approx(-0.5)
    assert collected(scores((-1.0, 0.0), (-3.0, 0.0)), gold=1)["margin"] == pytest.approx(-2.0)


@pytest.mark.parametrize("gold", [0, 1])
def test_equal_scores_are_a_tie_that_shares_the_point(gold):
    row = collected(scores((-2.0, 0.0), (-2.0, 0.0)), gold=gold)
    assert (row["correct"], row["prediction"], row["tie"], row["valid"]) == (0.5, -1, True, True)
    assert row["margin"] == 0.0


@pytest.mark.parametrize("broken", ["a", "b", "both"])
@pytest.mark.parametrize("gold", [0, 1])
def test_an_item_with_a_broken_choice_is_invalid_and_nothing_wins_it(broken, gold):
    """Not the first choice, and not the choice that happens to be finite."""
    a = None if broken in ("a", "both") else (-1.0, 0.0)
    b = None if broken in ("b", "both") else (-1.0, 0.0)
    row = collected(scores(a, b), gold=gold)
    assert (row["correct"], row["correct_other_end"], row["prediction"]) == (0.0, 0.0, -1)
    assert not row["valid"]
    assert not row["tie"]
    assert row["margin"] is row["brier"] is row["gold_nats_per_byte"] is None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_credit_never_falls_to_the_first_choice(bad):
    for gold in (0, 1):
        assert suites.credit([bad, bad], gold) == 0.0
        assert suites.credit([bad, -1.0], gold) == 0.0
        assert suites.credit([-1.0, bad], gold) == 0.0


def test_the_empty_context_chooses_under_the_suite_s_own_end_of_sequence():
    known = scores((-1.0, 0.0), (-3.0, 0.0), null_a=(-2.0, -5.0), null_b=(-3.0, -1.0))
    alone, ended = collected(known), collected(known, end=True)
    assert alone["null_log_likelihoods"] == [-2.0, -3.0]
    assert alone["null_end_log_likelihoods"] == [-5.0, -1.0]
    assert alone["correct_without_context"] == 1.0
    assert ended["correct_without_context"] == 0.0


def test_a_greedy_answer_has_its_context_free_accuracy_too():
    known = {("q", " a"): (-0.1, 0.0), ("", " a"): (-4.0, 0.0)}
    row = collected(known, choices=(" a",), metric="greedy")
    assert (row["correct"], row["correct_without_context"]) == (1.0, 0.0)
    assert row["margin"] is None


def test_a_broken_greedy_answer_is_wrong_and_invalid():
    known = {("q", " a"): None, ("", " a"): None}
    row = collected(known, choices=(" a",), metric="greedy")
    assert (row["correct"], row["valid"], row["gold_nats_per_byte"]) == (0.0, False, None)
