"""A row that waits in a file comes back as it was, and its key is that of its content."""

import datetime
import decimal
import json
import uuid
import zoneinfo

import numpy as np
import pandas
import pytest

from study.sources.typed_rows import Foreign, dumps, loads, row_key

MOMENT = datetime.datetime(2024, 11, 3, 1, 30, 0, 5)
VALUES = {
    "null": None,
    "true": True,
    "one": 1,
    "one as a float": 1.0,
    "big": 2**63,
    "bigger": -(10**300),
    "minus zero": -0.0,
    "tenth": 0.1,
    "NaN": float("nan"),
    "infinity": float("-inf"),
    "text": "naïve \u2028 \0 🙂",
    "half a pair": "\ud800",
    "bytes": b"\x00\xff",
    "no bytes": b"",
    "empty": [{}, [], "", ()],
    "tuple": (1, (2, [3])),
    "nested": {"b": [{"y": 1, "x": None}], "a": 1.5},
    "keys that are no text": {1: "a", "1": "b", (2, None): "c"},
    "the tag": {"$": ["bytes", "00"]},
    "date": datetime.date(1, 1, 1),
    "moment": MOMENT,
    "moment, UTC": MOMENT.replace(tzinfo=datetime.UTC),
    "moment, offset": MOMENT.replace(tzinfo=datetime.timezone(datetime.timedelta(minutes=-90))),
    "moment, zone": MOMENT.replace(tzinfo=zoneinfo.ZoneInfo("America/New_York")),
    "time": datetime.time(23, 59, 59, 1),
    "duration": datetime.timedelta(days=-1, microseconds=1),
    "decimal": decimal.Decimal("1.50E+3"),
    "uuid": uuid.UUID(int=7),
    "foreign": Foreign(kind="string", form="ff"),
    "nanoseconds": pandas.Timestamp(1, unit="ns"),
    "nanoseconds, zone": pandas.Timestamp(1, unit="ns", tz="America/New_York"),
    "nanoseconds long": pandas.Timedelta(1, unit="ns"),
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_a_value_comes_back_as_it_was(value):
    row = {"z": 1, "value": value, "a": {"deep": [value]}}
    line = dumps(row)
    assert line.isascii()
    assert "\n" not in line
    assert repr(loads(line)) == repr(row)  # types, order of keys, NaN and -0.0 included
    assert loads(line)["value"].__class__ is value.__class__


def test_a_second_hour_of_a_clock_turned_back_stays_the_second():
    second = MOMENT.replace(tzinfo=zoneinfo.ZoneInfo("America/New_York"), fold=1)
    back = loads(dumps({"t": second}))["t"]
    assert (back.utcoffset(), back.tzinfo) == (datetime.timedelta(hours=-5), second.tzinfo)


def test_a_row_with_the_tag_for_a_column():
    assert loads(dumps({"$": ["date", "x"], "b": 1})) == {"$": ["date", "x"], "b": 1}


def test_keys_of_rows_are_pinned():
    """A change here moves seeded choices and the questions' names. What JSON has is JSON; what it
    lacks has the form written beside it.
    """
    assert row_key({"text": "naïve", "label": 1}).startswith("ccfd152b6fc8aeb7")
    forms = {
        "date": "0001-01-01",
        "moment": "2024-11-03T01:30:00.000005",
        "moment, UTC": "2024-11-03T01:30:00.000005+00:00",
        "time": "23:59:59.000001",
        "decimal": "1.50E+3",
        "bytes": "00ff",
        "tuple": [1, [2, [3]]],
        "duration": "-86399999999000 ns",
        "uuid": "00000000-0000-0000-0000-000000000007",
        "foreign": "string ff",
        "nanoseconds": "1970-01-01T00:00:00.000000001",
        "nanoseconds long": "1 ns",
    }
    for name, form in forms.items():
        assert row_key({"x": VALUES[name]}) == row_key({"x": form}), name
    assert row_key({"x": float("nan")}) == row_key(json.loads('{"x": NaN}'))


@pytest.mark.parametrize(
    "value", [object(), np.float32(1), np.zeros(2), {1, 2}, 1j], ids=lambda each: str(type(each))
)
def test_what_is_none_of_these_is_refused_with_its_column(value):
    with pytest.raises(ValueError, match=r"column 'deep': .* of type .*; legal: text, numbers"):
        dumps({"a": 1, "deep": [{"x": value}]})


def test_a_value_without_a_name_is_refused_with_its_column():
    with pytest.raises(ValueError, match=r"column 'b': .* of type builtins\.object has no canon"):
        row_key({"a": 1, "b": [object()]})


def test_what_has_no_form_is_no_text():
    with pytest.raises(ValueError, match="is no text"):
        f"{VALUES['foreign']}"
