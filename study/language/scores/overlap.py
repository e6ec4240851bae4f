"""Documents that are evaluation rows in disguise: found, counted, dropped.

Owns what counts as the same text: equal words, whatever the case, the spacing, the punctuation and
the code points (`study.language.scores.words`). Disjoint `where` and `part` filters keep evaluation
rows out of pretraining; this is the check that they did, and the filter where they cannot.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from study.language.scores.words import words
from study.runs.run import Source
from study.sources import content as sources
from study.sources.content import Access


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
        for row in sources.rows(source, access=access):
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
