import errno
import json
import os

import pytest

from study.store import events
from study.store.events import EventLog, read_curve, read_events


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


def test_the_first_step_is_on_disk_at_once_and_later_ones_wait_for_each_other(tmp_path):
    path = tmp_path / "events.jsonl"
    with EventLog(path) as log:
        log.write("validation", step=0)
        assert path.read_bytes() == b""
        for step in (1, 2, 3):
            log.write("step", step=step)
            assert [event["step"] for event in read_curve(path).steps] == [1]
    assert [event["step"] for event in read_curve(path).steps] == [1, 2, 3]


def test_what_was_lost_is_gone_before_it_is_computed_again(tmp_path):
    path = tmp_path / "events.jsonl"
    _log(path, *[("step", {"step": n}) for n in (1, 2, 3)], ("resumed", {"step": 1}))
    assert [event["step"] for event in read_curve(path).steps] == [1]


TORN = b'{"event":"step","step":2,"torn":"' + 100 * b"x"


def test_a_torn_last_line_is_ignored_and_cut_by_the_next_writer(tmp_path, capfd):
    path = tmp_path / "events.jsonl"
    _log(path, ("step", {"step": 1, "loss": 1.0}))
    with path.open("ab") as file:
        file.write(TORN)
    assert [event["step"] for event in read_curve(path).steps] == [1]
    assert capfd.readouterr().err == ""  # a writer may be at it this moment
    _log(path, ("step", {"step": 2, "loss": 2.0}))
    assert f"the last {len(TORN)} bytes are no whole event and are cut" in capfd.readouterr().err
    assert [event["step"] for event in read_curve(path).steps] == [1, 2]
    assert path.read_bytes().endswith(b'"loss":2.0}\n')


@pytest.mark.parametrize(
    "tail",
    [
        b"\0" * 4096 + b"\n",
        b'{"event":"step","st' + b"\0" * 100_000 + b"\n",
        b"garbage\n[1]\n{}\n",
        b'{"event":"step","step":2\n' + TORN,
        b"\xff\xfe\n",
    ],
    ids=["zeros", "half a line, then zeros", "other lines", "broken and torn", "no UTF-8"],
)
def test_a_broken_tail_is_passed_over_loudly_and_cut_by_the_next_writer(tmp_path, capfd, tail):
    """As a disk leaves it that lost power: a line end, but no event before it."""
    path = tmp_path / "events.jsonl"
    _log(path, ("step", {"step": 1, "loss": 1.0}))
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    assert [event["step"] for event in read_curve(path).steps] == [1]
    assert "events.jsonl: " in (said := capfd.readouterr().err)
    assert "from line 2 on are no events" in said
    told = []
    with EventLog(path, warn=told.append) as log:
        log.write("step", step=2, loss=2.0)
    assert len(told) == 1
    assert f"the last {len(tail)} bytes" in told[0]
    assert path.read_bytes()[: len(whole)] == whole
    assert [event["step"] for event in read_curve(path).steps] == [1, 2]
    assert capfd.readouterr().err == ""


def test_an_undamaged_file_is_opened_without_a_word(tmp_path, capfd):
    path = tmp_path / "events.jsonl"
    for step in (1, 2):
        _log(path, ("step", {"step": step, "padding": "x" * 200_000}))
    assert len(list(read_events(path))) == 2
    assert capfd.readouterr().err == ""


def test_a_file_of_one_torn_line_is_empty(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"event"')
    assert list(read_events(path)) == []
    _log(path, ("step", {"step": 1}))
    assert len(list(read_events(path))) == 1


def test_a_broken_line_elsewhere_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"event":"step","step":1}\ngarbage\n{"event":"step","step":2}\n')
    with pytest.raises(ValueError, match=r"events\.jsonl:2 is no event, but events follow"):
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
    log.write("validation", step=1)
    assert path.read_bytes() == b""
    now[0] += events.FLUSH_SECONDS
    log.write("step", step=2)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2]
    log.close()


def test_a_number_that_json_lacks_is_refused(tmp_path):
    with EventLog(tmp_path / "events.jsonl") as log, pytest.raises(ValueError, match="JSON"):
        log.write("step", loss=float("nan"))
