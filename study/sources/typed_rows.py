"""What a row may hold, and its two forms: exact text, for files, and canonical text, for keys.

Owns `dumps` and `loads`, by which a row that waits in a file (a hub's copy, a mixture's spool)
comes back as it was: types, the order of keys, numbers of any size, NaN and letters of half a pair
included. Arrow's and JSON's own inference of types have no part in it. Owns `row_key` too, which
names a row by its content. Where rows come from is `sources`' affair.

Values are those of JSON, and bytes, tuples, dates, times, durations, decimals and UUIDs; everything
else (an image, an array, a tensor) is refused with its column.
"""

from __future__ import annotations

import datetime
import decimal
import hashlib
import json
import uuid
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
# the one key of an object that stands for a value which JSON lacks; a row's own such key is wrapped
_TAG = "$"
_PLAIN = frozenset((type(None), bool, int, float, str))


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """A value that Python has no form of: text that is no UTF-8, a day after the year 9999.

    It may stand in a column that nothing reads. It is no text, and refuses to be printed.
    """

    kind: str
    form: str

    def __str__(self) -> str:
        raise ValueError(f"{self!r} is no text")


def row_key(row: Row) -> str:
    """sha256 (hex) of a row's content as canonical JSON: its name in seeded choices. Raises
    ValueError naming the column that has no canonical form.
    """
    try:
        form = _canonical(row)
    except (TypeError, ValueError, RecursionError):
        for column, value in row.items():
            try:
                _canonical({column: value})
            except (TypeError, ValueError, RecursionError) as error:
                raise ValueError(f"column {column!r}: {error}") from error
        raise
    return hashlib.sha256(form.encode()).hexdigest()


def dumps(row: Row) -> str:
    """One line of text that `loads` makes the row of. Raises ValueError naming the column that
    cannot be written.
    """
    form = {}
    for column, value in row.items():
        try:
            form[column] = _encoded(value)
            if type(column) is not str:
                raise TypeError(f"a column's name of type {type(column).__name__}")
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"column {column!r}: {error}; legal: {LEGAL}") from error
    try:
        return json.dumps(form if _TAG not in form else _pairs(form), separators=(",", ":"))
    except ValueError as error:  # a number of more digits than Python writes
        raise ValueError(f"columns {', '.join(map(repr, row))}: {error}") from error


def loads(line: str) -> Row:
    return _decoded(json.loads(line))


LEGAL = (
    "text, numbers, true and false, null, lists and objects of them, and bytes, tuples, dates, "
    "times, durations, decimals, UUIDs"
)


def nanoseconds(value: datetime.timedelta) -> int:
    """pandas' durations, which are timedeltas as well, count on below the microsecond."""
    whole = (value.days * 86_400 + value.seconds) * 10**6 + value.microseconds
    return whole * 1000 + getattr(value, "nanoseconds", 0)


def _canonical(row: Row) -> str:
    return json.dumps(
        row, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=_named_form
    )


def _named_form(value: Any) -> str:
    """What JSON lacks. A form that stands here is never changed: rows would change their names."""
    match value:
        case datetime.date() | datetime.time():
            return value.isoformat()
        case datetime.timedelta():
            return f"{nanoseconds(value)} ns"
        case decimal.Decimal() | uuid.UUID():
            return str(value)
        case bytes():
            return value.hex()
        case Foreign():
            return f"{value.kind} {value.form}"
    raise TypeError(f"{_shown(value)} has no canonical form")


def _moment(value: datetime.datetime) -> list[str]:
    """ISO's form, and the zone where its name says more than the offset."""
    zone = value.tzinfo
    named = isinstance(zone, zoneinfo.ZoneInfo) and zone.key is not None
    return [value.isoformat(), *([zone.key] if named else [])]  # type: ignore[union-attr]


def _moment_of(form: list[str]) -> datetime.datetime:
    found = datetime.datetime.fromisoformat(form[0])
    return found.astimezone(zoneinfo.ZoneInfo(form[1])) if form[1:] else found


def _timestamp(form: list[str]) -> Any:
    import pandas

    found = pandas.Timestamp(form[0])
    return found.tz_convert(zoneinfo.ZoneInfo(form[1])) if form[1:] else found


def _timedelta(form: int) -> Any:
    import pandas

    return pandas.Timedelta(form, unit="ns")


# by class: the name of the form, what is written, and what reads it
_FORMS: dict[type, tuple[str, Callable[[Any], Any], Callable[[Any], Any]]] = {
    bytes: ("bytes", bytes.hex, bytes.fromhex),
    tuple: ("tuple", lambda each: [_encoded(item) for item in each], lambda form: tuple(form)),
    datetime.datetime: ("datetime", _moment, _moment_of),
    datetime.date: ("date", datetime.date.isoformat, datetime.date.fromisoformat),
    datetime.time: ("time", datetime.time.isoformat, datetime.time.fromisoformat),
    datetime.timedelta: (
        "timedelta",
        lambda each: [each.days, each.seconds, each.microseconds],
        lambda form: datetime.timedelta(*form),
    ),
    decimal.Decimal: ("decimal", str, decimal.Decimal),
    uuid.UUID: ("uuid", str, uuid.UUID),
    Foreign: (
        "foreign",
        lambda each: [each.kind, each.form],
        lambda form: Foreign(kind=form[0], form=form[1]),
    ),
}
_READERS = {name: read for name, _, read in _FORMS.values()} | {
    "dict": lambda form: dict(form),  # pairs are decoded before they come here
    "Timestamp": _timestamp,
    "Timedelta": _timedelta,
}


def _encoded(value: Any) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is list:
        return [_encoded(item) for item in value]
    if kind is dict:
        form = {key: _encoded(item) for key, item in value.items()}
        plain = _TAG not in form and all(type(key) is str for key in form)
        return form if plain else _pairs(form)
    if kind in _FORMS:
        name, write, _ = _FORMS[kind]
        return {_TAG: [name, write(value)]}
    if kind.__module__.partition(".")[0] == "pandas":  # below the microsecond, nothing else counts
        if isinstance(value, datetime.datetime):
            return {_TAG: ["Timestamp", _moment(value)]}
        if isinstance(value, datetime.timedelta):
            return {_TAG: ["Timedelta", nanoseconds(value)]}
    raise TypeError(_shown(value))


def _pairs(form: dict[Any, Any]) -> dict[str, Any]:
    return {_TAG: ["dict", [[_encoded(key), item] for key, item in form.items()]]}


def _decoded(form: Any) -> Any:
    if isinstance(form, list):
        return [_decoded(item) for item in form]
    if not isinstance(form, dict):
        return form
    if _TAG in form:
        name, content = form[_TAG]
        return _READERS[name](_decoded(content))
    return {key: _decoded(item) for key, item in form.items()}


def _shown(value: Any) -> str:
    kind = type(value)
    return f"{value!r:.60} of type {kind.__module__}.{kind.__qualname__}"
