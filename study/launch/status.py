"""How far each run of a sweep is: the rows of `study status`, as a table or as JSON.

Owns the rows. A state comes from the run's files, reconciled with SLURM where runs of the store
were submitted (`study.launch.cluster`). Under
`--live` the same rows, progress and losses are drawn again until Ctrl-C. No torch.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.launch.cluster.reconcile import CLUSTER_STATES, ClusterState, Reconciled
from study.launch.cluster.view import current_view, has_records
from study.runs import domain
from study.runs.node import Run, Trained
from study.runs.plan import Sweep
from study.show import terminal
from study.show.columns import Column, Columns, fields, number, words
from study.show.numbers import quantity
from study.show.terminal import log_warning
from study.store.directory import STATES, RunDirectory, Store
from study.store.lease import holder_of

TAIL_BYTES = 1 << 16
QUIET = ("planned", "done")


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How far one run is. step, loss: of its last event; tokens_per_second: of that step.

    note: why it is in this state, or who holds it. job: SLURM's name of its newest job.
    """

    id: str
    slug: str
    kind: str
    state: ClusterState
    step: int | None
    steps: int | None
    loss: float | None
    validation_loss: float | None
    note: str | None
    job: str | None = None
    tokens_per_second: float | None = None


@dataclass(frozen=True, kw_only=True)
class StatusTable:
    """rows: one a run, in the order of the plan. no_answer: why SLURM does not answer, or None.

    submitted: whether runs of this store were ever submitted, so that SLURM has a say.
    """

    rows: tuple[Standing, ...]
    no_answer: str | None
    submitted: bool


def status_table(sweep: Sweep, *, store: Store) -> StatusTable:
    """The rows of a sweep at this moment."""
    if not has_records(store):
        states = store.statuses(sweep.runs)
        rows = tuple(_from_files(run, states[run.id], store=store) for run in sweep.runs)
        return StatusTable(rows=rows, no_answer=None, submitted=False)
    view = current_view(sweep.runs, store=store)
    rows = tuple(_row(run, view.found[run.id], store=store) for run in sweep.runs)
    return StatusTable(rows=rows, no_answer=view.no_answer, submitted=True)


def show_status(sweep: Sweep, *, store: Store, every: bool, as_json: bool) -> None:
    found = status_table(sweep, store=store)
    if found.no_answer is not None:
        log_warning(no_answer_warning(found.no_answer))
    if as_json:
        terminal.values(found.rows)
        return
    terminal.show(*_totals(found))
    shown = [each for each in found.rows if every or each.state not in QUIET]
    if shown:
        print()
        terminal.show(COLUMNS, shown)


def no_answer_warning(why: str) -> str:
    """What a reader must know of a SLURM that does not answer."""
    return f"SLURM does not answer, so what is not sealed or at work is unknown: {why}"


def _totals(found: StatusTable) -> tuple[Columns[str], list[str]]:
    """A line a kind, a column a state."""
    counts = Counter((each.kind, each.state) for each in found.rows)
    kinds = [kind for kind in domain.kinds() if any(key[0] == kind for key in counts)]

    def of(state: str) -> Column[str]:
        write = number if state == "done" else words
        return write(state, lambda kind: str(counts[kind, state] or ""))

    states = CLUSTER_STATES if found.submitted else STATES
    return (words("stage", lambda kind: kind), *map(of, states)), kinds


def _loss(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def first_line(note: str | None) -> str:
    return next(iter((note or "").splitlines()), "")


COLUMNS: Columns[Standing] = (
    *fields("slug", "kind", "state"),
    number("step", lambda each: "" if each.step is None else f"{each.step}/{each.steps}"),
    number("loss", lambda each: _loss(each.loss)),
    number("validation", lambda each: _loss(each.validation_loss)),
    words("note", lambda each: first_line(each.note)),
)


def _from_files(run: Run, state: ClusterState, *, store: Store) -> Standing:
    note = None
    directory = RunDirectory(store.directory(run))
    if state == "failed":
        note = directory.failure()
    if state in ("running", "interrupted"):
        holder = holder_of(directory.path)
        note = None if holder is None else str(holder)
    return _row(run, Reconciled(state=state, reason=note or ""), store=store)


def _row(run: Run, found: Reconciled, *, store: Store) -> Standing:
    last = LastEvents()
    if found.state != "planned":
        last = last_events(RunDirectory(store.directory(run)).events)
    return Standing(
        id=run.id,
        slug=run.slug,
        kind=type(run).__name__,
        state=found.state,
        step=last.step,
        steps=run.training.steps if isinstance(run, Trained) else None,
        loss=last.loss,
        validation_loss=last.validation_loss,
        note=found.reason or None,
        job=found.job,
        tokens_per_second=last.tokens_per_second,
    )


@dataclass(frozen=True, kw_only=True)
class LastEvents:
    """The end of a run's events; None where there is none."""

    step: int | None = None
    loss: float | None = None
    validation_loss: float | None = None
    tokens_per_second: float | None = None


def last_events(path: Path) -> LastEvents:
    """From the tail of the file: a table of thousands can't read it all."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return LastEvents()
    step: dict[str, Any] = {}
    validation: dict[str, Any] = {}
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:  # the first may be cut by the tail, the last by its writer
            continue
        if event.get("event") == "step":
            step = event
        if event.get("event") == "validation":
            validation = event
    return LastEvents(
        step=step.get("step"),
        loss=step.get("loss"),
        validation_loss=validation.get("loss"),
        tokens_per_second=step.get("tokens_per_second"),
    )


if TYPE_CHECKING:
    from rich.console import RenderableType

REFRESH_SECONDS = 5.0
"""Each is a question to SLURM's controller, which serves everybody."""
ROWS = 30
COLOURS = {
    "running": "green",
    "failed": "bold red",
    "cancelled": "yellow",
    "unknown": "magenta",
    "queued": "cyan",
}
FIRST = ("running", "failed", "unknown")


def watch(sweep: Sweep, *, store: Store) -> None:
    """Redraw until Ctrl-C, which is the way out and no error. What is there then is printed."""
    from rich.console import Console
    from rich.live import Live

    console = Console()
    if not console.is_terminal:
        raise ValueError("--live draws on a terminal; legal: study status SWEEP")
    try:
        with Live(console=console, auto_refresh=False, screen=True) as live:
            while True:
                live.update(
                    render(status_table(sweep, store=store), title=sweep.title), refresh=True
                )
                time.sleep(REFRESH_SECONDS)
    except KeyboardInterrupt:
        show_status(sweep, store=store, every=False, as_json=False)


def render(found: StatusTable, *, title: str) -> RenderableType:
    """The live view: totals, then what moves or needs a look, with its progress."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    counts = Counter(each.state for each in found.rows)
    totals = "  ".join(f"{counts[state]} {state}" for state in CLUSTER_STATES if counts[state])
    parts: list[RenderableType] = [Text(title, style="bold"), Text(totals)]
    if found.no_answer is not None:
        parts.append(Text(no_answer_warning(found.no_answer), style="bold red"))
    grid = Table.grid(padding=(0, 2))
    moving = [each for each in found.rows if each.state not in QUIET]
    moving.sort(key=lambda each: FIRST.index(each.state) if each.state in FIRST else len(FIRST))
    for each in moving[:ROWS]:
        share = (each.step or 0) / each.steps if each.steps else 0.0
        bar = ProgressBar(total=1.0, completed=share, width=20) if each.steps else Text("")
        grid.add_row(
            Text(each.slug),
            Text(each.state, style=COLOURS.get(each.state, "")),
            bar,
            Text(_progress(each)),
            Text(first_line(each.note), overflow="ellipsis", no_wrap=True),
        )
    parts += [Text(""), grid]
    if len(moving) > ROWS:
        parts.append(Text(f"and {len(moving) - ROWS} more"))
    parts += [Text(""), Text("Ctrl-C ends the view, nothing else", style="dim")]
    return Group(*parts)


def _progress(each: Standing) -> str:
    parts = [] if each.step is None else [f"step {each.step}/{each.steps}"]
    if each.loss is not None:
        parts.append(f"loss {each.loss:.3f}")
    if each.validation_loss is not None:
        parts.append(f"validation {each.validation_loss:.3f}")
    if each.tokens_per_second:
        parts.append(f"{quantity(each.tokens_per_second)}tok/s")
    return "  ".join(parts)
