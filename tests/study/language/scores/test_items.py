"""What per-item columns say of ties, of broken scores and of an empty context."""

import math
from dataclasses import replace

import pytest

from study.language.recipes.presets import world_suite_task
from study.language.scores import items, tasks
from study.language.scores.encode import Encoded
from study.language.scores.score import Scored
from study.language.scores.tasks import Item, Prompts
from study.language.values.suite import Scoring


class Given:
    """An `lm` whose scores are written down: {(context, answer): (target, end)}, None invalid."""

    def __init__(self, known, *, end=False):
        self.known, self.scoring = known, Scoring(end_of_sequence=end, truncation="left")

    def loglikelihood(self, requests):
        return [self.scored(*each.args) for each in requests]

    def encoded(self, context, answer):
        return Encoded(context=(), target=())

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


@pytest.mark.parametrize("gold", [0, 1, 2])
def test_a_margin_is_to_the_best_of_the_others(gold):
    found = items._decision([-1.0, -2.0, -5.0], gold)
    assert found["margin"] == pytest.approx([1.0, -1.0, -4.0][gold])
    assert (found["prediction"], found["tie"]) == (0, False)
    chances = [math.exp(value) for value in (-1.0, -2.0, -5.0)]
    shares = [each / sum(chances) for each in chances]
    squares = [(share - (place == gold)) ** 2 for place, share in enumerate(shares)]
    assert found["brier"] == pytest.approx(sum(squares))


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
        assert tasks.credit([bad, bad], gold) == 0.0
        assert tasks.credit([bad, -1.0], gold) == 0.0
        assert tasks.credit([-1.0, bad], gold) == 0.0


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


def rows_of(item, lm, *, metric):
    task = world_suite_task("effect", rows=2, seed=1, chance=0.5, role="headline")
    asks = {"rank_all": {"question": ("q",)}, "rolling": {"templates": None}}.get(metric, {})
    task = type(task)(**{**vars(task), "metric": metric} | asks)
    prompts = Prompts(task=task, template="t", items=(item,), twins=False, skipped={})
    (row,) = items.collect([prompts], lm=lm, run="r").to_pylist()
    return row


def item_of(*continuations, **fields):
    values = {"index": 0, "group": 0, "key": "k", "inputs": "q", "gold": 0}
    return Item(continuations=continuations, **values | fields)


def test_an_item_of_two_decisions_has_the_smaller_margin_and_the_mean_brier_score():
    """Two rows of a question in one item; its bytes are counted, not its letters."""
    item = item_of(
        *(" a", " bé", " cü", " d"), gold=-1, contexts=("one", "one", "two", "two"), golds=(1, 0)
    )
    known = {
        ("one", " a"): (-3.0, -1.0),
        ("one", " bé"): (-1.0, -4.0),
        ("two", " cü"): (-2.0, 0.0),
        ("two", " d"): (-2.5, 0.0),
    } | {("", answer): (-1.0, 0.0) for answer in item.continuations}
    row = rows_of(item, Given(known), metric="rank_all")
    assert row["bytes"] == [2, 4, 4, 2]
    assert (row["gold"], row["prediction"], row["correct"], row["tie"]) == (None, None, 1.0, False)
    assert row["margin"] == pytest.approx(0.5)
    assert row["gold_nats_per_byte"] == pytest.approx((-1.0 - 2.0) / (4 + 4))
    wrong = [1 / (1 + math.exp(distance)) for distance in (2.0, 0.5)]
    assert row["brier"] == pytest.approx(sum(2 * share**2 for share in wrong) / 2)
    # with its end of sequence the first decision is -4 against -5
    assert row["correct_other_end"] == 0.0
    known["one", " a"] = (-1.0, 0.0)
    tied = rows_of(item, Given(known), metric="rank_all")
    assert (tied["correct"], tied["tie"], tied["margin"]) == (0.5, True, 0.0)


def test_of_several_answers_one_that_is_greedy_is_enough_and_the_likeliest_is_told():
    item = item_of(" a", " bé", " c")
    known = {
        ("q", " a"): (-2.5, 0.0),
        ("q", " bé"): (-0.5, -7.0),
        ("q", " c"): (-2.0, -1.0),
    } | {("", answer): (-0.5 if answer == " c" else -4.0, 0.0) for answer in item.continuations}
    row = rows_of(item, Given(known), metric="greedy_any")
    assert (row["correct"], row["gold"], row["valid"]) == (1.0, 1, True)
    assert row["gold_nats_per_byte"] == pytest.approx(-0.5 / 4)
    assert row["correct_without_context"] == 1.0
    ended = rows_of(item, Given(known, end=True), metric="greedy_any")
    assert ended["gold"] == 0
    assert ended["gold_nats_per_byte"] == pytest.approx(-2.5 / 2)
    known["q", " c"] = None
    assert not rows_of(item, Given(known), metric="greedy_any")["valid"]


def test_a_greedy_answer_may_be_so_without_its_end_of_sequence_alone():
    class Endless(Given):
        def scored(self, context, answer):
            return replace(super().scored(context, answer), greedy_end=False)

    known = {("q", " a"): (-0.1, 0.0), ("", " a"): (-0.1, 0.0)}
    for end, expected in ((False, (1.0, 0.0, 1.0)), (True, (0.0, 1.0, 0.0))):
        row = rows_of(item_of(" a"), Endless(known, end=end), metric="greedy")
        found = row["correct"], row["correct_other_end"], row["correct_without_context"]
        assert found == expected


def test_the_context_that_lost_most_says_how_much_was_truncated():
    class Cut(Given):
        def scored(self, context, answer):
            lost = {" a": 2, " b": 7}[answer] if context else 0
            return replace(super().scored(context, answer), truncated=lost)

    known = scores((-1.0, 0.0), (-2.0, 0.0))
    assert rows_of(item_of(" a", " b"), Cut(known), metric="rank")["truncated"] == 7


def test_a_rolled_document_is_told_by_its_bytes():
    class Rolling(Given):
        def rolled(self, text):
            return -12.0, 5

    row = rows_of(item_of(inputs="éàü", gold=-1), Rolling({}), metric="rolling")
    assert (row["bytes"], row["tokens"], row["log_likelihoods"]) == ([6], [5], [-12.0])
    assert row["gold_nats_per_byte"] == pytest.approx(-2.0)
