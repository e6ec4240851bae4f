"""One process at a time on a run, whatever dies, sleeps or disagrees about the time."""

import os
import signal
import subprocess
import sys
import time

import pytest

from study.store import lease
from study.store.lease import LeaseHeld, LeaseLost, acquire, holder_of, is_stale

HOLD = """
import sys, time
from pathlib import Path
from study.store.lease import LeaseHeld, LeaseLost, acquire
try:
    with acquire(Path(sys.argv[1]), stale_after=float(sys.argv[2])) as held:
        print("got", flush=True)
        until = time.monotonic() + float(sys.argv[3])
        while time.monotonic() < until:
            time.sleep(0.02)
            held.check()
    print("released", flush=True)
except LeaseHeld as error:
    print("refused", error, flush=True)
except LeaseLost as error:
    print("lost", flush=True)
"""


def _holder(path, *, stale_after=1.0, seconds=60.0):
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), str(stale_after), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
    )


def _kill(process):
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_process_is_refused_and_told_by_whom(tmp_path):
    holder = _holder(tmp_path)
    try:
        assert holder.stdout.readline() == "got\n"
        with pytest.raises(LeaseHeld, match=rf"process {holder.pid} on {os.uname().nodename}"):
            acquire(tmp_path).__enter__()
    finally:
        _kill(holder)


def test_the_same_process_is_refused_too(tmp_path):
    with acquire(tmp_path), pytest.raises(LeaseHeld, match=str(os.getpid())):
        acquire(tmp_path).__enter__()


def test_a_lease_is_free_after_its_block_and_after_an_error(tmp_path):
    with acquire(tmp_path):
        pass
    with pytest.raises(ZeroDivisionError), acquire(tmp_path):
        raise ZeroDivisionError
    with acquire(tmp_path):
        assert holder_of(tmp_path).pid == os.getpid()
    assert os.listdir(tmp_path) == []


def test_a_lease_is_given_up_by_its_holder_alone(tmp_path):
    with acquire(tmp_path):
        text = (tmp_path / lease.LEASE).read_text()
        lease.give_up(tmp_path)
        assert holder_of(tmp_path) is None
        (tmp_path / lease.LEASE).write_text(text.replace('"token": "', '"token": "another'))
        lease.give_up(tmp_path)
        assert holder_of(tmp_path) is not None


def test_a_killed_holders_lease_is_taken_when_silent_for_long_enough(tmp_path):
    holder = _holder(tmp_path)
    assert holder.stdout.readline() == "got\n"
    _kill(holder)
    said = []
    begun = time.monotonic()
    with acquire(tmp_path, stale_after=1.0, waiting=said.append):
        assert holder_of(tmp_path).pid == os.getpid()
    assert 0.3 < time.monotonic() - begun < 20
    assert len(said) == 1
    assert str(holder.pid) in said[0]


def test_a_live_process_number_does_not_keep_a_stale_lease(tmp_path):
    path = tmp_path / lease.LEASE
    path.write_text(f'{{"host": "{os.uname().nodename}", "pid": {os.getpid()}, "token": "x"}}')
    old = time.time() - 60
    os.utime(path, (old, old))
    with acquire(tmp_path, stale_after=5.0):
        assert holder_of(tmp_path).token != "x"


def test_the_heartbeat_keeps_a_long_hold_alive(tmp_path):
    with acquire(tmp_path, stale_after=0.5) as held:
        time.sleep(1.2)
        assert not is_stale(holder_of(tmp_path), stale_after=0.5)
        held.check()


@pytest.mark.parametrize("skew", [-600, 600])
def test_a_wrong_clock_decides_nothing(tmp_path, monkeypatch, skew):
    with acquire(tmp_path):
        true_time = time.time
        monkeypatch.setattr(time, "time", lambda: true_time() + skew)
        assert not is_stale(holder_of(tmp_path), stale_after=30.0)


def test_another_hosts_live_holder_is_refused_once_its_heartbeat_moves(tmp_path, monkeypatch):
    holder = _holder(tmp_path, stale_after=1.0)
    try:
        assert holder.stdout.readline() == "got\n"
        monkeypatch.setattr(lease.platform, "node", lambda: "another-host")
        begun = time.monotonic()
        with pytest.raises(LeaseHeld):
            acquire(tmp_path, stale_after=10.0).__enter__()
        assert time.monotonic() - begun < 8
    finally:
        _kill(holder)


def test_a_paused_holder_that_was_overtaken_notices(tmp_path):
    holder = _holder(tmp_path, stale_after=0.5)
    try:
        assert holder.stdout.readline() == "got\n"
        os.kill(holder.pid, signal.SIGSTOP)
        old = time.time() - 60
        os.utime(tmp_path / lease.LEASE, (old, old))
        with acquire(tmp_path, stale_after=0.5) as held:
            os.kill(holder.pid, signal.SIGCONT)
            assert holder.stdout.readline() == "lost\n"
            holder.wait(timeout=20)
            held.check()
            assert holder_of(tmp_path).pid == os.getpid()
    finally:
        _kill(holder)


def test_losing_is_an_error_at_the_next_check(tmp_path):
    with acquire(tmp_path, stale_after=0.3) as held:
        (tmp_path / lease.LEASE).write_text('{"host": "h", "pid": 1, "token": "theirs"}')
        end = time.monotonic() + 20
        while not held._lost.is_set():
            assert time.monotonic() < end
            time.sleep(0.02)
        with pytest.raises(LeaseLost, match="took over"):
            held.check()
    assert (tmp_path / lease.LEASE).exists()  # not ours to remove


def test_a_lease_that_is_gone_is_lost(tmp_path):
    """Somebody removed the file: another may hold the directory by now."""
    with acquire(tmp_path, stale_after=0.3) as held:
        (tmp_path / lease.LEASE).unlink()
        assert held._lost.wait(20)
        with pytest.raises(LeaseLost):
            held.check()


def test_the_heart_beats_several_times_before_a_lease_is_stale(tmp_path):
    with acquire(tmp_path, stale_after=2.0):
        old = time.time() - 60
        os.utime(tmp_path / lease.LEASE, (old, old))
        end = time.monotonic() + 0.8
        while holder_of(tmp_path).age > 30:
            assert time.monotonic() < end, "none in 0.8 of 2 s"
            time.sleep(0.02)


def test_how_long_silence_may_last_is_told_by_the_environment(tmp_path, monkeypatch):
    assert lease.stale_seconds() == 30.0
    monkeypatch.setenv("STUDY_LEASE_SECONDS", "7.5")
    assert lease.stale_seconds() == 7.5
    with acquire(tmp_path) as held:
        assert held._seconds == 7.5
        for age, stale in ((7.4, False), (7.6, True)):
            holder = lease.Holder(host="h", pid=1, token="t", age=age)
            assert is_stale(holder) is stale
            assert is_stale(holder, stale_after=10.0) is False


def test_of_many_who_see_a_stale_lease_one_gets_it(tmp_path):
    path = tmp_path / lease.LEASE
    path.write_text('{"host": "gone", "pid": 1, "token": "old"}')
    old = time.time() - 3600
    os.utime(path, (old, old))
    racers = [_holder(tmp_path, stale_after=30.0, seconds=4.0) for _ in range(5)]
    first = [racer.stdout.readline().split()[0] for racer in racers]
    assert sorted(first) == ["got"] + ["refused"] * 4
    for racer in racers:
        racer.wait(timeout=30)
        racer.stdout.close()


def test_a_late_contender_does_not_overtake_the_one_who_did(tmp_path):
    """It saw the stale token, slept, and comes back when the lease is fresh again."""
    with acquire(tmp_path):
        took = lease._overtake(tmp_path / lease.LEASE, old="old", token="late", seconds=30.0)
        assert not took
        assert holder_of(tmp_path).token != "late"
    assert os.listdir(tmp_path) == []


def test_a_stale_lease_is_overtaken_only_by_one_who_saw_that_very_one(tmp_path):
    path = tmp_path / lease.LEASE
    path.write_text('{"host": "gone", "pid": 1, "token": "newer"}')
    old = time.time() - 3600
    os.utime(path, (old, old))
    assert not lease._overtake(path, old="older", token="late", seconds=5.0)
    assert lease._overtake(path, old="newer", token="mine", seconds=5.0)
    assert holder_of(tmp_path).token == "mine"


def test_a_lease_whose_heart_has_beaten_since_is_not_overtaken(tmp_path):
    """Its holder was only slow: the same token, looked at again inside the guard."""
    path = tmp_path / lease.LEASE
    path.write_text('{"host": "slow", "pid": 1, "token": "same"}')
    assert not lease._overtake(path, old="same", token="mine", seconds=30.0)
    assert holder_of(tmp_path).token == "same"
    assert os.listdir(tmp_path) == [lease.LEASE]


def test_a_guard_of_a_dead_contender_does_not_block_for_ever(tmp_path):
    path = tmp_path / lease.LEASE
    path.write_text('{"host": "gone", "pid": 1, "token": "old"}')
    guard = tmp_path / f"{lease.LEASE}.old"
    guard.write_text("")
    old = time.time() - 3600
    for each in (path, guard):
        os.utime(each, (old, old))
    with acquire(tmp_path, stale_after=5.0):
        assert holder_of(tmp_path).pid == os.getpid()
    assert os.listdir(tmp_path) == []


def test_a_holder_that_has_not_written_its_name_yet_is_waited_for(tmp_path):
    (tmp_path / lease.LEASE).write_text("")
    said = []
    with acquire(tmp_path, stale_after=0.5, waiting=said.append):
        pass
    assert said
