"""The stream against an oracle that concatenates, and its promises."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.language.data.shards import write_shards
from study.language.data.stream import TextStream
from study.language.layout import END_OF_SEQUENCE
from study.language.values.objective import Packing


class InMemory:
    """Documents without files, for thousands of examples a second."""

    def __init__(self, documents: list[np.ndarray]) -> None:
        self.lengths = np.array([len(document) for document in documents])
        self._flat = np.concatenate(documents).astype(np.int32)

    def tokens(self, low: int, high: int) -> np.ndarray:
        return self._flat[low:high]


def numbered(lengths: list[int]) -> InMemory:
    """Documents in which no token occurs twice."""
    bounds = np.cumsum([10, *lengths])
    return InMemory([np.arange(a, b) for a, b in pairwise(bounds)])


def stream(shards, *, raw_length=7, eos=False, seed=0) -> TextStream:
    packing = Packing(document_masking=False, eos_between=eos)
    return TextStream(shards, raw_length=raw_length, packing=packing, seed=seed)


lengths_of_documents = st.lists(st.integers(0, 12), min_size=1, max_size=12).filter(any)


@given(lengths=lengths_of_documents, eos=st.booleans(), seed=st.integers(0, 50))
def test_every_token_is_read_once_per_epoch(lengths, eos, seed):
    shards = numbered(lengths)
    one = stream(shards, eos=eos, seed=seed)
    assert one.epoch_tokens == sum(lengths) + eos * len(lengths)
    for epoch in range(3):
        low = epoch * one.epoch_tokens
        counts = Counter(one.read(low, low + one.epoch_tokens)[0].tolist())
        wanted = Counter(shards.tokens(0, sum(lengths)).tolist())
        if eos:
            wanted[END_OF_SEQUENCE] = len(lengths)
        assert counts == wanted


@given(
    lengths=lengths_of_documents,
    eos=st.booleans(),
    raw_length=st.integers(1, 30),
    indices=st.lists(st.integers(0, 40), min_size=1, max_size=6),
)
def test_chunks_in_any_order_are_stretches_of_one_text(lengths, eos, raw_length, indices):
    shards = numbered(lengths)
    whole, starts = stream(shards, eos=eos).read(0, 41 * raw_length)
    one = stream(shards, raw_length=raw_length, eos=eos)
    for index in indices:
        tokens, begins = one.chunk(index)
        low = index * raw_length
        assert tokens.dtype == np.int32
        assert tokens.tolist() == whole[low : low + raw_length].tolist()
        inside = {int(s) - low for s in starts if low < s < low + raw_length}
        assert begins.tolist() == sorted({0} | inside)


@given(lengths=lengths_of_documents, eos=st.booleans())
def test_a_document_starts_where_the_text_before_it_ended(lengths, eos):
    shards = numbered(lengths)
    one = stream(shards, eos=eos)
    tokens, starts = one.read(0, one.epoch_tokens)
    firsts = {10 + n: length for n, length in zip(np.cumsum([0, *lengths]), lengths, strict=False)}
    for low, high in zip(starts, [*starts[1:], len(tokens)], strict=True):
        document = tokens[low:high].tolist()
        if eos:
            assert document.pop() == END_OF_SEQUENCE
        if document:
            assert firsts[document[0]] == len(document)
            assert document == list(range(document[0], document[0] + len(document)))


def test_epochs_and_seeds_differ_in_order():
    shards = numbered([5] * 40)
    one = stream(shards)
    first, second = one.read(0, 200)[0], one.read(200, 400)[0]
    other = stream(shards, seed=1).read(0, 200)[0]
    assert sorted(first) == sorted(second) == sorted(other)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_files_give_what_memory_gives(tmp_path):
    documents = [np.arange(a, a + n) for a, n in ((10, 5), (20, 0), (30, 9), (50, 1))]
    files = stream(write_shards(tmp_path, documents, 100), eos=True)
    memory = stream(InMemory(documents), eos=True)
    for index in (0, 3, 1, 11):
        for a, b in zip(files.chunk(index), memory.chunk(index), strict=True):
            assert np.array_equal(a, b)


def test_reading_is_not_disturbed_by_what_was_read_before():
    shards = numbered([3, 4, 5])
    one = stream(shards, raw_length=30)
    kept = [one.chunk(index)[0].tolist() for index in range(6)]
    for index in (5, 0, 3, 1):
        assert one.chunk(index)[0].tolist() == kept[index]


def test_a_corpus_without_a_token_is_refused(tmp_path):
    with pytest.raises(ValueError, match="2 documents and no token"):
        stream(write_shards(tmp_path, [np.arange(0), np.arange(0)], 10), eos=True)
