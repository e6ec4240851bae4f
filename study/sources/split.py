"""What a row says: the key by which `part` and `held_out` put it on a side.

Rows that say the same lie on one side, whatever numbers or names a data set gives them. Owns what
is said and what is ignored:

- In a source with `split_by`, or with a `text_field`, exactly these columns speak.
- Else a row's texts speak, wherever they stand in it: values of two words or more, lists of words,
  and sentences of scripts without spaces. Everything else is ignored then: numbers, since a row
  number looks like any other; labels, so that one text under two labels is on one side; names of
  one word (`train-17`, `Row 17`, a UUID, a URL), dates.
- A row without such texts speaks by its single words (`good`, `film 7`), and one without words by
  everything.
- Columns that name a row (`id`, `idx`, `guid`, `pairID`, `question_id`, `__index_level_0__`,
  `Unnamed: 0`, …) never speak, at any depth, unless nothing else is there.

It is a function of the row alone, so that parts of a stream are those of its copy and of a file.
Where content lies in numbers alone it tells too few rows apart (`Spread`). A mixture, which is read
whole and knows its templates, then goes by what they read (`read_key`); for a part it is said
aloud, and `split_by` names the columns. Rows of one data set that one source reads as documents and
another for templates are kept apart for certain by the same `split_by` in both.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Container, Iterable, Iterator
from typing import Any

from study.runs.source import Source
from study.show.terminal import log_warning
from study.sources.typed_rows import Row, row_key

_NAMES_A_ROW = re.compile(
    r"(.*[^a-z])?(id|idx|index|guid|uid|uuid|[qpstcde]id|docid|rowid|pairid|sentid)"
    r"|__index_level_\d+__"
)
# these name a row where they hold a number, and may hold a text
_NUMBERS_A_ROW = re.compile(r"row|line|(row|line)_?(no|nr|num|number)|#|unnamed: \d+|")
_NUMBERED = re.compile(
    r"(row|line|item|example|sample|record|entry|instance|index|id|nr|no)?\.?\s*[#:.-]?\s*\d+",
    re.IGNORECASE,
)
_DATE = re.compile(r"\d{4}-\d\d?-\d\d?[ T][\d:.,]+\s*(Z|UTC|GMT|[+-]\d\d:?\d\d)?")
_LETTER = re.compile(r"[^\W\d_]")
_CALENDAR = re.compile(
    r"(mon|tue|wed|thu|fri|sat|sun|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*[,.]?"
    r"|[\d:]*(am|pm)|utc|gmt|[acemp][sd]t|\d+(st|nd|rd|th),?",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]+([-'’][^\W\d_]+)*[.,;:!?…]*")
# a list of so many values is running text that was cut into tokens, not a few choices
_TOKENS = 5
# letters of a script without spaces that make a sentence, not a name
_SENTENCE = 5


def declared(source: Source) -> tuple[str, ...]:
    """The columns that speak, where the source names them."""
    return source.split_by or ((source.text_field,) if source.text_field else ())


def split_key(row: Row, source: Source) -> str:
    """sha256 (hex) of what the row says. Raises ValueError naming a column that is not there."""
    columns = declared(source)
    for column in columns:
        if column not in row:
            raise ValueError(f"no column {column!r}; columns: {', '.join(map(str, row))}")
    if not columns:
        return said(row)
    chosen = {column: row[column] for column in columns}
    values = list(chosen.values())
    return _key(values) if all(isinstance(each, str) for each in values) else row_key(chosen)


def said(row: Row) -> str:
    """sha256 (hex) of what a row says of which nothing is declared."""
    texts, words = [], []
    for value in _strings(row):
        value = value.strip()
        if _is_text(value):
            texts.append(value)
        elif _is_word(value):
            words.append(value)
    if texts or words:
        return _key(texts or words)
    return row_key(_unnamed(row) or row)


def share(key: str, *, salt: str) -> float:
    """A number in [0, 1) drawn from a content key. Another salt is another, independent draw, so
    that a held-out share cuts evenly through a `part`.
    """
    return int(hashlib.sha256(f"{salt}\0{key}".encode()).hexdigest()[:13], 16) / 16**13


def columns_read(expressions: Iterable[str]) -> frozenset[str]:
    """The columns that templates and their answer choices name."""
    from jinja2 import Environment, meta

    parse = Environment().parse
    found = (meta.find_undeclared_variables(parse(each)) for each in expressions)
    return frozenset().union(*found)


def read_key(row: Row, columns: Container[str]) -> str:
    """sha256 (hex) of all that templates may read of a row, numbers too: another way of deciding
    what a row says, for data sets that `Spread` finds too coarse. Row numbers that no template
    prints are no part of it.
    """
    return row_key(_unnamed({name: row[name] for name in row if name in columns}))


class Spread:
    """Whether the keys of a data set tell its rows apart, as `said` does not where an instruction
    is the same in every row and numbers or single words are the question.
    """

    MOST = 10_000

    def __init__(self) -> None:
        self.rows = 0
        self.keys: set[str] = set()

    def add(self, key: str) -> None:
        self.rows += 1
        if len(self.keys) < self.MOST:
            self.keys.add(key)

    @property
    def is_coarse(self) -> bool:
        """Ten rows or more for each key. Of very many keys it is never said."""
        return self.rows >= 20 and len(self.keys) < self.MOST and 10 * len(self.keys) <= self.rows

    def tell(self, source: Source) -> None:
        if self.is_coarse:
            log_warning(
                f"source {source.uri!r}: its {self.rows} rows say {len(self.keys)} different "
                "things, and what says the same lies in one part and on one side of held_out; "
                "where numbers or single words tell rows apart, name their columns in the source's "
                "split_by"
            )


def _key(texts: list[str]) -> str:
    # whichever columns they stand in, and once: another data set's row of the same texts is equal
    form = json.dumps(sorted({each.strip() for each in texts}))
    return hashlib.sha256(form.encode()).hexdigest()


def _is_text(value: str) -> bool:
    words = [word for word in value.split() if _LETTER.search(word)]
    if any(letter.isdigit() for letter in value):
        words = [word for word in words if not _CALENDAR.fullmatch(word)]
    if len(words) > 1 or value.isascii():
        return len(words) > 1
    return sum(unicodedata.category(each) == "Lo" for each in value) >= _SENTENCE


def _is_word(value: str) -> bool:
    if len(value.split(None, 1)) > 1:
        return not (_NUMBERED.fullmatch(value) or _DATE.fullmatch(value))
    return _WORD.fullmatch(value) is not None


def _strings(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for name, item in value.items():
                if not _names_a_row(name, item):
                    yield from _strings(item)
        case list() | tuple():
            if len(value) >= _TOKENS and all(isinstance(item, str) for item in value):
                yield " ".join(value)
            else:
                for item in value:
                    yield from _strings(item)


def _unnamed(value: Any) -> Any:
    match value:
        case dict():
            return {
                name: _unnamed(item) for name, item in value.items() if not _names_a_row(name, item)
            }
        case list():
            return [_unnamed(item) for item in value]
    return value


def _names_a_row(name: Any, value: Any) -> bool:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", str(name)).strip().lower()
    if _NAMES_A_ROW.fullmatch(words):
        return True
    return isinstance(value, int | float) and _NUMBERS_A_ROW.fullmatch(words) is not None
