"""The metrics of a run as an append-only file of JSON lines: the truth that every mirror copies.

Owns the writer, which batches lines and never leaves a torn one in the middle, and the reader,
which drops the steps that a resumed run computed again. No torch, so that a report can read curves.

    {"event": "step", "step": 7, "loss": ...}        after the 7th update; loss before it
    {"event": "validation", "step": 7, "loss": ...}  nats per loss token on held-out data
    {"event": "resumed", "step": 5}                  whatever lies above step 5 is superseded
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.publish import patiently

FLUSH_SECONDS = 1.0


class EventLog:
    """Appends events. Lines are kept until a second has passed, since a write a step costs more
    than the step's bookkeeping; `flush` is called before every save and on every way out.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self._end = _whole_lines(self._file)
        os.ftruncate(self._file, self._end)
        self._waiting: list[str] = []
        self._flushed = time.monotonic()

    @property
    def empty(self) -> bool:
        return self._end == 0 and not self._waiting

    def write(self, event: str, **fields: Any) -> None:
        # A NaN is not JSON; it may only be written as null, and the loop never logs one as a loss.
        line = json.dumps({"event": event} | fields, separators=(",", ":"), allow_nan=False)
        self._waiting.append(line + "\n")
        if time.monotonic() - self._flushed >= FLUSH_SECONDS:
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


def _whole_lines(file: int) -> int:
    """Length of the file up to its last line end: a killed writer may have left half a line."""
    size = os.fstat(file).st_size
    block = 1 << 16
    end = size
    while end > 0:
        start = max(end - block, 0)
        found = os.pread(file, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


@dataclass(frozen=True, kw_only=True)
class Curve:
    """What is valid of an event file: one event a step, in order."""

    steps: tuple[dict[str, Any], ...]
    validations: tuple[dict[str, Any], ...]


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """Every event as written, superseded ones included. A torn last line is left out; a torn line
    elsewhere is an error, since no writer of ours makes one.
    """
    if not path.exists():
        return
    lines = patiently(path.read_bytes).split(b"\n")
    for number, line in enumerate(lines[:-1], start=1):
        try:
            event = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}:{number} is not a JSON event: {line[:80]!r}") from error
        if not isinstance(event, dict) or not isinstance(event.get("event"), str):
            raise ValueError(f"{path}:{number} has no event name: {line[:80]!r}")
        yield event


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
