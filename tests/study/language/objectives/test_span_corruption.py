"""Span corruption: T5's arithmetic, and the text rebuilt from inputs and targets."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_runs
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from study.language.layout import END_OF_SEQUENCE
from study.language.objectives import sentinel_ids, span_corruption
from study.language.values.corpus import TrainedBPE
from study.language.values.objective import SpanCorruption
from study.runs import plan

SWEEPS = Path(plan.__file__).resolve().parents[2] / "sweeps"
PAPER = SpanCorruption(raw_length=568, noise_density=0.15, mean_span=3.0)
VOCABULARY = 32_128
SENTINELS = sentinel_ids(vocab_size=VOCABULARY, sentinels=100)


def corrupt(document, objective=PAPER, seed=0, sentinels=SENTINELS):
    return span_corruption.segment(
        np.asarray(document, dtype=np.int32),
        objective=objective,
        rng=np.random.default_rng(seed),
        sentinels=sentinels,
    )


def spans_of(tokens: list[int]) -> list[list[int]]:
    """Text between sentinels; the sentinels must be 0, 1, 2, … in order."""
    parts: list[list[int]] = [[]]
    for token in tokens:
        if token in SENTINELS:
            assert token == SENTINELS[len(parts) - 1]
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def test_the_paper_s_arithmetic():
    assert PAPER.noise() == (85, 28)
    assert (PAPER.input_length, PAPER.target_length) == (512, 114)
    for seed in range(20):
        one = corrupt(np.arange(2, 570), seed=seed)
        assert (len(one.inputs), len(one.targets)) == (512, 114)
        inputs, targets = one.inputs.tolist(), one.targets.tolist()
        assert inputs[0] == 2, "the text starts with a token that is kept"
        assert inputs[-2:] == [SENTINELS[27], END_OF_SEQUENCE], "and ends with one that is not"
        assert targets[0] == SENTINELS[0]
        assert targets[-2:] == [569, END_OF_SEQUENCE], "no closing sentinel"


def in_float32(length: int) -> tuple[int, int]:
    """T5's random_spans_noise_mask at density 0.15 and mean span 3.0, tensor by tensor."""
    noise = np.rint(np.float32(length) * np.float32(0.15)).astype(np.int32)
    noise = np.minimum(np.maximum(noise, 1), length - 1)
    spans = np.rint(np.float32(noise) / np.float32(3.0)).astype(np.int32)
    return int(noise), int(np.maximum(spans, 1))


def test_where_t5_s_mask_counts_otherwise():
    """Every length: 39 below 5,000 differ, by one token and one span, as the docstring says."""
    other = {}
    for length in range(2, 5000):
        ours, theirs = PAPER.noise(length), in_float32(length)
        if ours != theirs:
            other[length] = (theirs[0] - ours[0], theirs[1] - ours[1])
    bands = [(190, 190), (350, 390), (670, 830), (1310, 1670), (2590, 3390)]
    assert list(other) == [length for low, high in bands for length in range(low, high + 1, 40)]
    assert len(other) == 39
    assert set(other.values()) == {(1, 1)}
    assert (PAPER.noise(190), in_float32(190)) == ((28, 9), (29, 10))
    assert in_float32(568) == PAPER.noise() == (85, 28)


def test_no_declared_run_meets_a_length_at_which_t5_s_mask_counts_otherwise():
    met = {}
    for path in sorted(SWEEPS.glob("*.py")):
        for run in plan.load(str(path)).runs:
            objective = getattr(run, "objective", None)
            if isinstance(objective, SpanCorruption):
                assert (objective.noise_density, objective.mean_span) == (0.15, 3.0)
                longest = objective.raw_length
                # documents that are kept apart have any length up to the chunk's
                shortest = 2 if run.packing.document_masking else longest
                met[shortest, longest] = path.name
    assert {longest for _, longest in met} >= {114, 231, 568}
    for shortest, longest in [*met, (283, 283)]:  # 283: the one of bench/rows/training.py
        for length in range(shortest, longest + 1):
            assert PAPER.noise(length) == in_float32(length)


@given(
    length=st.integers(1, 400),
    density=st.floats(0.05, 0.9),
    mean=st.floats(1.0, 8.0),
    seed=st.integers(0, 1000),
)
def test_the_text_is_rebuilt_from_inputs_and_targets(length, density, mean, seed):
    objective = SpanCorruption(raw_length=400, noise_density=density, mean_span=mean)
    noise, spans = objective.noise(length)
    document = np.random.default_rng(seed).integers(2, SENTINELS[-1], length)
    if spans > len(SENTINELS):
        with pytest.raises(ValueError, match=f"{spans} spans and the vocabulary has 100 sentinels"):
            corrupt(document, objective, seed)
        return
    one = corrupt(document, objective, seed)
    assert one.inputs.dtype == one.targets.dtype == np.int32
    assert one.inputs[-1] == END_OF_SEQUENCE
    kept = spans_of(one.inputs[:-1].tolist())
    if length == 1:
        assert kept == [document.tolist()]
        assert len(one.targets) == 0, "nothing to predict, so no loss"
        return
    assert one.targets[-1] == END_OF_SEQUENCE
    hidden = spans_of(one.targets[:-1].tolist())
    assert hidden[0] == []
    assert kept[-1] == []
    assert len(kept) == len(hidden) == spans + 1
    assert sum(map(len, hidden)) == noise
    assert all(kept[:-1])
    assert all(hidden[1:])
    rebuilt = [t for a, b in zip(kept[:-1], hidden[1:], strict=True) for t in a + b]
    assert rebuilt == document.tolist()


def test_runs_are_uniform_over_all_partitions():
    """T5's segmentation: kept and noise runs are drawn independently, each uniform over all
    compositions. 6 tokens in 3 runs have 10, 5 in 3 have 6; cuts that are drawn one after the other
    are uniform for two runs and for no more.
    """

    def compositions(items):
        pairs = ((first, second) for first in range(1, items) for second in range(1, items))
        return [(*one, items - sum(one)) for one in pairs if sum(one) < items]

    rng = np.random.default_rng(0)
    counts = dict.fromkeys(itertools.product(compositions(6), compositions(5)), 0)
    assert len(counts) == 60
    for _ in range(12_000):
        kept, masked = span_corruption.draw_runs(11, noise=5, spans=3, rng=rng)
        counts[tuple(kept.tolist()), tuple(masked.tolist())] += 1
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3, counts


def test_the_last_sentinel_is_usable_and_no_further_one_is_invented():
    document = np.arange(2, 570)
    exact = sentinel_ids(vocab_size=VOCABULARY, sentinels=28)
    assert exact[-1] == VOCABULARY - 28
    assert exact[-1] in corrupt(document, sentinels=exact).targets
    short = sentinel_ids(vocab_size=VOCABULARY, sentinels=27)
    with pytest.raises(ValueError, match="568 tokens has 28 spans and the vocabulary has 27"):
        corrupt(document, sentinels=short)


def test_a_document_without_a_token_has_nothing_to_predict():
    one = corrupt([])
    assert one.inputs.tolist() == [END_OF_SEQUENCE]
    assert one.targets.tolist() == []


@pytest.mark.parametrize("length", [1, 2, 3, 4, 7])
def test_a_text_shorter_than_a_span_is_corrupted_as_far_as_it_goes(length):
    """Mean spans of 8 tokens in texts of up to 7: one span, something kept before it, no
    overflow.
    """
    objective = SpanCorruption(raw_length=400, noise_density=0.9, mean_span=8.0)
    document = np.arange(2, 2 + length)
    one = corrupt(document, objective)
    sentinels = [token for token in one.inputs.tolist() if token in SENTINELS]
    assert len(sentinels) == (1 if length > 1 else 0)
    assert one.inputs[0] == 2, "something is kept"
    # each span adds a sentinel to both sides, and each side has one end
    assert len(one.inputs) + len(one.targets) <= length + 4


def test_a_plan_with_fewer_sentinels_than_spans_is_refused_before_it_runs():
    run = tiny_runs.pretrain(2)
    few = replace(run.corpus, tokenizer=TrainedBPE(vocab_size=300, sentinels=27))
    with pytest.raises(ValueError, match="in 28 spans, and its tokenizer has 27 sentinels"):
        replace(run, corpus=few, objective=PAPER)
    borrowed = replace(run.corpus, tokenizer=few)
    with pytest.raises(ValueError, match="27 sentinels; legal: a sentinel for each span"):
        replace(run, corpus=borrowed, objective=PAPER)
    enough = replace(run.corpus, tokenizer=TrainedBPE(vocab_size=300, sentinels=28))
    assert replace(run, corpus=enough, objective=PAPER).objective == PAPER
