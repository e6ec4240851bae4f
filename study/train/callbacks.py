"""What a run's loop leaves behind: events, progress reports, checkpoints, the mirror.

Owns which checkpoints stay: those that somebody named, and the newest, which a crash would need. An
older one goes only after its successor is published.

Owns the machine's measured peak too, of which a model's FLOP/s are a share (MFU): a square matrix
product in the run's own precision, once a process. A peak from a data sheet would need a table of
machines and still not know how many threads a process has.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from study.store.directory import RunDirectory, publish_directory
from study.store.events import EventLog
from study.store.lease import Lease
from study.train import checkpoint
from study.train.checkpoint import Progress
from study.train.engine import Engine
from study.train.mirror import Mirror
from study.train.ranks import Ranks, single_process
from study.train.signals import Stop

REPORT_SECONDS = 0.5

Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Records:
    """The event file and its mirror, for as long as a loop runs. log: None where a finished run
    computes a checkpoint again.
    """

    log: EventLog | None
    mirror: Mirror

    def __enter__(self) -> Records:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if self.log is not None:
                # The disk that was full in a save is full here too; the save's error says more.
                with contextlib.suppress(OSError) if kind else contextlib.nullcontext():
                    self.log.close()
        finally:
            self.mirror.close()  # last, since a network may be waited for

    def resume(self, step: int) -> bool:
        """Supersede what earlier sessions wrote above `step`; False where there were none."""
        if self.log is None or self.log.empty:
            return False
        self.log.write("resumed", step=step)
        return True

    def write(self, event: str, fields: dict[str, Any]) -> None:
        if self.log is not None:
            self.log.write(event, **fields)
        self.mirror.log(event, fields)

    def sync(self) -> None:
        if self.log is not None:
            self.log.sync()


@dataclass(kw_only=True, eq=False)
class RunCallbacks:
    """The loop's `study.train.loop.RunCallbacks` on a run directory.

    keep: steps whose checkpoints stay. steps: the run's last step. flops_per_step, peak_flops: what
    MFU is made of; None where the machine's peak is not known.
    """

    stop: Stop
    directory: RunDirectory
    lease: Lease
    engine: Engine
    ranks: Ranks = field(default_factory=single_process)
    run: str
    keep: frozenset[int]
    steps: int
    report: Report
    records: Records
    flops_per_step: float
    peak_flops: float | None
    _reported: float = field(default=-REPORT_SECONDS, init=False)

    def step(self, event: dict[str, Any]) -> None:
        rate = self.flops_per_step / event["seconds"]
        event["flops_per_second"] = rate
        event["mfu"] = None if self.peak_flops is None else rate / self.peak_flops
        self.records.write("step", event)
        now = time.monotonic()
        if now - self._reported >= REPORT_SECONDS or event["step"] == self.steps:
            self._reported = now
            self.report(
                {
                    "event": "step",
                    "step": event["step"],
                    "steps": self.steps,
                    "loss": event["loss"],
                    "tokens_per_second": event["tokens_per_second"],
                    "seconds_left": (self.steps - event["step"]) * event["seconds"],
                }
            )

    def validation(self, event: dict[str, Any]) -> None:
        self.records.write("validation", event)
        self.report({"event": "validation", **event})

    def save(self, progress: Progress) -> None:
        """Publish a checkpoint, then drop those that nobody needs any more."""
        self.lease.check()
        self.records.sync()

        def write(aside: Path) -> None:
            self.ranks.broadcast(str(aside))
            self.engine.write(aside)
            self.ranks.barrier()  # the manifest comes after every rank's files
            checkpoint.write_state(aside, run=self.run, progress=progress)

        path = self.directory.checkpoint_path(progress.step)
        try:
            publish_directory(path, write)
        except (OSError, SafetensorError) as error:
            kept = self.directory.steps()
            good = f"step {kept[-1]} is the last checkpoint" if kept else "there is no checkpoint"
            raise OSError(
                getattr(error, "errno", None) or 0,
                f"the checkpoint of step {progress.step} could not be written to {path}: "
                f"{error}; {good}, and the run goes on from there",
            ) from error
        for step in self.directory.steps():
            if step != progress.step and step not in self.keep:
                self.directory.remove_checkpoint(step)


@dataclass(kw_only=True, eq=False)
class AssistantCallbacks:
    """What another rank than 0 does of a `RunCallbacks`: its part of every checkpoint."""

    stop: Stop
    engine: Engine
    ranks: Ranks

    def step(self, event: dict[str, Any]) -> None:
        return None

    def validation(self, event: dict[str, Any]) -> None:
        return None

    def save(self, progress: Progress) -> None:
        aside = Path(self.ranks.broadcast(""))
        try:
            self.engine.write(aside)
        except (OSError, SafetensorError) as error:
            raise OSError(
                getattr(error, "errno", None) or 0,
                f"rank {self.ranks.rank}'s part of the checkpoint of step {progress.step} could "
                f"not be written to {aside}: {error}",
            ) from error
        self.ranks.barrier()


SIDE = {"cpu": 768, "cuda": 8192}
TRIES = 4


@functools.cache
def peak_flops(device: str, *, dtype: torch.dtype, threads: int) -> float:
    """Flops per second of the best of a few products. threads: part of what was measured."""
    kind = torch.device(device).type
    side = SIDE.get(kind, 1024)
    left = torch.ones(side, side, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(TRIES):
        begun = time.perf_counter()
        torch.mm(left, left)
        if kind == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - begun)
    return 2.0 * side**3 / best
