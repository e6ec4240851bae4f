"""Submitting again what failed, and what SLURM cancelled for its sake; nothing else of a sweep.

Owns the choice and the end of the failure notes; submitting is `study.launch.cluster.launch`. No
torch.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from study.launch.cluster.choose import named
from study.launch.cluster.launch import LaunchRequest, LaunchResult, launch
from study.launch.cluster.slurm import Slurm, Unanswered
from study.launch.cluster.view import View, current_view
from study.runs.node import Run
from study.runs.plan import Sweep
from study.show import terminal
from study.show.columns import Columns, words
from study.store.directory import Store

__all__ = ["LaunchRequest", "Retry", "choose", "failed", "profile_name", "show", "submit"]


@dataclass(frozen=True, kw_only=True)
class Retry:
    """A run to submit again. state, why: as reconciled. profile: under which it was submitted."""

    run: Run
    state: str
    why: str
    profile: str | None


def choose(sweep: Sweep, *, slug: str, store: Store, slurm: Slurm) -> list[Retry]:
    """What of the sweep, or of one run and what needs it, is submitted again; parents first.

    Raises Unanswered where SLURM is silent: nothing is known to have failed then.
    """
    view = current_view(sweep.runs, store=store, slurm=slurm)
    if view.no_answer is not None:
        raise Unanswered(f"nothing was submitted: {view.no_answer}")
    mine = {run.id for run in named(sweep.runs, run=sweep.run(slug) if slug else None)}
    return [again for again in failed(sweep.runs, view=view) if again.run.id in mine]


def failed(runs: Sequence[Run], *, view: View) -> list[Retry]:
    """Failed runs, and their descendants whose jobs ended with them, in the order of the plan.

    A run that a person cancelled stays out with what needs it, and so does what was never
    submitted, is queued, at work or unknown.
    """
    wanted: set[str] = set()
    for run in runs:
        found = view.found[run.id]
        lacking = [
            each.id
            for each in run.parents
            if view.found[each.id].state not in ("done", "queued", "running")
        ]
        own = found.state == "failed" and found.free and run.id in view.placed
        with_parents = found.cancelled_by == "slurm" and lacking and wanted.issuperset(lacking)
        if own or with_parents:
            wanted.add(run.id)
    return [_again(run, view) for run in runs if run.id in wanted]


def profile_name(again: Sequence[Retry]) -> str:
    """The one profile under which these runs were submitted."""
    names = sorted({each.profile for each in again if each.profile is not None})
    if len(names) != 1:
        raise ValueError(
            f"what failed was submitted under {len(names)} profiles: {', '.join(names)}; "
            "legal: --cluster NAME"
        )
    return names[0]


def submit(request: LaunchRequest, *, again: Sequence[Retry], slurm: Slurm) -> LaunchResult:
    """Submit the request, which holds what is retried, and remove the notes of its failures."""
    notes = [request.store.directory(each.run) / "failed.json" for each in again]
    before = {path: _stamp(path) for path in notes}
    launched = launch(request, slurm=slurm)
    # Only now: had SLURM fallen silent, the notes would have been all that is known. A job that
    # has started meanwhile has removed its note itself, and what is there then is a newer one.
    for path, stamp in before.items():
        if stamp is not None and _stamp(path) == stamp:
            path.unlink(missing_ok=True)
    return launched


def show(again: Sequence[Retry]) -> None:
    """A line for each run that is submitted again."""
    columns: Columns[Retry] = (
        words("slug", lambda each: each.run.slug),
        words("was", lambda each: each.state),
        words("why", lambda each: next(iter(each.why.splitlines()), "")),
    )
    terminal.show(columns, again)


def _again(run: Run, view: View) -> Retry:
    found, place = view.found[run.id], view.placed.get(run.id)
    profile = place.array.profile if place else None
    return Retry(run=run, state=found.state, why=found.reason, profile=profile)


def _stamp(path: os.PathLike[str]) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns
