"""The metrics of a run as an append-only file of JSON lines: the truth that every mirror copies.

Owns the writer, which batches lines and never leaves a torn one in the middle, and the reader,
which drops the steps that a resumed run computed again. Both pass over what a disk or a power cut
made of the file's end, loudly: it is less than a second's events, and no reason to lose a run. No
torch, so that a report can read curves.

    {"event": "step", "step": 7, "loss": ...}        after the 7th update; loss before it
    {"event": "validation", "step": 7, "loss": ...}  nats per loss token on held-out data
    {"event": "resumed", "step": 5}                  whatever lies above step 5 is superseded
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.show.terminal import log_warning
from study.store.publish import retry_stale

FLUSH_SECONDS = 1.0


class EventLog:
    """Appends events. Lines are kept until a second has passed, since a write a step costs more
    than the step's bookkeeping; `flush` is called before every save and on every way out. The first
    step does not wait: whoever looks at the file learns at once that training has begun.
    """

    def __init__(self, path: Path, *, warn: Callable[[str], None] = log_warning) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        # Lines appended below a broken one would make it a broken line in the middle.
        self._end = _good_lines(self._file)
        if lost := os.fstat(self._file).st_size - self._end:
            warn(f"{path}: the last {lost} bytes are no whole event and are cut off")
            os.ftruncate(self._file, self._end)
        self._waiting: list[str] = []
        self._flushed = time.monotonic()
        self._training = False

    @property
    def empty(self) -> bool:
        return self._end == 0 and not self._waiting

    def write(self, event: str, **fields: Any) -> None:
        # A NaN is not JSON; it may only be written as null, and the loop never logs one as a loss.
        line = json.dumps({"event": event} | fields, separators=(",", ":"), allow_nan=False)
        self._waiting.append(line + "\n")
        begins = event == "step" and not self._training
        self._training |= begins
        if begins or time.monotonic() - self._flushed >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what waits. If the disk is full the file is cut back to whole lines, and the lines
        wait on.
        """
        self._flushed = time.monotonic()
        if not self._waiting:
            return
        content = "".join(self._waiting).encode()
        try:
            written = 0
            while written < len(content):
                written += os.pwrite(self._file, content[written:], self._end + written)
        except OSError as error:
            os.ftruncate(self._file, self._end)
            raise OSError(error.errno, f"{self.path}: {error.strerror}") from error
        self._end += len(content)
        self._waiting.clear()

    def sync(self) -> None:
        """Flush down to the disk: before a checkpoint, so that no checkpoint is ahead of its
        events.
        """
        self.flush()
        os.fsync(self._file)

    def close(self) -> None:
        try:
            self.flush()
        finally:
            os.close(self._file)

    def __enter__(self) -> EventLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _good_lines(file: int) -> int:
    """Length of the file up to its last whole event: a killed writer may have left half a line, and
    a disk that lost power zeros in place of some.
    """
    end = os.fstat(file).st_size
    while end > 0:
        line_end = _last_newline(file, end)
        start = _last_newline(file, line_end - 1)
        if line_end and _event(os.pread(file, line_end - 1 - start, start)) is not None:
            return line_end
        end = start
    return 0


def _last_newline(file: int, end: int) -> int:
    """Where the text after the last newline before `end` begins."""
    block = 1 << 16
    while end > 0:
        start = max(end - block, 0)
        found = os.pread(file, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _event(line: bytes) -> dict[str, Any] | None:
    """The event of one line, or None where it is none."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    named = isinstance(event, dict) and isinstance(event.get("event"), str)
    return event if named else None


@dataclass(frozen=True, kw_only=True)
class Curve:
    """What is valid of an event file: one event a step, in order."""

    steps: tuple[dict[str, Any], ...]
    validations: tuple[dict[str, Any], ...]


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """Every event as written, superseded ones included. Half a line at the end is passed over,
    since a writer may be at it; whole lines at the end that are no events are too, with a warning.
    A broken line with events after it is an error, since no writer of ours makes one.
    """
    if not path.exists():
        return
    lines = retry_stale(path.read_bytes).split(b"\n")[:-1]
    for number, line in enumerate(lines, start=1):
        event = _event(line)
        if event is not None:
            yield event
        elif any(_event(later) is not None for later in lines[number:]):
            raise ValueError(f"{path}:{number} is no event, but events follow it: {line[:80]!r}")
        else:
            log_warning(
                f"{path}: {len(lines) - number + 1} lines from line {number} on are no events"
            )
            return


def read_curve(path: Path) -> Curve:
    """The steps and validations that count: those above a resumed step were computed again."""
    steps: dict[int, dict[str, Any]] = {}
    validations: dict[int, dict[str, Any]] = {}
    for event in read_events(path):
        match event["event"]:
            case "step":
                steps[event["step"]] = event
            case "validation":
                validations[event["step"]] = event
            case "resumed":
                for kept in (steps, validations):
                    for step in [step for step in kept if step > event["step"]]:
                        del kept[step]
    return Curve(
        steps=tuple(steps[step] for step in sorted(steps)),
        validations=tuple(validations[step] for step in sorted(validations)),
    )
