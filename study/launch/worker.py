"""A worker process: runs one after another, each told by a line of JSON and answered by lines.

Owns both ends' message format and the worker's end of the pipe. Imports of torch and transformers
take seconds, so a worker stays for many runs. What executes a run is passed in: the commands are
the only place that knows training and evaluation both. No torch.

    -> {"run": YAML, "store": "runs", "execution": {...}, "keep": [100, 400]}
    <- {"event": "ready"} | {"event": "report", "report": {...}} |
       {"event": "end", "outcome": "done" | "failed" | "held" | "interrupted", "message": "",
        "leaving": false}

leaving: the worker ends with this run, since DeepSpeed numbers what it sees in a process, and rank
0 has to number like the other ranks, which are new.

The end of input ends the worker; in the middle of a run it is a SIGTERM, so a launcher that was
killed leaves no orphan behind.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from study.runs.decode import decode, encode
from study.runs.execution import Execution
from study.runs.node import Run, Trained
from study.store.directory import RunDirectory, Store
from study.store.lease import LeaseHeld
from study.store.redaction import redact
from study.train.ranks import GRACE_SECONDS, place
from study.train.signals import EXIT_CODE, STOPPING, Interrupted

Execute = Callable[..., None]
"""`execute(run, *, store, execution, report)`."""

Outcome = Literal["done", "failed", "held", "interrupted"]
REPORT_SECONDS = 0.2
DIRECTORY_SECONDS = 120.0


def job(run: Run, *, store: Store, execution: Execution, keep: tuple[int, ...]) -> str:
    """The line that asks a worker for a run."""
    options = asdict(execution)
    options["data_dirs"] = [str(path) for path in execution.data_dirs]
    options["cache"] = str(execution.cache)
    message = {"run": encode(run), "store": str(store.root), "execution": options, "keep": keep}
    return json.dumps(message) + "\n"


def _read_job(line: str) -> tuple[Run, Store, Execution, tuple[int, ...]]:
    message = json.loads(line)
    options = message["execution"]
    options["data_dirs"] = tuple(Path(path) for path in options["data_dirs"])
    options["cache"] = Path(options["cache"])
    run = decode(message["run"], name="the launcher's run")
    return run, Store(message["store"]), Execution(**options), tuple(message["keep"])


def serve(executors: Mapping[str, Execute]) -> int:
    """Answer jobs until the input ends; returns the exit code."""
    for number in STOPPING:
        signal.signal(number, _interrupt)
    answers = _Answers()
    busy = threading.Event()
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(lines, busy), name="jobs", daemon=True).start()
    try:
        answers.send(event="ready")
        while line := lines.get():
            busy.set()
            run, store, execution, keep = _read_job(line)
            outcome, message = perform(
                run,
                execute=executors[type(run).__name__],
                store=store,
                execution=execution,
                keep=keep,
                report=_Throttled(lambda report: answers.send(event="report", report=report)),
            )
            busy.clear()
            leaving = by_deepspeed(run, execution)
            answers.send(event="end", outcome=outcome, message=message, leaving=leaving)
            if outcome == "interrupted":
                return EXIT_CODE
            if leaving:
                return 0
    except (Interrupted, KeyboardInterrupt):
        return EXIT_CODE
    return 0


def perform(
    run: Run,
    *,
    execute: Execute,
    store: Store,
    execution: Execution,
    keep: tuple[int, ...],
    report: Callable[[dict[str, Any]], None],
) -> tuple[Outcome, str]:
    """Execute one run in its directory, with what it prints in its log; says how it ended.

    Every rank of a run that several train calls this. Ranks other than 0 have logs of their own and
    leave the directory's state to rank 0.
    """
    here = place()
    if here is not None and here.rank > 0:
        return _assist(run, execute=execute, store=store, execution=execution, rank=here.rank)
    try:
        directory = store.open(run)
        directory.keep(keep)
        directory.forget_failure()
    except (OSError, ValueError) as error:
        return "failed", _brief(error)
    try:
        return _in_its_log(
            run, directory, lambda: execute(run, store=store, execution=execution, report=report)
        )
    except OSError as error:  # no room for the log itself
        note_failure(directory, _brief(error))
        return "failed", _brief(error)


def _in_its_log(run: Run, directory: RunDirectory, work: Callable[[], None]) -> tuple[Outcome, str]:
    with _logged(directory.log, run):
        outcome, message = _executed(work)
        if outcome == "failed":
            note_failure(directory, message)
    if outcome == "done" and directory.done() is None:
        return "failed", f"{type(run).__name__} ended without sealing its directory"
    return outcome, message


def _assist(
    run: Run, *, execute: Execute, store: Store, execution: Execution, rank: int
) -> tuple[Outcome, str]:
    if not by_deepspeed(run, execution):
        return "done", ""  # rank 0's work alone
    # Rank 0 makes the directory: a log in it before its run.yaml would make it a stranger's.
    until = time.monotonic() + DIRECTORY_SECONDS
    while not (store.directory(run) / "run.yaml").exists():
        if time.monotonic() > until:
            return "failed", f"rank 0 made no {store.directory(run)} in {DIRECTORY_SECONDS:.0f} s"
        time.sleep(0.1)
    with _logged(rank_log(store.directory(run), rank), run):
        return _executed(
            lambda: execute(run, store=store, execution=execution, report=lambda _: None)
        )


def _executed(work: Callable[[], None]) -> tuple[Outcome, str]:
    try:
        work()
    except LeaseHeld as error:
        print(error, file=sys.stderr)
        return "held", str(error)
    except (Interrupted, KeyboardInterrupt) as error:
        print(f"interrupted: {error}", file=sys.stderr)
        return "interrupted", str(error)
    except Exception as error:
        print(redact(traceback.format_exc()), file=sys.stderr, end="")
        return "failed", _brief(error)
    return "done", ""


def run_rank(executors: Mapping[str, Execute]) -> int:
    """A rank that a worker started: one job from standard input; returns the exit code. The end of
    input before its own is the end of rank 0, and so of this process.
    """
    for number in STOPPING:
        signal.signal(number, _interrupt)
    line = sys.stdin.readline()
    if not line:
        return 1
    threading.Thread(target=_outlive_nobody, name="rank 0", daemon=True).start()
    run, store, execution, keep = _read_job(line)
    outcome, _ = perform(
        run,
        execute=executors[type(run).__name__],
        store=store,
        execution=execution,
        keep=keep,
        report=lambda _: None,
    )
    return {"done": 0, "interrupted": EXIT_CODE}.get(outcome, 1)


def _outlive_nobody() -> None:
    sys.stdin.read()
    time.sleep(GRACE_SECONDS)
    os._exit(1)


def rank_log(directory: Path, rank: int) -> Path:
    """Where a rank other than 0 writes what it prints."""
    return directory / f"log-rank{rank}.txt"


def last_lines(log: Path, count: int) -> str:
    """The end of a log, as far as it can be read."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:])


def ended(code: int | None) -> str:
    """How a process ended, in words."""
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"


def by_deepspeed(run: Run, execution: Execution) -> bool:
    """Whether the run is trained by ranks; corpora and evaluations are one process's work."""
    return isinstance(run, Trained) and execution.zero is not None


def note_failure(directory: RunDirectory, message: str) -> None:
    """Write the reason down, unless the disk that has no room for it is the reason."""
    with contextlib.suppress(OSError):
        directory.fail(message)


def _brief(error: BaseException) -> str:
    return redact(f"{type(error).__name__}: {error}")


def _interrupt(number: int, frame: FrameType | None) -> None:
    """While nothing better listens: leave by an exception, which unwinds leases and temporaries."""
    raise Interrupted(f"{signal.Signals(number).name}: start again to go on")


def _listen(lines: queue.SimpleQueue[str], busy: threading.Event) -> None:
    for line in sys.stdin:
        lines.put(line)
    lines.put("")
    if busy.is_set():
        os.kill(os.getpid(), signal.SIGTERM)


class _Answers:
    """The pipe to the launcher; whatever else prints to standard output goes to standard error."""

    def __init__(self) -> None:
        sys.stdout.flush()
        self._pipe = os.dup(1)
        os.dup2(2, 1)

    def send(self, **message: Any) -> None:
        line = (json.dumps(message, default=str) + "\n").encode()
        # Where the launcher is gone nobody listens. The end of input says so too, as a SIGTERM: a
        # report must not turn a run that can still checkpoint into one that failed.
        with contextlib.suppress(BrokenPipeError):
            while line:
                line = line[os.write(self._pipe, line) :]


@contextmanager
def _logged(log: Path, run: Run) -> Iterator[None]:
    """Standard output and error go to the run's log, C libraries' too."""
    sys.stdout.flush()
    sys.stderr.flush()
    before = os.dup(1), os.dup(2)
    handle = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)
    try:
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        print(f"---- {now} {run.slug} {run.id[:12]}", file=sys.stderr, flush=True)
        yield
    finally:
        with contextlib.suppress(OSError):  # a full disk: the log's last lines are lost
            sys.stdout.flush()
            sys.stderr.flush()
        os.dup2(before[0], 1)
        os.dup2(before[1], 2)
        for each in (*before, handle):
            os.close(each)


class _Throttled:
    """Passes reports on, those of single steps only a few times a second."""

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self._send = send
        self._last = -REPORT_SECONDS

    def __call__(self, report: dict[str, Any]) -> None:
        now = time.monotonic()
        if report.get("event") == "step" and now - self._last < REPORT_SECONDS:
            return
        self._last = now
        self._send(report)
