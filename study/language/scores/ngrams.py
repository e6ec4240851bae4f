"""Which of a set of texts share n-grams of words with a stream of documents.

Owns what an n-gram is and how a stream is searched. Words are those of
`study.language.scores.words`, and n is 13 as in GPT-3's appendix C (Brown et al. 2020, arXiv
2005.14165) and PaLM's (Chowdhery et al. 2022, arXiv 2204.02311, there 8). A text of 8 to 12 words
is one n-gram as a whole; one of fewer than 8 (GPT-3's least n) says nothing either way.

A character of a script without spaces counts as half a word, so that an n-gram of them has 26, and
of mixed text as many as make up 13 words; a text of fewer than 16 is too short. A word of Chinese
or Japanese has about two characters, one of Thai three with their marks: 26 are 9 to 13 words.
Thirteen characters would be half a clause, which official names and set phrases exceed
(中国共产党第十八次全国代表大会 has 15), and would call commonplace strings hits; GPT-4's report
(arXiv 2303.08774, appendix C) takes 50 characters of any script, in English 8 to 10 words.

The texts are held in memory as 64-bit hashes of their n-grams, the stream is read once, in batches,
and never kept. Words that no text has become 0 and end every n-gram, so that little of a foreign
corpus is hashed at all. Two different n-grams of one hash would count as equal: with 1e7 n-grams
and 1e11 places that is to be expected 0.05 times.

Documents that are evaluation rows in disguise are found, counted and dropped here too: two texts
are the same where their words are, whatever the case, the spacing, the punctuation and the code
points. Disjoint `where` and `part` filters keep evaluation rows out of pretraining; this is the
check that they did, and the filter where they cannot.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from study.language.data.shards import grouped
from study.language.scores.words import unspaced, words
from study.runs.source import Source
from study.sources import content
from study.sources.content import Access

LONGEST, SHORTEST = 13, 8
"""Words of an n-gram, and of the shortest text."""
BATCH_CHARACTERS = 1 << 21
"""Characters of documents that are searched at once; one longer document is searched alone."""
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, kw_only=True)
class Shared:
    """grams: n-grams of each text; 0 of one that is too short. found: how many of them the stream
    has. words: of each text, and characters where there are no spaces. Each (texts,) int64.
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
    """The n-grams of so many words. hashes: (m,) sorted, unique; owner, place: each n-gram's text
    and its place in `hashes`; seen: (m,) bool, filled by the search.
    """

    hashes: np.ndarray
    owner: np.ndarray
    place: np.ndarray
    seen: np.ndarray


class Search:
    """The n-grams of some texts, to be looked for in documents."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._ids: dict[str, int] = {}
        counts: list[int] = []
        found: dict[int, list[tuple[int, np.ndarray]]] = {}
        for owner, text in enumerate(texts):
            row = words(text)
            counts.append(len(row))
            ids = np.array([self._ids.setdefault(each, len(self._ids) + 1) for each in row])
            for n, starts in _grams(row):
                found.setdefault(n, []).append((owner, _hashes(ids.astype(np.uint64), starts, n)))
        self._words = np.array(counts, dtype=np.int64)
        self._lengths = {n: _length(found[n]) for n in sorted(found)}
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
                ids += [known.get(word, 0) for word in words(document)]
                ids.append(0)  # no n-gram goes on into the next document
            self.documents += len(batch)
            self._look(np.array(ids, dtype=np.uint64))
            progress(self.documents)

    def shared(self) -> Shared:
        """What has been found so far."""
        grams = np.zeros(len(self._words), dtype=np.int64)
        found = np.zeros(len(self._words), dtype=np.int64)
        for each in self._lengths.values():
            np.add.at(grams, each.owner, 1)
            np.add.at(found, each.owner, each.seen[each.place])
        return Shared(words=self._words, grams=grams, found=found)

    def _look(self, ids: np.ndarray) -> None:
        if not self._lengths:
            return
        shortest = min(self._lengths)
        ends = np.concatenate([[0], np.cumsum(ids == 0)])
        starts = np.flatnonzero(ends[shortest:] == ends[: max(len(ids) - shortest + 1, 0)])
        hashes = _hashes(ids, starts, shortest)
        for n in range(shortest, max(self._lengths) + 1):
            if n > shortest:
                on = starts + n <= len(ids)
                on[on] = ids[starts[on] + n - 1] != 0
                starts = starts[on]
                hashes = _step(hashes[on], ids[starts + n - 1])
            if n in self._lengths:
                each = self._lengths[n]
                at = np.minimum(np.searchsorted(each.hashes, hashes), len(each.hashes) - 1)
                each.seen[at[each.hashes[at] == hashes]] = True


def _grams(row: Sequence[str]) -> Iterator[tuple[int, np.ndarray]]:
    """(n, where n-grams of n words begin) of a text's words."""
    before = np.cumsum([0, *(1 if unspaced(each) else 2 for each in row)])  # in half words
    if before[-1] < 2 * SHORTEST:
        return
    enough = min(2 * LONGEST, before[-1])
    last = np.searchsorted(before, before[:-1] + enough)  # the first place that has them all
    starts = np.flatnonzero(last <= len(row))
    sizes = last[starts] - starts
    for n in np.unique(sizes):
        yield int(n), starts[sizes == n]


def _length(rows: Sequence[tuple[int, np.ndarray]]) -> _Length:
    hashes = np.concatenate([own for _, own in rows])
    unique, place = np.unique(hashes, return_inverse=True)
    return _Length(
        hashes=unique,
        owner=np.concatenate([np.full(len(own), owner) for owner, own in rows]),
        place=place,
        seen=np.zeros(len(unique), dtype=bool),
    )


def _hashes(ids: np.ndarray, starts: np.ndarray, n: int) -> np.ndarray:
    """uint64 hashes of the n ids from each start on."""
    state = np.zeros(len(starts), dtype=np.uint64)
    for step in range(n):
        state = _step(state, ids[starts + step])
    return state


def _step(state: np.ndarray, ids: np.ndarray) -> np.ndarray:
    state = (state ^ ids) * _FACTOR
    return state ^ (state >> np.uint64(29))


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """documents: how many were read. shared: how many of them equal an excluded text. excluded: how
    many different texts are excluded.
    """

    documents: int
    shared: int
    excluded: int


def excluded_texts(rows: Iterable[Source], *, access: Access) -> frozenset[bytes]:
    """Keys of the texts of evaluation rows: the text column, or every text value where a source
    names none. What has no word is no text.
    """
    keys = set()
    for source in rows:
        for row in content.rows(source, access=access):
            named = [row.get(source.text_field)] if source.text_field else row.values()
            keys |= {_key(value) for value in named if isinstance(value, str) and words(value)}
    return frozenset(keys)


def without(documents: Iterable[str], excluded: frozenset[bytes]) -> Iterator[str]:
    """The documents whose words are not those of an excluded text."""
    return (document for document in documents if _key(document) not in excluded)


def count(documents: Iterable[str], excluded: frozenset[bytes]) -> Overlap:
    read = shared = 0
    for document in documents:
        read += 1
        shared += _key(document) in excluded
    return Overlap(documents=read, shared=shared, excluded=len(excluded))


def _key(text: str) -> bytes:
    return hashlib.sha256(" ".join(words(text)).encode()).digest()[:16]
