"""A job's side: execute the run of one directory as a local worker would, and say how it ended.

Owns what `study job` checks before it starts and the exit codes of a job. The work is
`study.launch.worker.perform`'s; signals, requeueing and caches are `slurm/job.sh`'s. A job needs
neither the sweep's file nor a network: the directory holds the run. No torch.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from study.launch import environment
from study.launch.cluster.scripts import read_execution
from study.launch.worker import Execute, perform
from study.runs.decode import decode_file
from study.runs.node import Run
from study.store.directory import Store
from study.train.ranks import place
from study.train.signals import EXIT_CODE, STOPPING, Interrupted

EXIT_CODES = {"done": 0, "failed": 1, "held": 3, "interrupted": EXIT_CODE}
REPORT_SECONDS = 60.0


def execute_directory(
    directory: Path, *, execution: Path, code: Path | None, executors: Mapping[str, Execute]
) -> int:
    """Execute the run of this directory, as one of its ranks where the environment says so; returns
    the exit code. Raises ValueError where directory, code or execution are not what was submitted.
    """
    for number in STOPPING:
        signal.signal(number, _leave)
    if code is not None:
        _check_code(code)
    run, store = _read(directory)
    outcome, message = perform(
        run,
        execute=executors[type(run).__name__],
        store=store,
        execution=read_execution(execution),
        keep=(),
        report=_Lines(run),
    )
    here = place()
    if outcome != "done" or here is None or here.rank == 0:
        rank = f" (rank {here.rank})" if here is not None and here.world > 1 else ""
        words = f"{outcome}: {run.slug}{rank}{f': {message}' if message else ''}"
        print(words, file=sys.stderr, flush=True)
    return EXIT_CODES[outcome]


def _read(directory: Path) -> tuple[Run, Store]:
    """The run that the directory holds, and the store that it lies in."""
    file = directory / "run.yaml"
    if not file.is_file():
        raise ValueError(f"{directory} has no run.yaml; legal: a run directory")
    run = decode_file(file)
    store = Store(directory.resolve().parent)
    if store.directory(run) != directory.resolve():
        raise ValueError(
            f"{file} declares the run of {store.directory(run).name}; legal: a run directory's own"
        )
    return run, store


def _check_code(code: Path) -> None:
    """The commit that was submitted must be what runs, whatever else is installed."""
    here = Path(__file__).resolve().parents[3]
    if here != code.resolve():
        raise ValueError(f"this is the code of {here}; the job was submitted with {code}")
    if reason := environment.clash():
        raise ValueError(reason)


def _leave(number: int, frame: FrameType | None) -> None:
    """While nothing better listens: leave by an exception, once; what follows is clearing up."""
    for each in STOPPING:
        signal.signal(each, signal.SIG_IGN)
    raise Interrupted(f"{signal.Signals(number).name}: start again to go on")


class _Lines:
    """Reports as lines of the job's output, those of steps once a minute; the run's events hold
    them all. The output is duplicated first: while a run is at work, standard error is its log.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.output = os.dup(2)
        self.last = -REPORT_SECONDS

    def __call__(self, report: dict[str, Any]) -> None:
        now = time.monotonic()
        if report.get("event") == "step":
            if now - self.last < REPORT_SECONDS:
                return
            self.last = now
        words = " ".join(f"{name}={value}" for name, value in report.items())
        with contextlib.suppress(OSError):  # a full disk must not end the run
            os.write(self.output, f"{self.run.slug}: {words}\n".encode())
