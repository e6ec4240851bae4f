import errno
import json
import os

import pytest

from study import events
from study.events import EventLog, read_curve, read_events


def _log(path, *written):
    with EventLog(path) as log:
        for event, fields in written:
            log.write(event, **fields)


def test_resumed_steps_supersede_what_was_written_above_them(tmp_path):
    path = tmp_path / "events.jsonl"
    _log(path, *[("step", {"step": n, "loss": float(n)}) for n in (1, 2, 3)])
    _log(path, ("validation", {"step": 3, "loss": 9.0}))
    _log(path, ("resumed", {"step": 1}), ("step", {"step": 2, "loss": 20.0}))
    curve = read_curve(path)
    assert [(event["step"], event["loss"]) for event in curve.steps] == [(1, 1.0), (2, 20.0)]
    assert curve.validations == ()
    assert len(list(read_events(path))) == 6


def test_what_was_lost_is_gone_before_it_is_computed_again(tmp_path):
    path = tmp_path / "events.jsonl"
    _log(path, *[("step", {"step": n}) for n in (1, 2, 3)], ("resumed", {"step": 1}))
    assert [event["step"] for event in read_curve(path).steps] == [1]


def test_a_torn_last_line_is_ignored_and_cut_by_the_next_writer(tmp_path):
    path = tmp_path / "events.jsonl"
    _log(path, ("step", {"step": 1, "loss": 1.0}))
    with path.open("ab") as file:
        file.write(b'{"event":"step","step":2,"torn":"' + 100 * b"x")
    assert [event["step"] for event in read_curve(path).steps] == [1]
    _log(path, ("step", {"step": 2, "loss": 2.0}))
    assert [event["step"] for event in read_curve(path).steps] == [1, 2]
    assert path.read_bytes().endswith(b'"loss":2.0}\n')


def test_a_file_of_one_torn_line_is_empty(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"event"')
    assert list(read_events(path)) == []
    _log(path, ("step", {"step": 1}))
    assert len(list(read_events(path))) == 1


def test_a_broken_line_elsewhere_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"event":"step","step":1}\ngarbage\n{"event":"step","step":2}\n')
    with pytest.raises(ValueError, match=r"events\.jsonl:2 is not a JSON event"):
        read_curve(path)


def test_a_missing_file_is_an_empty_curve(tmp_path):
    assert read_curve(tmp_path / "none.jsonl").steps == ()


def test_a_full_disk_leaves_whole_lines_and_loses_none(tmp_path, monkeypatch):
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.write("step", step=1)
    log.flush()
    log.write("step", step=2)
    real = os.pwrite

    def full(file, content, offset):
        real(file, content[:5], offset)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match=r"events\.jsonl: No space left") as caught:
        log.flush()
    assert caught.value.errno == errno.ENOSPC
    assert [event["step"] for event in read_events(path)] == [1]
    monkeypatch.setattr(os, "pwrite", real)
    log.close()
    assert [event["step"] for event in read_events(path)] == [1, 2]


def test_lines_reach_the_file_within_a_second(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(events.time, "monotonic", lambda: now[0])
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.write("step", step=1)
    assert path.read_bytes() == b""
    now[0] += events.FLUSH_SECONDS
    log.write("step", step=2)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2]
    log.close()


def test_a_number_that_json_lacks_is_refused(tmp_path):
    with EventLog(tmp_path / "events.jsonl") as log, pytest.raises(ValueError, match="JSON"):
        log.write("step", loss=float("nan"))
