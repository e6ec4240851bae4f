"""The copy of a hub data set: its rows, in whatever order their types and keys come."""

import datetime
import decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from study.runs.source import Source
from study.sources import hub
from study.sources.typed_rows import row_key

MANY = 1000
COMES = {
    "a key missing in row 1": [{"a": 1}, {"a": 2, "label": 1}],
    "a key missing in row 2": [{"a": 1, "label": 1}, {"a": 2}],
    "a key that comes late": [{"a": n} for n in range(MANY)] + [{"a": 1, "label": 1}],
    "a nested key that comes late": [{"q": {"x": 1}}] * MANY + [{"q": {"x": 1, "y": 2}}],
    "a label that is null for long": [{"a": n, "label": None} for n in range(MANY)]
    + [{"a": 1, "label": 1}],
    "another order of keys": [{"a": 1, "b": 2}, {"b": 2, "a": 1}],
    "a float among whole numbers": [{"a": 1}] * MANY + [{"a": 1.5}, {"a": 2.0}, {"a": True}],
    "text among numbers": [{"a": 1}, {"a": "1"}, {"a": None}, {"a": [1]}, {"a": {"b": 1}}],
    "numbers beyond 64 bits": [{"a": 2**63}, {"a": -(2**200)}],
    "no numbers": [{"a": float("nan")}, {"a": float("inf")}, {"a": -0.0}],
    "nothing": [{}, {"a": {}}, {"a": []}, {"a": ()}, {"a": ""}, {"a": b""}],
    "more than JSON has": [
        {"t": datetime.datetime(2020, 1, 1)},
        {"t": datetime.date(2020, 1, 1)},
        {"t": datetime.timedelta(seconds=1)},
        {"t": (1, b"2", decimal.Decimal("3.0"))},
        {"image": {"bytes": b"\x89PNG", "path": None}},
    ],
    "no rows": [],
}


@pytest.mark.parametrize("rows", COMES.values(), ids=COMES)
def test_a_copy_is_its_stream(tmp_path, rows):
    path = tmp_path / "hub" / "copy.parquet"
    hub.keep(iter(rows), path)
    hub.check(path)
    back = list(hub.read(path))
    assert list(map(repr, back)) == list(map(repr, rows))
    assert list(map(row_key, back)) == list(map(row_key, rows))


def test_what_cannot_be_kept_is_refused_with_its_row_and_leaves_nothing(tmp_path):
    rows = [{"a": 1}] * MANY + [{"a": 1, "image": {"array": np.zeros(2)}}]
    with pytest.raises(
        ValueError, match=r"copy\.parquet: row 1001 cannot be kept: column 'image': .*numpy\.ndarr"
    ):
        hub.keep(iter(rows), tmp_path / "copy.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_copy_of_an_earlier_form_has_another_name_and_is_never_read(tmp_path):
    source = Source(uri="hf://o/n/train", digest="commit:abc", text_field="", where=(), part=None)
    # as it was when copies had Arrow's own types
    assert hub.copy_path(source, cache=tmp_path).name != "o--n--train-20f572521edb892c.parquet"
    path = hub.copy_path(source, cache=tmp_path)
    path.parent.mkdir()
    pq.write_table(pa.table({"a": [1, 2]}), path)
    with pytest.raises(ValueError, match=r"is damaged \(columns \['a'\]; legal: 'row' alone\)"):
        hub.check(path)
