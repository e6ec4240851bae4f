"""A plan onto this machine: persistent worker processes, the longest remaining path first.

Owns which run goes when and where, and what a failure, a crash or a signal does to the rest. What
a worker does with a run is `study.launch.worker`; how it looks is `study.show.terminal`. No torch.
"""

from __future__ import annotations

import collections
import json
import os
import queue
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from study.launch.worker import ended, job, note_failure
from study.runs.domain import cost
from study.runs.execution import Execution
from study.runs.node import Evaluation, ExternalCheckpoint, Run, Trained, start_checkpoint
from study.runs.plan import Sweep, all_kept_steps, children, descendants
from study.show.terminal import log_warning
from study.store.directory import RunDirectory, Store
from study.train.signals import EXIT_CODE, STOPPING

# -P: a file of the folder where a sweep is started, csv.py say, is no module
WORKER = (sys.executable, "-P", "-m", "study.cli", "worker")
LOG_LINES = 15

End = Literal["done", "failed", "held", "interrupted", "cancelled"]


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to a run: `start`, `report` (with what the executor says) or an
    end.
    """

    what: Literal["start", "report", "done", "failed", "held", "interrupted", "cancelled"]
    run: Run
    worker: int = -1
    message: str = ""
    report: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How each run that was to do ended, by id; a run that never started is absent.

    exit_code: 0 all done, 1 a run failed, 3 one is held by another process, 75 interrupted.
    """

    ends: dict[str, End]
    interrupted: bool

    @property
    def exit_code(self) -> int:
        ends = set(self.ends.values())
        if self.interrupted:
            return EXIT_CODE
        if "failed" in ends:
            return 1
        return 3 if "held" in ends else 0


class LaunchError(RuntimeError):
    """Workers can't be started."""


def remaining(sweep: Sweep, *, store: Store) -> list[Run]:
    """The runs that have something left to do, after a check that needs no worker: whose the
    directories are. A finished parent whose checkpoint is asked for and missing computes it again;
    an evaluation whose published scores are damaged is scored again.
    """
    states = store.statuses(sweep.runs)
    for run in sweep.runs:
        store.check_owner(run)
    todo = {run.id for run in sweep.runs if states[run.id] != "done"}
    for run in sweep.runs:
        if isinstance(run, Evaluation) and run.id not in todo:
            damage = RunDirectory(store.directory(run)).damage()
            if damage is not None:
                log_warning(f"{run.slug!r} is scored again: {damage}")
                todo.add(run.id)
            elif unprecise(run, RunDirectory(store.directory(run))):
                todo.add(run.id)
    for run in reversed(sweep.runs):  # children first: an ancestor may have to go first in turn
        parent, step = start_checkpoint(run)
        if run.id not in todo or parent is None or parent.id in todo:
            continue
        if step not in RunDirectory(store.directory(parent)).steps():
            todo.add(parent.id)
    return [run for run in sweep.runs if run.id in todo]


def unprecise(run: Evaluation, directory: RunDirectory) -> bool:
    """Whether a checkpoint from elsewhere was scored before its precision was this tool's decision:
    one stored in 16 bits may have been computed in them, so it is opened again, and scored again
    where that was so.
    """
    seal = directory.done() if isinstance(run.run, ExternalCheckpoint) else None
    return seal is not None and "precision" not in seal


def ready_evaluations(sweep: Sweep, *, store: Store) -> Sweep:
    """The part of a plan that scores what is trained already, and trains nothing."""
    states = store.statuses(sweep.runs)
    ready = [
        run
        for run in sweep.runs
        if isinstance(run, Evaluation)
        and (isinstance(run.run, ExternalCheckpoint) or states[run.run.id] == "done")
    ]
    if not ready:
        raise ValueError(f"{sweep.path} has no evaluation whose run is done; `study run` trains")
    return sweep.only(ready)


def default_workers(todo: Sequence[Run], *, execution: Execution) -> int:
    """As many as have something to do at once: on a CPU one a core, or one for as many cores as its
    runs have ranks; on an accelerator one.
    """
    if not execution.device.startswith("cpu"):
        return 1
    depth: dict[str, int] = {}
    for run in todo:
        above = [depth[each.id] for each in run.parents if each.id in depth]
        depth[run.id] = max(above, default=-1) + 1
    width = max(collections.Counter(depth.values()).values(), default=1)
    return max(1, min(available_cores() // execution.ranks, width))


def available_cores() -> int:
    """Cores that this process may use, which a cluster's job may have fewer of than the machine."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def priorities(todo: Sequence[Run], *, below: dict[str, list[Run]]) -> dict[str, float]:
    """By id: the training FLOPs from here to the farthest end. What isn't training counts as a
    tenth of a typical training.
    """
    trained = [cost(run).flops for run in todo if isinstance(run, Trained)]
    other = 0.1 * statistics.median(trained) if trained else 1.0
    longest: dict[str, float] = {}
    for run in reversed(todo):
        own = float(cost(run).flops) if isinstance(run, Trained) else other
        longest[run.id] = own + max(
            (longest.get(child.id, 0.0) for child in below[run.id]), default=0.0
        )
    return longest


def run_plan(
    sweep: Sweep,
    *,
    store: Store,
    execution: Execution,
    workers: int | None = None,
    command: Sequence[str] = WORKER,
    on_event: Callable[[Event], None] = lambda event: None,
) -> Outcome:
    """Execute what is not done. A failure cancels what depends on it and nothing else; a signal
    goes on to every worker, which checkpoints and leaves.
    """
    todo = remaining(sweep, store=store)
    if not todo:
        return Outcome(ends={}, interrupted=False)
    count = default_workers(todo, execution=execution) if workers is None else workers
    launcher = _Launcher(
        sweep, todo=todo, store=store, execution=execution, command=command, on_event=on_event
    )
    return launcher.run(count)


class _Worker:
    """A worker process and what it is doing."""

    def __init__(
        self, number: int, *, command: Sequence[str], threads: int, inbox: queue.SimpleQueue[Any]
    ) -> None:
        self.number = number
        self.run: Run | None = None
        self.ready = False
        self.leaving = False
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the worker)
        self.process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            encoding="utf-8",
            env=os.environ | thread_variables(threads),
            # Ctrl-C reaches the launcher only, which passes it on once.
            start_new_session=True,
        )
        threading.Thread(target=self._listen, args=(inbox,), daemon=True).start()

    def _listen(self, inbox: queue.SimpleQueue[Any]) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            inbox.put((self, line))
        self.process.wait()
        inbox.put((self, None))

    def send(self, line: str) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it died; its end of output says so
            self.process.stdin.write(line)
            self.process.stdin.flush()

    def dismiss(self) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()

    def signal(self, number: int) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)

    def last_words(self, log: Path | None) -> str:
        """The end of the run's log, or of what the process said before it had one."""
        self.errors.seek(0)
        text = self.errors.read().decode(errors="replace")
        if log is not None and log.exists():
            text += log.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-LOG_LINES:])


def thread_variables(threads: int) -> dict[str, str]:
    """What must be set before a process imports its numeric libraries."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
    return {name: str(threads) for name in names}


class _Launcher:
    def __init__(
        self,
        sweep: Sweep,
        *,
        todo: list[Run],
        store: Store,
        execution: Execution,
        command: Sequence[str],
        on_event: Callable[[Event], None],
    ) -> None:
        self.store, self.execution = store, execution
        self.command, self.on_event = command, on_event
        self.below = children(sweep.runs)
        self.keep = all_kept_steps(sweep.runs)
        rank = priorities(todo, below=self.below)
        ordered = sorted(todo, key=lambda run: -rank[run.id])
        self.waiting = {run.id: run for run in ordered}
        self.open = {run.id for run in todo}  # not done: what dependants wait for
        self.ends: dict[str, End] = {}
        self.inbox: queue.SimpleQueue[tuple[_Worker, str | None]] = queue.SimpleQueue()
        self.workers: list[_Worker] = []
        self.signals = self.hired = 0

    def run(self, count: int) -> Outcome:
        with self._signals_forwarded():
            try:
                while not self.signals and len(self.workers) < min(count, len(self.waiting)):
                    self._hire()
                self._fill()
                while any(worker.run for worker in self.workers):
                    self._hear(*self.inbox.get())
                    self._fill()
            finally:
                self._dismiss()
        stopped = self.signals > 0 or "interrupted" in self.ends.values()
        return Outcome(ends=self.ends, interrupted=stopped and bool(self.open))

    @contextmanager
    def _signals_forwarded(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._on_signal) for number in STOPPING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: object) -> None:
        """The first asks every worker to checkpoint and leave; the second doesn't wait for that."""
        self.signals += 1
        for worker in self.workers:
            worker.signal(signal.SIGTERM if self.signals == 1 else signal.SIGKILL)

    def _hire(self) -> None:
        self.hired += 1
        self.workers.append(
            _Worker(
                self.hired,
                command=self.command,
                threads=self.execution.threads,
                inbox=self.inbox,
            )
        )

    def _fill(self) -> None:
        """Give every idle worker the first run in line whose dependencies are done."""
        for worker in self.workers:
            busy = worker.run is not None or worker.leaving or worker.process.poll() is not None
            if busy or self.signals:
                continue
            ready = (
                run
                for run in self.waiting.values()
                if not any(each.id in self.open for each in run.parents)
            )
            run = next(ready, None)
            if run is None:
                return
            del self.waiting[run.id]
            worker.run = run
            keep = self.keep.get(run.id, ())
            worker.send(job(run, store=self.store, execution=self.execution, keep=keep))
            self.on_event(Event(what="start", run=run, worker=worker.number))

    def _hear(self, worker: _Worker, line: str | None) -> None:
        if line is None:
            self._mourn(worker)
            return
        message = _parse(line)
        match message.get("event"):
            case "ready":
                worker.ready = True
            case "report" if worker.run is not None:
                event = Event(
                    what="report", run=worker.run, worker=worker.number, report=message["report"]
                )
                self.on_event(event)
            case "end":
                worker.leaving = message["leaving"]
                self._end(worker, message["outcome"], message["message"])
                if worker.leaving and self.waiting and not self.signals:
                    self._hire()

    def _end(self, worker: _Worker, outcome: End, message: str) -> None:
        run, worker.run = worker.run, None
        assert run is not None
        self.ends[run.id] = outcome
        self.on_event(Event(what=outcome, run=run, worker=worker.number, message=message))
        if outcome == "done":
            self.open.discard(run.id)
        elif outcome != "interrupted":
            self._cancel_below(run, outcome)

    def _cancel_below(self, run: Run, outcome: End) -> None:
        reason = "failed" if outcome == "failed" else "is held by another process"
        for child in descendants(run, below=self.below):
            if self.waiting.pop(child.id, None) is not None:
                self.ends[child.id] = "cancelled"
                message = f"{run.slug} {reason}"
                self.on_event(Event(what="cancelled", run=child, message=message))

    def _mourn(self, worker: _Worker) -> None:
        """A worker's output ended: as asked, interrupted, or it crashed."""
        code = worker.process.returncode
        self.workers.remove(worker)
        run = worker.run
        if run is None:
            if not worker.ready and not self.signals:
                raise LaunchError(
                    f"a worker did not start ({ended(code)}):\n{worker.last_words(None)}"
                )
            return
        if self.signals or code == EXIT_CODE:  # or somebody signalled the worker itself
            self._end(worker, "interrupted", "")
            return
        directory = RunDirectory(self.store.directory(run))
        message = f"the worker ended by {ended(code)}"
        if directory.failure() is None:  # a rank 0 that another rank's failure ended says so itself
            note_failure(directory, message)
        words = worker.last_words(directory.log)
        self._end(worker, "failed", f"{message}; its last lines:\n{words}")
        if self.waiting:
            self._hire()

    def _dismiss(self) -> None:
        for worker in self.workers:
            worker.dismiss()
        for worker in self.workers:
            worker.process.wait()
            worker.errors.close()


def _parse(line: str) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except ValueError:
        raise LaunchError(f"a worker wrote {line!r} where a message was due") from None
    return message


def with_threads(execution: Execution, *, threads: int | None, workers: int) -> Execution:
    """The execution with `threads` a process, by default this machine's cores shared out."""
    share = max(1, available_cores() // (workers * execution.ranks))
    return replace(execution, threads=share if threads is None else threads)
