"""What a launch submits of a sweep and why it leaves the rest, and what of it is cancelled.

Owns both choices, from the reconciled states, and the account of what was taken out of SLURM. A run
that is cancelled keeps its files; launching again goes on. No torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Literal

from study.launch.cluster.reconcile import Reconciled, stopped_from_outside
from study.launch.cluster.slurm import Job, Slurm, Unanswered
from study.launch.cluster.view import View, current_view
from study.runs.node import Run
from study.runs.plan import children, descendants
from study.store.directory import Store

Failed = Literal["leave", "submit"]


@dataclass(frozen=True, kw_only=True)
class Left:
    """A run that is not submitted though it is not done."""

    run: Run
    why: str


@dataclass(frozen=True, kw_only=True)
class Choice:
    """submit: parents before children. waiting: queued or at work already. failed: with what
    depends on them. held: a process that is no job of ours works on it, with what depends on it.
    """

    submit: tuple[Run, ...] = ()
    waiting: tuple[Left, ...] = ()
    failed: tuple[Left, ...] = ()
    held: tuple[Left, ...] = ()


def choose(
    todo: Sequence[Run],
    *,
    found: Mapping[str, Reconciled],
    ended: Mapping[str, Job],
    alive: Mapping[str, str],
    failed: Failed,
) -> Choice:
    """Divide what is to do (parents first). found, ended: by run id. alive: run id -> its queued or
    running job. failed: whether failed runs are left, with their descendants, or submitted. A run
    whose job was stopped from outside (a node that failed, the time limit) goes on in any case.
    """
    below = children(todo)
    waiting: list[Left] = []
    lost: dict[str, tuple[Literal["failed", "held"], str]] = {}
    submit: list[Run] = []
    for run in todo:
        name, state = run.id, found[run.id]
        if name in lost:
            continue
        if name in alive:
            waiting.append(Left(run=run, why=f"{state.state}, job {alive[name]}"))
        elif state.state == "running":
            lost[name] = ("held", state.reason)
        elif state.state == "failed" and failed == "leave" and not _stopped(ended.get(name)):
            lost[name] = ("failed", state.reason)
        elif state.state == "unknown" and not state.free:
            lost[name] = ("held", state.reason)
        else:
            submit.append(run)
        if name in lost:
            kind, _ = lost[name]
            word = "failed" if kind == "failed" else "is at work elsewhere"
            for child in descendants(run, below=below):
                lost.setdefault(child.id, (kind, f"{run.slug} {word}"))
    by_kind: dict[str, list[Left]] = {"failed": [], "held": []}
    for run in todo:
        if run.id in lost and run.id not in alive:
            kind, why = lost[run.id]
            by_kind[kind].append(Left(run=run, why=why))
    return Choice(
        submit=tuple(run for run in submit if run.id not in lost),
        waiting=tuple(waiting),
        failed=tuple(by_kind["failed"]),
        held=tuple(by_kind["held"]),
    )


def _stopped(job: Job | None) -> bool:
    return job is not None and stopped_from_outside(job)


def waits_for(run: Run, *, unfinished: Set[str]) -> tuple[str, ...]:
    """Ids of the dependencies that this run must wait for."""
    return tuple(each.id for each in run.parents if each.id in unfinished)


@dataclass(frozen=True, kw_only=True)
class Cancelled:
    """A job that was cancelled. was: its state before."""

    slug: str
    job: str
    was: str


def named(runs: Sequence[Run], *, run: Run | None) -> list[Run]:
    """All runs of a sweep, or one with everything that needs it, in the order of the plan."""
    if run is None:
        return list(runs)
    below = {run.id, *(each.id for each in descendants(run, below=children(runs)))}
    return [each for each in runs if each.id in below]


def alive(runs: Sequence[Run], *, view: View) -> list[Cancelled]:
    """The jobs of these runs that SLURM has queued or running, children first: a parent's end must
    not start one.
    """
    found = []
    for run in reversed(runs):
        job = view.jobs.get(run.id)
        if job is not None and not job.ended:
            found.append(Cancelled(slug=run.slug, job=job.id, was=job.state))
    return found


def cancel(
    runs: Sequence[Run], *, every: Sequence[Run], store: Store, slurm: Slurm
) -> list[Cancelled]:
    """Cancel the jobs of `runs`, a part of the plan `every`. Done twice it does nothing more.

    Raises Unanswered where SLURM is silent: then nothing is known to be cancelled.
    """
    view = current_view(every, store=store, slurm=slurm, sealed="ask")
    if view.no_answer is not None:
        raise Unanswered(f"nothing was cancelled: {view.no_answer}")
    found = alive(runs, view=view)
    slurm.cancel([each.job for each in found])
    return found
