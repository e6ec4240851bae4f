"""Documents that are evaluation rows in disguise: found, counted, dropped.

Owns what counts as the same text: equal letters and digits, whatever the case, the spacing, the
punctuation and HTML line breaks. Disjoint `where` and `part` filters keep evaluation rows out of
pretraining; this is the check that they did, and the filter where they cannot.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from study.data import sources
from study.data.sources import Access
from study.run import Source

_TAG = re.compile(r"<br\s*/?>", re.IGNORECASE)
_OTHER = re.compile(r"[\W_]+")


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """documents: how many were read. shared: how many of them equal an excluded text. excluded: how
    many different texts are excluded.
    """

    documents: int
    shared: int
    excluded: int


def normalised(text: str) -> str:
    """The text's words, lower-cased and single-spaced."""
    return _OTHER.sub(" ", _TAG.sub(" ", text)).strip().casefold()


def excluded_texts(rows: Iterable[Source], *, access: Access) -> frozenset[bytes]:
    """Keys of the texts of evaluation rows: the text column, or every text value where a source
    names none.
    """
    keys = set()
    for source in rows:
        for row in sources.rows(source, access=access):
            named = [row.get(source.text_field)] if source.text_field else row.values()
            keys |= {_key(value) for value in named if isinstance(value, str) and value.strip()}
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
    return hashlib.sha256(normalised(text).encode()).digest()[:16]
