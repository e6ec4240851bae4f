"""Full and prefix language modelling, and the rule for documents in a chunk."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.language.objectives import prefix_lm, raw_length, segments, sentinel_ids
from study.language.values.objective import FullLM, Packing, PrefixLM, SpanCorruption

OBJECTIVES = (
    FullLM(length=60),
    PrefixLM(length=60),
    SpanCorruption(raw_length=60, noise_density=0.15, mean_span=3.0),
)
SENTINELS = sentinel_ids(vocab_size=1000, sentinels=50)


def cut(objective, chunk, starts, *, masking, seed=0):
    return segments(
        objective,
        chunk,
        np.array(starts),
        rng=np.random.default_rng(seed),
        sentinels=SENTINELS,
        packing=Packing(document_masking=masking, eos_between=False),
    )


@pytest.mark.parametrize("objective", OBJECTIVES[:2], ids=["FLM", "PLM"])
@given(breaks=st.sets(st.integers(1, 59)), masking=st.booleans(), seed=st.integers(0, 99))
def test_language_models_keep_the_text_as_it_is(objective, breaks, masking, seed):
    chunk = np.arange(2, 62, dtype=np.int32)
    starts = [0, *sorted(breaks)]
    row = cut(objective, chunk, starts, masking=masking, seed=seed)
    bounds = [*starts, 60] if masking else [0, 60]
    assert len(row) == len(bounds) - 1
    for one, low, high in zip(row, bounds[:-1], bounds[1:], strict=True):
        assert np.concatenate([one.inputs, one.targets]).tolist() == chunk[low:high].tolist()
        if isinstance(objective, FullLM):
            assert len(one.inputs) == 0
        else:
            # A document of one token is left as an input and has no loss.
            assert len(one.inputs) >= 1
            assert (len(one.targets) >= 1) == (high - low > 1)


@given(breaks=st.sets(st.integers(1, 59)), seed=st.integers(0, 99))
def test_documents_are_corrupted_on_their_own(breaks, seed):
    chunk = np.arange(2, 62, dtype=np.int32)
    starts = [0, *sorted(breaks)]
    row = cut(OBJECTIVES[2], chunk, starts, masking=True, seed=seed)
    assert len(row) == len(starts)
    for one, low, high in zip(row, starts, [*starts[1:], 60], strict=True):
        text = [t for t in [*one.inputs, *one.targets] if 2 <= t < SENTINELS[-1]]
        assert sorted(text) == chunk[low:high].tolist()
        if high - low > 1:
            assert one.targets[0] == SENTINELS[0], "sentinels start over in every document"


def test_the_split_is_uniform_and_leaves_both_sides_something():
    rng = np.random.default_rng(0)
    splits = [prefix_lm.draw_split(6, rng=rng) for _ in range(5000)]
    counts = np.bincount(splits, minlength=7)
    assert counts[0] == counts[6] == 0
    assert counts[1:6].min() > 900, counts


@given(length=st.integers(2, 40), seed=st.integers(0, 99))
def test_a_pair_fills_source_and_targets_exactly(length, seed):
    a, b = np.arange(length), np.arange(100, 100 + length)
    first, second = prefix_lm.paired(a, b, rng=np.random.default_rng(seed))
    assert len(first.inputs) + len(second.inputs) == length
    assert len(first.targets) + len(second.targets) == length
    assert np.concatenate([first.inputs, first.targets]).tolist() == a.tolist()
    assert np.concatenate([second.inputs, second.targets]).tolist() == b.tolist()
    assert min(len(first.inputs), len(second.inputs)) >= 1


def test_raw_lengths():
    paper = SpanCorruption(raw_length=568, noise_density=0.15, mean_span=3.0)
    assert [raw_length(o) for o in (FullLM(length=626), PrefixLM(length=626), paper)] == [
        626,
        626,
        568,
    ]
