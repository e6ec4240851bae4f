"""Rows as templates expect them: labels as indices, and columns that no template can read.

Owns what a label may look like (local mirrors hold `1`, `"contradiction"` or `true` where the hub
holds an index), which rows have none, and the two preparations. Where no label is declared, a
template that reads it finds out (`study.language.prompts.templates`). Where rows come from is
`study.sources.content`' affair. No torch.

    race      `problems` holds the article's questions as a Python literal; it is parsed, never run
    mathqa    `choices` is cut out of `options` by lm-evaluation-harness's own expression, which
              ends an option at its first ", ": "1 , 000" is read as "1", there and here
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from typing import Any

from study.language.prompts.missing import is_blank, is_no_label, why_missing
from study.language.prompts.templates import Skipped
from study.language.values.suite import Labels, Preparation
from study.sources.formats import Row

LONGEST_LITERAL = 1_000_000
"""Characters; Python's parser needs many times the memory of its text. RACE's longest are a few
thousand."""
_OPTIONS = re.compile(r"[abcd] \) .*?, |e \) .*?$")


def labelled(
    rows: Iterable[Row], labels: Labels | None, *, origin: str
) -> Iterator[tuple[Row, Skipped | None]]:
    """The rows with class names and truth values as indices, and why one has no label.

    Raises ValueError, naming `origin` and the row, where a label is none of the classes.
    """
    for number, row in enumerate(rows, start=1):
        if labels is None:
            yield row, None
        elif unlabelled := _unlabelled(row, labels.column):
            yield row, unlabelled
        else:
            value = _label(row[labels.column], labels, where=f"{origin}, row {number}")
            yield row | {labels.column: value}, None


def prepared(row: Row, preparation: Preparation) -> Row:
    """Raises ValueError where a row is not in its data set's form."""
    match preparation:
        case "":
            return row
        case "race":
            return row | {"problems": _problems(row.get("problems"))}
        case "mathqa":
            options = row.get("options")
            if not isinstance(options, str):
                raise ValueError(f"column 'options' holds {options!r:.60}; legal: text")
            choices = [each[4:].rstrip(" ,") for each in _OPTIONS.findall(options)]
            return row | {"choices": choices}


def value_at(row: Row, path: str) -> Any:
    """The value of a column, or of one inside another: `idx.question`."""
    value: Any = row
    for name in path.split("."):
        if not isinstance(value, dict) or name not in value:
            raise ValueError(f"no column {path!r}; columns: {', '.join(map(str, row))}")
        value = value[name]
    if why := why_missing(value):
        raise ValueError(f"column {path!r} is {why}")
    return value


def _unlabelled(row: Row, column: str) -> Skipped | None:
    if column not in row:
        listed = ", ".join(map(str, row))
        return Skipped(
            reason="missing", detail=f"no column {column!r} for the answer; columns: {listed}"
        )
    value = row[column]
    if why := why_missing(value):
        return Skipped(reason="missing", detail=f"{column!r} is {why}: no label")
    if is_no_label(value):
        return Skipped(reason="unlabelled", detail=f"{column!r} is {value!r}: no label")
    if value in ([], {}) or (isinstance(value, str) and is_blank(value)):
        return Skipped(reason="missing", detail=f"{column!r} is {value!r}: no label")
    return None


def _label(value: Any, labels: Labels, *, where: str) -> Any:
    if isinstance(value, float) and value.is_integer():
        # a table that held a missing number once gives all of them as fractions
        value = int(value)
    match labels.form:
        case "any":
            return value
        # templates compare text with text, and count with numbers
        case "text" if isinstance(value, str):
            return value
        case "text" if type(value) is int:
            return str(value)
        case "number" if type(value) is int:
            return value
        case "number" if isinstance(value, str) and value.isascii() and value.isdecimal():
            return int(value)
        case "class":
            index = _index(value, labels.classes)
            if index is not None:
                return index
    legal = ", ".join(labels.classes) or f"a {labels.form}"
    if labels.classes:
        legal = f"0 to {len(labels.classes) - 1}, or {legal}"
    raise ValueError(f"{where}: {labels.column!r} is {value!r:.60}; legal: {legal}")


def _index(value: Any, classes: tuple[str, ...]) -> int | None:
    if isinstance(value, bool):
        return int(value) if classes == ("False", "True") else None
    if isinstance(value, str):
        # SuperGLUE's own files say `true` where the hub's classes say `True`
        folded = [each.casefold() for each in classes]
        if value.casefold() in folded:
            return folded.index(value.casefold())
        value = int(value) if value.isascii() and value.isdecimal() else None
    return value if type(value) is int and 0 <= value < len(classes) else None


def _problems(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, str):
        if len(value) > LONGEST_LITERAL:
            raise ValueError(f"column 'problems' holds {len(value)} characters")
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise ValueError(f"column 'problems' is no Python literal ({error!r:.80})") from error
    if not isinstance(value, list) or not value or not all(map(_is_problem, value)):
        raise ValueError(
            f"column 'problems' holds {value!r:.60}; legal: a list of question, answer and four "
            "options"
        )
    return value


def _is_problem(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("question"), str)
        and value.get("answer") in ("A", "B", "C", "D")
        and isinstance(value.get("options"), list)
        and len(value["options"]) == 4
    )
