"""The ranks of a run on one machine: child processes of the worker, which is rank 0.

Owns starting them, noticing their death and leaving none behind. A companion runs `study rank` and
reads the same job that the worker was given; its output is `log-rank1.txt` beside the run's log.
Where somebody else starts every rank (srun), the environment says so and nothing is started here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from study.launch.worker import by_deepspeed, ended, job, last_lines, note_failure, rank_log
from study.runs.execution import Execution
from study.runs.node import Run
from study.store.directory import RunDirectory, Store
from study.store.lease import give_up
from study.train.ranks import GRACE_SECONDS, Alarm, Place, RankFailed, Ranks, place, single_process
from study.train.signals import EXIT_CODE

COMPANION = (sys.executable, "-P", "-m", "study.cli", "rank")
LOG_LINES = 15


@contextmanager
def gathered(run: Run, *, store: Store, execution: Execution) -> Iterator[Ranks]:
    """All ranks that the execution asks for, inside the block; one process for what does not train.

    Raises RankFailed where one ends before its time, RendezvousError where they do not come
    together.
    """
    if not by_deepspeed(run, execution):
        yield single_process()
        return
    from study.train.rendezvous import join

    here = place()
    if here is not None and here.world != execution.ranks:
        raise ValueError(
            f"{here.world} processes were started as ranks, and the execution asks for "
            f"{execution.ranks}; legal: equal numbers"
        )
    with ExitStack() as stack:
        if here is not None:
            directory = Path(os.environ["STUDY_RENDEZVOUS"])
            check = _nothing_to_check
        else:
            here = Place(world=execution.ranks)
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="study-")))
            others = _RankProcesses(
                store.directory(run),
                line=job(run, store=store, execution=execution, keep=()),
                world=here.world,
                rendezvous=directory,
            )
            check = stack.enter_context(others).check
        yield stack.enter_context(
            join(
                here,
                directory=directory,
                device=execution.device,
                check=check,
                last_words=lambda reason: _note(reason, run=run, store=store, rank=here.rank),
            )
        )


def _note(reason: str, *, run: Run, store: Store, rank: int) -> None:
    """What rank 0 would have left in the directory, had it not been ended."""
    if rank == 0:
        directory = RunDirectory(store.directory(run))
        note_failure(directory, reason)
        give_up(directory.path)


def _nothing_to_check(alarm: Alarm | None) -> None:
    return None


class _RankProcesses:
    """Ranks 1 and up on this machine, for as long as the block lasts."""

    def __init__(self, directory: Path, *, line: str, world: int, rendezvous: Path) -> None:
        self._directory = directory
        self._line = line
        self._world = world
        self._rendezvous = rendezvous
        self._processes: dict[int, subprocess.Popen[str]] = {}
        self._watchers: list[threading.Thread] = []
        self._alarm: Alarm | None = None
        self._dead: str | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> _RankProcesses:
        for rank in range(1, self._world):
            places = {"RANK": rank, "WORLD_SIZE": self._world, "LOCAL_RANK": rank}
            with open(rank_log(self._directory, rank), "ab") as log:
                process = subprocess.Popen(
                    COMPANION,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    text=True,
                    encoding="utf-8",
                    env=os.environ
                    | {name: str(value) for name, value in places.items()}
                    | {"STUDY_RENDEZVOUS": str(self._rendezvous)},
                )
            assert process.stdin is not None
            self._processes[rank] = process
            watcher = threading.Thread(target=self._watch, args=(rank, process), daemon=True)
            self._watchers.append(watcher)
            watcher.start()
            with suppress(BrokenPipeError):  # it died, and its watcher says so
                process.stdin.write(self._line)
                process.stdin.flush()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        """Let them end by themselves; the closed pipe tells them that rank 0 is no more."""
        for process in self._processes.values():
            if kind is None:
                _ended(process, seconds=2 * GRACE_SECONDS)
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.close()
        for process in self._processes.values():
            if not _ended(process, seconds=GRACE_SECONDS):
                process.kill()
        for watcher in self._watchers:
            watcher.join()

    def check(self, alarm: Alarm | None) -> None:
        """Raise RankFailed if one died; from the alarm on, its death is told by that instead."""
        with self._lock:
            self._alarm = alarm
            if self._dead is not None:
                raise RankFailed(self._dead)

    def _watch(self, rank: int, process: subprocess.Popen[str]) -> None:
        code = process.wait()
        if code in (0, EXIT_CODE):
            return
        words = last_lines(rank_log(self._directory, rank), LOG_LINES)
        message = f"ended by {ended(code)}; its last lines:\n{words}"
        with self._lock:
            self._dead = f"rank {rank} {message}"
            if self._alarm is not None:
                self._alarm.tell(message, rank=rank)


def _ended(process: subprocess.Popen[str], *, seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True
