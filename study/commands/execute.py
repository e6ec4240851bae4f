"""Executing runs: a plan's on this machine, and the hidden commands that launchers start.

Owns what executes a run of each kind.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from study.commands.options import ends_clearly

if TYPE_CHECKING:
    from study.launch.worker import Execute
    from study.runs.execution import Execution
    from study.runs.node import Run
    from study.runs.plan import Sweep
    from study.store.directory import Store


@ends_clearly
def worker():
    """Execute runs for a launcher (JSON lines)."""
    from study.launch.worker import serve

    code = serve(executors())
    sys.stderr.flush()
    os._exit(code)  # everything is published; unloading torch would keep the launcher for seconds


@ends_clearly
def job(
    directory: Annotated[Path, typer.Argument(help="A run directory.")],
    execution: Annotated[Path, typer.Option("--execution", help="JSON, as launch writes it.")],
    code: Annotated[
        Path | None, typer.Option("--code", help="The code that was submitted.")
    ] = None,
):
    """Execute the run of one directory, as a job of SLURM does."""
    from study.launch.cluster.job import execute_directory

    ended = execute_directory(directory, execution=execution, code=code, executors=executors())
    sys.stderr.flush()
    os._exit(ended)  # as in `worker`


@ends_clearly
def rank():
    """Train one run as one of several ranks, for a worker (a JSON line)."""
    from study.launch.worker import run_rank

    code = run_rank(executors())
    sys.stderr.flush()
    os._exit(code)


def executors() -> dict[str, Execute]:
    """What executes a run, by the name of its kind."""
    from study.runs import domain
    from study.runs.node import Prepared, Trained

    def train(run: Run, *, store: Store, execution: Execution, report: Callable[..., None]) -> None:
        from study.launch.rank_processes import gathered

        with gathered(run, store=store, execution=execution) as ranks:
            from study.train.work import execute

            # the table below gives it data and trained runs alone
            execute(run, store=store, execution=execution, report=report, ranks=ranks)  # type: ignore[arg-type]

    def score(run: Run, **rest: Any) -> None:
        domain.of(run).score(run, **rest)

    return {
        name: train if issubclass(kind, (Prepared, Trained)) else score
        for name, kind in domain.kinds().items()
    }


def execute_plan(
    sweep: Sweep, root: Path, execution: Execution, workers: int | None, threads: int | None
) -> int:
    from study.launch import environment, local, ready
    from study.launch.progress import listener, summary
    from study.runs.cells import planned_cells
    from study.runs.execution import check_runs
    from study.show.terminal import log_warning
    from study.store import declared
    from study.store.directory import Store

    store = Store(root.resolve())
    check_runs(sweep.runs, execution=execution)
    todo = local.remaining(sweep, store=store)
    if not todo:
        print(f"nothing to do: all {len(sweep.runs)} runs are done")
        return 0
    ready.refuse(sweep, todo)
    for each in planned_cells(sweep.runs):
        if each.problem:
            log_warning(f"{each.key.label}: {each.problem}")
    if reason := environment.clash() or environment.missing_device(execution.device):
        raise ValueError(reason)
    store.check_writable()
    declared.record_claims(sweep, store=store)
    count = workers or local.default_workers(todo, execution=execution)
    execution = local.with_threads(execution, threads=threads, workers=count)
    each = f"{execution.ranks} ranks x " if execution.ranks > 1 else ""
    print(
        f"{len(todo)} of {len(sweep.runs)} runs, {count} x {each}{execution.threads} threads",
        flush=True,
    )
    with listener(todo) as listen:
        outcome = local.run_plan(
            sweep, store=store, execution=execution, workers=count, on_event=listen
        )
    print(summary(outcome, todo))
    return outcome.exit_code
