"""Who works on a directory: an O_EXCL file with a heartbeat. No flock, no database, no daemon.

Owns taking, keeping and losing a lease. The heartbeat is the file's modification time; a lease is
stale when that is old by the file system's own clock, so that neither a machine's clock nor a
process number decides. A paused holder that was overtaken finds another token in the file at its
next heartbeat, and `check` raises from then on. No torch.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from study.store.publish import aside_name, process_exists, remove_leftovers, retry_stale

LEASE = "lease.json"
STALE_SECONDS = 30.0
"""Without a heartbeat for this long a lease is free. STUDY_LEASE_SECONDS overrides it, for a file
system that stalls for longer; every launcher of a store must use the same number."""


_own: set[str] = set()  # tokens of this process, which `give_up` knows its leases by


class LeaseHeld(RuntimeError):
    """Another process works on the directory. The message names host and process."""


class LeaseLost(RuntimeError):
    """This process was taken for dead and overtaken; it must not publish."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """What a lease file says. age: seconds since its last heartbeat."""

    host: str
    pid: int
    token: str
    age: float

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (last heartbeat {self.age:.0f} s ago)"


class Lease:
    """A held lease."""

    def __init__(self, path: Path, *, token: str, seconds: float) -> None:
        self.path = path
        self.token = token
        self._seconds = seconds
        self._lost = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise LeaseLost where another process has taken over; call before a publish."""
        if self._lost.is_set():
            raise LeaseLost(f"{self.path}: another process took over after this one fell silent")

    def _beat(self) -> None:
        while not self._ended.wait(self._seconds / 10):
            with contextlib.suppress(OSError):  # a stalled file system: the next beat tries again
                holder = _read(self.path)
                if holder is None or holder[1] != self.token:
                    self._lost.set()
                    return
                os.utime(self.path)

    def release(self) -> None:
        self._ended.set()
        self._thread.join()
        holder = _read(self.path)
        if holder is not None and holder[1] == self.token:
            self.path.unlink(missing_ok=True)


def stale_seconds() -> float:
    return float(os.environ.get("STUDY_LEASE_SECONDS", STALE_SECONDS))


@contextmanager
def acquire(
    directory: Path,
    *,
    stale_after: float | None = None,
    waiting: Callable[[str], None] = lambda message: None,
) -> Iterator[Lease]:
    """Hold the directory's lease inside the block; leftovers of dead writers go first.

    Raises LeaseHeld at once where a live process of this machine holds it, and as soon as the
    heartbeat moves where that can't be seen. A silent holder is waited for until it is stale, after
    `waiting` was told.
    """
    seconds = stale_seconds() if stale_after is None else stale_after
    token = uuid.uuid4().hex
    path = directory / LEASE
    _take(path, token=token, seconds=seconds, waiting=waiting)
    lease = Lease(path, token=token, seconds=seconds)
    _own.add(token)
    try:
        remove_leftovers(directory)
        yield lease
    finally:
        lease.release()


def give_up(directory: Path) -> None:
    """Free the directory's lease if this process holds it: for an end that unwinds nothing."""
    entry = _read(directory / LEASE)
    if entry is not None and entry[1] in _own:
        (directory / LEASE).unlink(missing_ok=True)


def holder_of(directory: Path) -> Holder | None:
    """Who holds the lease, stale or not; None where it is free."""
    path = directory / LEASE
    entry = _read(path)
    if entry is None:
        return None
    beat, token, host, pid = entry
    return Holder(host=host, pid=pid, token=token, age=max(_now(directory) - beat, 0.0))


def is_stale(holder: Holder, *, stale_after: float | None = None) -> bool:
    return holder.age > (stale_seconds() if stale_after is None else stale_after)


def _take(path: Path, *, token: str, seconds: float, waiting: Callable[[str], None]) -> None:
    seen: tuple[float, str] | None = None
    while not _create(path, token=token):
        entry = _read(path)
        if entry is None:
            continue
        beat, other, host, pid = entry
        holder = Holder(host=host, pid=pid, token=other, age=max(_now(path.parent) - beat, 0.0))
        if holder.age > seconds:
            if _overtake(path, old=other, token=token, seconds=seconds):
                return
            time.sleep(0.05)
            continue
        moved = seen is not None and seen != (beat, other)
        # A process number proves nothing about death (it may be another machine's or a reused
        # one), so it is only ever used to refuse sooner.
        if moved or (host == platform.node() and process_exists(pid)):
            raise LeaseHeld(f"{path.parent.name} is being worked on by {holder}")
        if seen is None:
            waiting(
                f"{path.parent.name} was held by {holder}; "
                f"free after {seconds:.0f} s without a heartbeat"
            )
        seen = (beat, other)
        time.sleep(min(0.2, seconds / 20))


def _create(path: Path, *, token: str) -> bool:
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w") as file:
        file.write(_content(token))
    return True


def _overtake(path: Path, *, old: str, token: str, seconds: float) -> bool:
    """Replace the stale lease `old`; False where somebody else was first.

    The guard is named after the stale token, and the lease is read again inside it: of all who saw
    that token one replaces it, and a late one finds another token and turns away.
    """
    guard = path.with_name(f"{path.name}.{old or 'empty'}")
    try:
        os.close(os.open(guard, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    except FileExistsError:
        with contextlib.suppress(FileNotFoundError):
            if _now(path.parent) - guard.stat().st_mtime > seconds:
                guard.unlink()  # whoever made it died between two lines of this function
        return False
    mine = path.with_name(f"{path.name}.{token}")
    try:
        entry = _read(path)
        if entry is None or entry[1] != old or _now(path.parent) - entry[0] <= seconds:
            return False
        mine.write_text(_content(token))
        os.replace(mine, path)
        return True
    finally:
        mine.unlink(missing_ok=True)
        guard.unlink(missing_ok=True)


def _content(token: str) -> str:
    return json.dumps({"host": platform.node(), "pid": os.getpid(), "token": token})


def _read(path: Path) -> tuple[float, str, str, int] | None:
    """(heartbeat, token, host, pid), or None. Opening first makes NFS fetch the true time."""
    return retry_stale(lambda: _opened(path))


def _opened(path: Path) -> tuple[float, str, str, int] | None:
    try:
        with open(path, encoding="utf-8") as file:
            beat = os.fstat(file.fileno()).st_mtime
            text = file.read()
    except FileNotFoundError:
        return None
    try:
        entry = json.loads(text)
        return beat, str(entry["token"]), str(entry["host"]), int(entry["pid"])
    except (ValueError, KeyError, TypeError):
        return beat, "", "unknown", 0  # a holder that has created the file and not yet written it


def _now(directory: Path) -> float:
    """The file system's time: a shared one's clock may differ from this machine's by minutes."""
    probe = aside_name(directory / "clock")
    try:
        handle = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except OSError:
        return time.time()  # a store that may only be read has no clock of its own to ask
    try:
        return os.fstat(handle).st_mtime
    finally:
        os.close(handle)
        probe.unlink(missing_ok=True)
