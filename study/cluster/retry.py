"""Which runs of a sweep a retry submits again: what failed, and what SLURM cancelled for it.

Owns the choice and the removal of failure notes; submitting is the launcher's. No torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from study.cluster.view import View
from study.plan import children, descendants
from study.run import Run, run_id
from study.store import RunDirectory, Store


@dataclass(frozen=True, kw_only=True)
class Again:
    """A run to submit again. why: its reconciled reason."""

    run: Run
    why: str


def failed(runs: Sequence[Run], *, view: View) -> list[Again]:
    """Failed runs, and their descendants whose jobs ended with them, in the order of the plan.

    A run that a person cancelled, one that was never submitted, and one that is queued, at work or
    unknown for SLURM's silence stay out.
    """
    below = children(runs)
    wanted: set[str] = set()
    for run in runs:
        found = view.found[run_id(run)]
        if found.state != "failed" or not found.free:
            continue
        wanted.add(run_id(run))
        for each in descendants(run, below=below):
            ended = view.found[run_id(each)]
            if ended.state == "cancelled" and ended.cancelled_by == "slurm" and ended.free:
                wanted.add(run_id(each))
    return [
        Again(run=run, why=view.found[run_id(run)].reason) for run in runs if run_id(run) in wanted
    ]


def reset(again: Sequence[Again], *, store: Store) -> None:
    """Remove the failure notes, so that the files no longer say failed."""
    for each in again:
        RunDirectory(store.directory(each.run)).forget_failure()
