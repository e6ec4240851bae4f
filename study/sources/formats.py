"""File formats: the bytes of one file as rows.

Owns the suffixes that a source file may have, and what a row of each looks like. Knows nothing of
where the file came from, of digests or of filters.

    .txt       {"text": …}; documents are separated by blank lines
    .jsonl     one JSON object a line
    .csv       by header, with quotes as in RFC 4180; a column whose every value is a whole number
               becomes integers, since templates index with labels
    .tsv       the same columns, but a line is a row and a tab ends a value: quotation marks are
               text, as the writers of GLUE, SST and translations mean them. `quoting="csv"` is for
               a file whose writer quoted as in CSV; nothing is guessed
    .parquet   columns as they are; a value that Python has no form of is `Foreign`
    .py        a module of the pythonbible family, one row a chapter; parsed, never run

Text is UTF-8. A byte-order mark at its beginning is dropped, and at that of a line, where files
were joined that had one each (not in .csv, whose values may hold line ends). Lines end as on Unix,
Windows or the old Mac. A byte 0 is refused, since no text has one, and so is a key that stands
twice in a JSON object, or a column that is named twice: one of the two values would be lost.
"""

from __future__ import annotations

import ast
import codecs
import csv
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from study.sources import parquet
from study.sources.typed_rows import Row as Row

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
# a review is longer than csv's default of 128 KiB; the limit is process-wide
csv.field_size_limit(min(sys.maxsize, 2**31 - 1))

Quoting = Literal["none", "csv"]
SUFFIXES = (".txt", ".jsonl", ".csv", ".tsv", ".parquet", ".py")
MARK = "\ufeff"
# UTF-32's little-endian mark begins with UTF-16's
_OTHER_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def read(path: Path, *, quoting: Quoting = "none") -> Iterator[Row]:
    """The rows of a file, in order. Raises ValueError naming the place where it is malformed."""
    match path.suffix:
        case ".txt":
            return _text(path)
        case ".jsonl":
            return _jsonl(path)
        case ".csv":
            return _typed(lambda: _csv_rows(path, delimiter=","))
        case ".tsv" if quoting == "csv":
            return _typed(lambda: _csv_rows(path, delimiter="\t"))
        case ".tsv":
            return _typed(lambda: _tsv_rows(path))
        case ".parquet":
            return parquet.rows(path)
        case ".py":
            return _pythonbible(path)
        case _:
            raise ValueError(
                f"{path.name}: unknown format {path.suffix!r}; legal: {', '.join(SUFFIXES)}"
            )


def without_mark(text: str) -> str:
    """The text without the byte-order marks that an editor put in front of it."""
    return text.lstrip(MARK)


def _lines(path: Path) -> Iterator[str]:
    """Each line with its end, decoded one by one, so that an error names the line. Lines end with
    a line feed; in a file without one, with a carriage return.
    """
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            if number == 1:
                _refuse_other_marks(raw, path.name)
            try:
                line = raw.decode("utf-8")
            except UnicodeDecodeError as error:
                place = number + raw[: error.start].count(b"\r")
                raise ValueError(f"{path.name}, line {place}: not UTF-8 ({error})") from error
            if "\0" in line:
                place = number + line.partition("\0")[0].count("\r")
                raise ValueError(f"{path.name}, line {place}: a byte 0; legal: text")
            if number == 1:
                line = without_mark(line)
                if "\n" not in line and "\r" in line:
                    yield from _cut(line)
                    return
            yield line


_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


def _cut(text: str) -> list[str]:
    """str.splitlines would also cut at U+2028 and form feeds, which are text."""
    return _LINE.findall(text) if "\r" in text else [text]


def _refuse_other_marks(beginning: bytes, name: str) -> None:
    for mark, encoding in _OTHER_MARKS:
        if beginning.startswith(mark):
            raise ValueError(f"{name}: its byte-order mark is that of {encoding}; legal: UTF-8")


def _text(path: Path) -> Iterator[Row]:
    lines: list[str] = []
    for read in _lines(path):
        for line in _cut(read):
            line = without_mark(line).replace("\r\n", "\n").replace("\r", "\n")
            if line.strip():
                lines.append(line)
            elif lines:
                yield {"text": "".join(lines).strip("\n")}
                lines = []
    if lines:
        yield {"text": "".join(lines).strip("\n")}


def _jsonl(path: Path) -> Iterator[Row]:
    for number, line in enumerate(_lines(path), start=1):
        line = without_mark(line)
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_object)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path.name}, line {number}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise ValueError(
                f"{path.name}, line {number}: a {type(row).__name__}; legal: an object"
            )
        yield row


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return found


def _typed(read: Callable[[], Iterator[dict[str, str]]]) -> Iterator[Row]:
    integers = _integer_columns(read())
    for row in read():
        yield {name: int(value) if name in integers else value for name, value in row.items()}


def _integer_columns(rows: Iterable[dict[str, str]]) -> set[str]:
    """Decided over the whole file: a single value never decides a type."""
    candidates: set[str] | None = None
    for row in rows:
        names = row.keys() if candidates is None else candidates
        candidates = {name for name in names if _INTEGER.fullmatch(row[name])}
        if not candidates:
            break
    return candidates or set()


def _tsv_rows(path: Path) -> Iterator[dict[str, str]]:
    names: list[str] = []
    for number, line in enumerate(_lines(path), start=1):
        line = without_mark(line).rstrip("\r\n")
        if not line:
            continue
        values = line.split("\t")
        if names:
            yield _row(names, values, f"{path.name}, line {number}")
        else:
            names = _header(values, path.name)
    _header(names, path.name)


def _csv_rows(path: Path, *, delimiter: str) -> Iterator[dict[str, str]]:
    lines = (line for read in _lines(path) for line in _cut(read))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    names: list[str] = []
    begin = 1
    try:
        for values in reader:
            if values and names:
                yield _row(names, values, f"{path.name}, line {begin}")
            elif values:
                names = _header(values, path.name)
            begin = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path.name}, line {begin}: {error}") from error
    _header(names, path.name)


def _header(names: list[str], file: str) -> list[str]:
    if not names:
        raise ValueError(f"{file}: empty; legal: a line of column names, then rows")
    parquet.refuse_twins(names, file)
    return names


def _row(names: list[str], values: list[str], place: str) -> dict[str, str]:
    if len(values) != len(names):
        raise ValueError(
            f"{place}: not {len(names)} columns but {len(values)}; columns: {', '.join(names)}"
        )
    return dict(zip(names, values, strict=True))


def _pythonbible(path: Path) -> Iterator[Row]:
    """Chapters of `Bible(version, text, verse_starts, verse_ends, …, books, …)`.

    Verses are keyed bbcccvvv. The edition writes apostrophes as backticks; they are put back.
    """
    call = _bible_call(path)
    try:
        text, starts, ends = (ast.literal_eval(node) for node in call.args[1:4])
        titles = _titles(call)
        chapters: dict[int, list[int]] = {}
        for verse in starts:
            chapters.setdefault(verse // 1000, []).append(verse)
        for chapter, verses in chapters.items():
            book, number = divmod(chapter, 1000)
            span = text[starts[verses[0]] : ends[verses[-1]]]
            yield {
                "book": titles[book - 1],
                "chapter": number,
                "text": span.replace("`", "'").strip(),
            }
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise ValueError(f"{path.name}: not in pythonbible's format ({error})") from error


def _bible_call(path: Path) -> ast.Call:
    try:
        # bytes: Python itself knows marks and declared encodings
        module = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{path.name}: not Python ({error})") from error
    for node in module.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            call = node.value
            if isinstance(call.func, ast.Name) and call.func.id == "Bible" and len(call.args) > 3:
                return call
    raise ValueError(
        f"{path.name}: a .py source is a module of the pythonbible family, `bible = Bible(…)`; "
        "no other Python is read as data"
    )


def _titles(call: ast.Call) -> list[str]:
    """Short book titles in canonical order: the last table whose keys are books, values strings."""
    for node in reversed(call.args):
        if isinstance(node, ast.Dict):
            values = [each.value for each in node.values if isinstance(each, ast.Constant)]
            titles = [value for value in values if isinstance(value, str)]
            if titles and len(titles) == len(node.keys):
                return titles
    raise ValueError("no table of book titles")
