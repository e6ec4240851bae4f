"""File formats: the bytes of one file as rows.

Owns the suffixes that a source file may have, and what a row of each looks like. Knows nothing of
where the file came from, of digests or of filters.

    .txt       {"text": …}; documents are separated by blank lines
    .jsonl     one JSON object a line
    .csv .tsv  by header; a column whose every value is a whole number becomes integers, since
               templates index with labels
    .parquet   columns as they are
    .py        a module of the pythonbible family, one row a chapter; parsed, never run
"""

from __future__ import annotations

import ast
import csv
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
# a review is longer than csv's default of 128 KiB; the limit is process-wide
csv.field_size_limit(min(sys.maxsize, 2**31 - 1))

Row = dict[str, Any]
SUFFIXES = (".txt", ".jsonl", ".csv", ".tsv", ".parquet", ".py")


def read(path: Path) -> Iterator[Row]:
    """The rows of a file, in order. Raises ValueError naming the place where it is malformed."""
    match path.suffix:
        case ".txt":
            return _text(path)
        case ".jsonl":
            return _jsonl(path)
        case ".csv":
            return _csv(path, delimiter=",")
        case ".tsv":
            return _csv(path, delimiter="\t")
        case ".parquet":
            return _parquet(path)
        case ".py":
            return _pythonbible(path)
        case _:
            raise ValueError(
                f"{path.name}: unknown format {path.suffix!r}; legal: {', '.join(SUFFIXES)}"
            )


def _text(path: Path) -> Iterator[Row]:
    lines: list[str] = []
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.strip():
                lines.append(line)
            elif lines:
                yield {"text": "".join(lines).strip("\n")}
                lines = []
    if lines:
        yield {"text": "".join(lines).strip("\n")}


def _jsonl(path: Path) -> Iterator[Row]:
    # str.splitlines would also cut at U+2028, which JSON allows inside a string; a file does not
    with path.open(encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path.name}, line {number}: not JSON ({error})") from error
            if not isinstance(row, dict):
                raise ValueError(
                    f"{path.name}, line {number}: a {type(row).__name__}; legal: an object"
                )
            yield row


def _csv(path: Path, *, delimiter: str) -> Iterator[Row]:
    integers = _integer_columns(path, delimiter=delimiter)
    for row in _csv_rows(path, delimiter=delimiter):
        yield {name: int(value) if name in integers else value for name, value in row.items()}


def _integer_columns(path: Path, *, delimiter: str) -> set[str]:
    """Decided over the whole file: a single value never decides a type."""
    candidates: set[str] | None = None
    for row in _csv_rows(path, delimiter=delimiter):
        names = row.keys() if candidates is None else candidates
        candidates = {name for name in names if _INTEGER.fullmatch(row[name])}
        if not candidates:
            break
    return candidates or set()


def _csv_rows(path: Path, *, delimiter: str) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter=delimiter, strict=True)
        names = reader.fieldnames or []
        if len(set(names)) != len(names):
            raise ValueError(f"{path.name}: a column is named twice: {', '.join(names)}")
        try:
            for row in reader:
                if None in row or None in row.values():
                    raise ValueError(
                        f"{path.name}, line {reader.line_num}: not {len(names)} columns"
                    )
                yield row
        except csv.Error as error:
            raise ValueError(f"{path.name}, line {reader.line_num}: {error}") from error


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                yield from batch.to_pylist()
    except pyarrow.ArrowException as error:
        raise ValueError(f"{path.name}: not readable as Parquet ({error})") from error


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
        module = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
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
