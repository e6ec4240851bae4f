"""Taking runs out of SLURM: what of a sweep is queued or at work there, and cancelling it.

Owns the choice and the account of it. A run keeps its files; launching again goes on. No torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from study.launch.cluster.slurm import Slurm, Unanswered
from study.launch.cluster.view import View, look
from study.runs.plan import children, descendants
from study.runs.run import Run, run_id
from study.store.directory import Store


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
    below = {run_id(run), *(run_id(each) for each in descendants(run, below=children(runs)))}
    return [each for each in runs if run_id(each) in below]


def alive(runs: Sequence[Run], *, view: View) -> list[Cancelled]:
    """The jobs of these runs that SLURM has queued or running, children first: a parent's end must
    not start one.
    """
    found = []
    for run in reversed(runs):
        job = view.jobs.get(run_id(run))
        if job is not None and not job.ended:
            found.append(Cancelled(slug=run.slug, job=job.id, was=job.state))
    return found


def cancel(
    runs: Sequence[Run], *, every: Sequence[Run], store: Store, slurm: Slurm
) -> list[Cancelled]:
    """Cancel the jobs of `runs`, a part of the plan `every`. Done twice it does nothing more.

    Raises Unanswered where SLURM is silent: then nothing is known to be cancelled.
    """
    view = look(every, store=store, slurm=slurm, sealed="ask")
    if view.silent is not None:
        raise Unanswered(f"nothing was cancelled: {view.silent}")
    found = alive(runs, view=view)
    slurm.cancel([each.job for each in found])
    return found
