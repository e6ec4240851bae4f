"""The scoring rule against a float64 oracle that uses neither `layout` nor batches."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from made_scores import (
    ARCHITECTURES,
    LEFT,
    oracle,
    requests,
    shared_requests,
    subject,
    tiny,
)

from study.language.model.check import MIXERS
from study.language.scores.passes import Found, Piece
from study.language.scores.score import (
    Ids,
    Request,
    Scored,
    Subject,
    _Cut,
    _cut,
    _scored,
    begin,
    score,
)
from study.language.values.suite import Scoring

KINDS = [
    *({"positions": each} for each in ("rope", "t5_bias", "t5_bias_paper", "none")),
    *({"mixer": each} for each in MIXERS),
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_agrees_with_the_oracle_whatever_the_batches(architecture, kind):
    asked = shared_requests()
    exact, single = tiny(architecture, **kind).double(), tiny(architecture, **kind)
    expected, own = {}, {}
    for request in asked:
        for target in request.targets:
            key = tuple(request.context), tuple(target)
            expected[key] = oracle(exact, architecture, list(request.context), target)
            own[key] = oracle(single, architecture, list(request.context), target)
    for batch_tokens, order, contexts in [
        (1, 1, "shared"),
        (90, -1, "shared"),
        (100_000, 1, "shared"),
        (90, 1, "apart"),
        (100_000, -1, "apart"),
    ]:
        options = {"batch_tokens": batch_tokens, "contexts": contexts, "max_length": 64}
        for model, reference in ((exact, expected), (single, own)):
            one = Subject(model=model, architecture=architecture, **options)
            found = score(one, asked[::order], scoring=LEFT)
            for request, answers in zip(asked[::order], found, strict=True):
                for target, answer in zip(request.targets, answers, strict=True):
                    key = tuple(request.context), tuple(target)
                    close = (
                        {"abs": 1e-6, "rel": 0.0} if model is exact else {"rel": 1e-6, "abs": 0.0}
                    )
                    steps = reference[key]
                    assert answer.log_likelihood(LEFT) == pytest.approx(sum(steps), **close)
                    assert answer.target_log_likelihood == pytest.approx(sum(steps[:-1]), **close)
                    assert answer.tokens == len(target)
                    assert answer.valid
                    # float32 against the oracle in float64
                    assert answer.log_likelihood(LEFT) == pytest.approx(
                        sum(expected[key]), rel=1e-6, abs=0.0
                    )


def test_the_order_of_requests_does_not_matter():
    asked = requests()
    forward = score(subject("prefix_decoder", batch_tokens=120), asked, scoring=LEFT)
    backward = score(subject("prefix_decoder", batch_tokens=120), asked[::-1], scoring=LEFT)
    assert forward == backward[::-1]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_truncation_keeps_the_named_side_and_is_counted(architecture, side):
    scoring = Scoring(end_of_sequence=False, truncation=side)
    context, target = list(range(2, 22)), [30, 31]
    one = subject(architecture, max_length=12)
    (cut,), (same,) = score(
        one,
        [
            Request(context=context, targets=[target]),
            Request(context=context[-9:] if side == "left" else context[:9], targets=[target]),
        ],
        scoring=scoring,
    )
    assert (cut.truncated, same.truncated) == (11, 0)
    assert cut.target_log_likelihood == same.target_log_likelihood


def test_what_cannot_be_scored_is_invalid_and_the_limit_is_exact():
    one = subject("causal_decoder", max_length=6)
    ((empty, longest, too_long),) = score(
        one, [Request(context=[5, 6], targets=[[], [7] * 5, [7] * 6])], scoring=LEFT
    )
    assert not empty.valid
    assert empty == Scored(
        target_log_likelihood=0.0,
        end_log_likelihood=0.0,
        greedy_target=False,
        greedy_end=False,
        tokens=0,
        truncated=0,
        valid=False,
    )
    assert longest.valid
    assert longest.truncated == 2
    assert not too_long.valid


def test_a_score_that_is_not_finite_is_invalid():
    model = tiny("causal_decoder")
    with torch.no_grad():
        model.embedding.weight.fill_(math.nan)
    broken = Subject(model=model, architecture="causal_decoder", max_length=32, batch_tokens=100)
    ((answer,),) = score(broken, [Request(context=[3], targets=[[4]])], scoring=LEFT)
    assert not answer.valid
    assert answer.log_likelihood(LEFT) == 0.0


def test_watch_is_called_and_can_stop():
    class StopHere(Exception):
        pass

    def watch(done, asked):
        assert 0 <= done < asked
        if done:
            raise StopHere

    one = Subject(
        model=tiny("causal_decoder"),
        architecture="causal_decoder",
        max_length=64,
        batch_tokens=1,
        watch=watch,
    )
    with pytest.raises(StopHere):
        score(one, requests(), scoring=LEFT)


@pytest.mark.parametrize("contexts", ["shared", "apart"])
def test_progress_is_how_many_were_scored(contexts):
    told = []
    one = replace(
        subject("causal_decoder", batch_tokens=30),
        contexts=contexts,
        watch=lambda *each: told.append(each),
    )
    score(one, requests(), scoring=LEFT)
    assert told == sorted(told)
    assert len({asked for _, asked in told}) == 1
    assert all(0 <= done < asked for done, asked in told)
    assert told[-1][0] > told[0][0]


@pytest.mark.parametrize(("name", "value"), [("max_length", 1), ("batch_tokens", 0)])
def test_limits_are_refused(name, value):
    assert vars(subject("causal_decoder", **{name: value + 1}))[name] == value + 1
    with pytest.raises(ValueError, match=name):
        subject("causal_decoder", **{name: value})


@pytest.mark.parametrize("likeliest", list(product((False, True), repeat=3)))
def test_a_target_and_its_end_are_greedy_each_for_itself(likeliest):
    """Two tokens of a target, then the end of sequence, which a piece may lack."""
    piece = Piece((3,), (4, 5, 1))
    cut = _Cut(piece=piece, tokens=2, truncated=0)
    whole = Found(np.array([-1.0, -2.0, -4.0]), np.array(likeliest))
    found = _scored(cut, {piece: whole})
    assert (found.greedy_target, found.greedy_end) == (all(likeliest[:2]), likeliest[2])
    assert (found.target_log_likelihood, found.end_log_likelihood) == (-3.0, -4.0)
    endless = _scored(cut, {piece: Found(*(each[:2] for each in whole))})
    assert (endless.greedy_target, endless.greedy_end) == (all(likeliest[:2]), True)
    assert math.isnan(endless.end_log_likelihood)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_target_or_an_end_without_a_finite_score_is_invalid(place):
    piece = Piece((3,), (4, 5, 1))
    values = np.array([-1.0, -2.0, -4.0])
    values[place] = -math.inf
    found = _scored(
        _Cut(piece=piece, tokens=2, truncated=0), {piece: Found(values, np.ones(3, dtype=bool))}
    )
    assert not found.valid


def test_the_limit_holds_what_is_read_and_no_token_less():
    """Of 8: under `total` a target, its end and what stands for an empty context; under `read` a
    target without its end.
    """
    one = replace(subject("causal_decoder", max_length=8), ids=Ids(prefix=7, reads_nothing=False))
    empty = replace(LEFT, start="empty")
    for length, longest in (("total", 6), ("read", 8)):
        rule = replace(empty, length=length)
        fits = [_cut(one, (), (4,) * size, scoring=rule).piece is not None for size in range(1, 11)]
        assert fits == [size <= longest for size in range(1, 11)]


def test_a_context_begins_once():
    one = replace(subject("causal_decoder"), ids=Ids(start=3, prefix=7, reads_nothing=False))
    always, empty = (replace(LEFT, start=start) for start in ("always", "empty"))
    for context, begun in [((5, 6), (3, 5, 6)), ((3, 5), (3, 5)), ((3,), (3,)), ((), (7,))]:
        assert begin(one, context, scoring=always) == begun
    assert begin(one, (5, 6), scoring=empty) == (5, 6)
    assert begin(one, (), scoring=empty) == (7,)
