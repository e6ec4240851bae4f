"""Which of a set of texts share n-grams of words with a stream of documents.

Owns what an n-gram is and how a stream is searched: words are those of `overlap.normalised` (lower
case, letters and digits alone), and n is 13 as in GPT-3's appendix C (Brown et al. 2020, arXiv
2005.14165) and PaLM's (Chowdhery et al. 2022, arXiv 2204.02311, there 8). A text of 8 to 12 words
is one n-gram as a whole; one of fewer than 8 (GPT-3's least n) says nothing either way.

The texts are held in memory as 64-bit hashes of their n-grams, the stream is read once, in batches,
and never kept. Words that no text has become 0 and end every n-gram, so that little of a foreign
corpus is hashed at all. Two different n-grams of one hash would count as equal: with 1e7 n-grams
and 1e11 places that is to be expected 0.05 times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from study.data.grouped import grouped
from study.data.overlap import normalised

LONGEST, SHORTEST = 13, 8
BATCH_CHARACTERS = 1 << 21
"""Characters of documents that are searched at once; one longer document is searched alone."""
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, kw_only=True)
class Shared:
    """grams: n-grams of each text; 0 of one that is too short. found: how many of them the stream
    has. words: of each text. Both (texts,) int64.
    """

    words: np.ndarray
    grams: np.ndarray
    found: np.ndarray

    @property
    def hit(self) -> np.ndarray:
        """(texts,) bool: at least one n-gram was found, GPT-3's rule."""
        return self.found > 0

    @property
    def short(self) -> np.ndarray:
        """(texts,) bool: too short to say."""
        return self.grams == 0


@dataclass(frozen=True, kw_only=True)
class _Length:
    """The n-grams of one n. hashes: (m,) sorted, unique; owner, place: each n-gram's text and its
    place in `hashes`; seen: (m,) bool, filled by the search.
    """

    n: int
    hashes: np.ndarray
    owner: np.ndarray
    place: np.ndarray
    seen: np.ndarray


class Search:
    """The n-grams of some texts, to be looked for in documents."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._ids: dict[str, int] = {}
        rows = [
            np.array([self._ids.setdefault(w, len(self._ids) + 1) for w in normalised(t).split()])
            for t in texts
        ]
        self._words = np.array([len(row) for row in rows], dtype=np.int64)
        self._lengths = [
            _length(n, [(i, row) for i, row in enumerate(rows) if min(len(row), LONGEST) == n])
            for n in range(SHORTEST, LONGEST + 1)
            if any(min(len(row), LONGEST) == n for row in rows)
        ]
        self.documents = 0

    def read(
        self, documents: Iterable[str], *, progress: Callable[[int], None] = lambda _: None
    ) -> None:
        """Look through documents; may be called again for more. progress: is told how many were
        read, batch by batch, and may raise to stop.
        """
        known = self._ids
        for batch in grouped(documents, size=len, enough=BATCH_CHARACTERS):
            ids: list[int] = []
            for document in batch:
                ids += [known.get(word, 0) for word in normalised(document).split()]
                ids.append(0)  # no n-gram goes on into the next document
            self.documents += len(batch)
            self._look(np.array(ids, dtype=np.uint64))
            progress(self.documents)

    def shared(self) -> Shared:
        """What has been found so far."""
        grams = np.zeros(len(self._words), dtype=np.int64)
        found = np.zeros(len(self._words), dtype=np.int64)
        for each in self._lengths:
            np.add.at(grams, each.owner, 1)
            np.add.at(found, each.owner, each.seen[each.place])
        return Shared(words=self._words, grams=grams, found=found)

    def _look(self, ids: np.ndarray) -> None:
        ends = np.concatenate([[0], np.cumsum(ids == 0)])
        for each in self._lengths:
            if len(ids) < each.n:
                continue
            whole = np.flatnonzero(ends[each.n :] == ends[: len(ids) - each.n + 1])
            hashes = _hashes(ids, whole, each.n)
            at = np.minimum(np.searchsorted(each.hashes, hashes), len(each.hashes) - 1)
            each.seen[at[each.hashes[at] == hashes]] = True


def _length(n: int, rows: Sequence[tuple[int, np.ndarray]]) -> _Length:
    hashes, owners = [], []
    for owner, row in rows:
        ids = row.astype(np.uint64)
        own = _hashes(ids, np.arange(len(ids) - n + 1), n)
        hashes.append(own)
        owners.append(np.full(len(own), owner))
    unique, place = np.unique(np.concatenate(hashes), return_inverse=True)
    return _Length(
        n=n,
        hashes=unique,
        owner=np.concatenate(owners),
        place=place,
        seen=np.zeros(len(unique), dtype=bool),
    )


def _hashes(ids: np.ndarray, starts: np.ndarray, n: int) -> np.ndarray:
    """uint64 hashes of the n ids from each start on."""
    state = np.zeros(len(starts), dtype=np.uint64)
    for step in range(n):
        state = (state ^ ids[starts + step]) * _FACTOR
        state ^= state >> np.uint64(29)
    return state
