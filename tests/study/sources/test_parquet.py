"""Every type that a Parquet file may have gives rows that have keys and can wait in a file."""

import datetime
import decimal
import uuid

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from study.sources import parquet
from study.sources.typed_rows import Foreign, dumps, loads, row_key


def not_utf8():
    offsets = pa.py_buffer(np.array([0, 1, 3], np.int32).tobytes())
    return pa.StringArray.from_buffers(2, offsets, pa.py_buffer(b"\xffok"))


def late(kind):
    return pa.array([2**61, 1], kind)


COLUMNS = {
    "duration": (pa.array([1, None], pa.duration("s")), datetime.timedelta(seconds=1)),
    "uuid": (
        pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16] * 2, pa.binary(16))),
        uuid.UUID(bytes=b"0" * 16),
    ),
    "map": (pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())), [("a", 1)]),
    "decimal": (pa.array([decimal.Decimal("1.50")] * 2), decimal.Decimal("1.50")),
    "half": (pa.array(np.array([1.5, 2], np.float16)), 1.5),
    "bytes": (pa.array([b"\xff", b""]), b"\xff"),
    "unsigned": (pa.array([2**64 - 1, 0], pa.uint64()), 2**64 - 1),
    "nested": (pa.array([[{"a": None}], None]), [{"a": None}]),
    "dictionary": (pa.array(["a", "b"]).dictionary_encode(), "a"),
    "large": (pa.array(["a", "b"], pa.large_string()), "a"),
    "nothing": (pa.nulls(2), None),
    "text that is none": (not_utf8(), Foreign(kind="string", form="ff")),
    "a day too late": (
        pa.array([2**30, 1], pa.int32()).cast(pa.date32()),
        Foreign(kind="date32[day]", form=str(2**30)),
    ),
    "a moment too late": (
        late(pa.timestamp("us")),
        Foreign(kind="timestamp[us]", form=str(2**61)),
    ),
    "a zone that is nowhere": (
        pa.array([1, None], pa.timestamp("us", "Nowhere/Else")),
        Foreign(kind="timestamp[us, tz=Nowhere/Else]", form="1"),
    ),
    "deep": (
        pa.StructArray.from_arrays([not_utf8(), pa.array([1, 2])], ["x", "y"]),
        {"x": Foreign(kind="string", form="ff"), "y": 1},
    ),
    "listed": (
        pa.ListArray.from_arrays([0, 2, 2], not_utf8()),
        [Foreign(kind="string", form="ff"), "ok"],
    ),
}


@pytest.mark.parametrize(("column", "first"), COLUMNS.values(), ids=COLUMNS)
def test_a_column_of_any_type_has_values_beside_the_text(tmp_path, column, first):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["one", "two"], "x": column}), path)
    rows = list(parquet.rows(path))
    assert [row["text"] for row in rows] == ["one", "two"]
    assert rows[0]["x"] == first
    assert type(rows[0]["x"]) is type(first)
    assert [repr(loads(dumps(row))) for row in rows] == [repr(row) for row in rows]
    assert row_key(rows[0]) != row_key(rows[1])


def test_a_column_named_twice_is_refused(tmp_path):
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet: a column is named twice: x, x"):
        list(parquet.rows(tmp_path / "a.parquet"))


@pytest.mark.parametrize("how", ["empty", "cut", "zeroed"])
def test_a_damaged_file_is_named(tmp_path, how):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": [f"row {n}" for n in range(5000)]}), path, row_group_size=2500)
    raw = path.read_bytes()
    changed = {"empty": b"", "cut": raw[:-100], "zeroed": raw[:4] + bytes(9000) + raw[9004:]}
    path.write_bytes(changed[how])
    with pytest.raises(ValueError, match=r"a\.parquet: not readable as Parquet after row 0 \("):
        list(parquet.rows(path))
