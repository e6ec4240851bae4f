"""Records of arrays: what is written is read, the newest counts, damage is named."""

import json

import pytest

from study.launch.cluster import records
from study.launch.cluster.records import Array, Task
from study.store.publish import CorruptError


def _array(token, *runs, job_id=None, **changes):
    values = {
        "token": token,
        "name": records.job_name(token),
        "profile": "gpu",
        "code": "c0de",
        "tasks": tuple(
            Task(index=at, run=run, directory=f"{run}--dir", after=("parent",))
            for at, run in enumerate(runs)
        ),
        "job_id": job_id,
        "released": False,
        "submitted": "2026-01-01T00:00:00+00:00",
    }
    return Array(**values | changes)


def test_a_record_is_read_as_it_was_written(tmp_path):
    array = _array("000001-abcdef", "a", "b", job_id="17")
    records.save(array, tmp_path)
    assert records.load_all(tmp_path) == (array,)
    assert records.newest([array])["b"].job == "17_1"


def test_tokens_ascend_past_a_million_and_the_newest_array_counts(tmp_path):
    old = _array("000001-ffffff", "a", job_id="1")
    new = _array("1000000-000000", "a")
    late = _array("999999-ffffff", "a", job_id="3")
    for array in (new, late, old):
        records.save(array, tmp_path)
    assert records.load_all(tmp_path) == (old, late, new)
    assert records.newest((new, old, late))["a"].array == new
    assert records.newest((new, old, late))["a"].job is None
    assert records.new_token(tmp_path).startswith("1000001-")


def test_a_directory_without_a_record_was_never_submitted(tmp_path):
    left = records.array_path(tmp_path, "000002-abcdef")
    left.mkdir(parents=True)
    assert records.load_all(tmp_path) == ()
    assert records.unsubmitted(tmp_path) == [left]
    assert records.new_token(tmp_path).startswith("000003-")


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: "{",
        lambda entry: json.dumps(entry | {"surprise": 1}),
        lambda entry: json.dumps({key: entry[key] for key in entry if key != "tasks"}),
        lambda entry: json.dumps(entry | {"token": "000009-abcdef"}),
        lambda entry: "[]",
    ],
)
def test_damage_names_the_file(tmp_path, damage):
    records.save(_array("000001-abcdef", "a"), tmp_path)
    path = records.array_path(tmp_path, "000001-abcdef") / "array.json"
    path.write_text(damage(json.loads(path.read_text())))
    with pytest.raises(CorruptError, match=r"array\.json"):
        records.load_all(tmp_path)
