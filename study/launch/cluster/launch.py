"""A sweep onto SLURM: what `study launch` does, as values.

Owns the order of a launch: refuse what can't work, hold the lease of `<store>/cluster`, keep the
code, complete what an earlier launch left, choose, submit. No torch.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from study.launch import ready
from study.launch.cluster import records, scripts, snapshot, submit
from study.launch.cluster.choose import Choice, Failed, Left, choose
from study.launch.cluster.profile import Profile
from study.launch.cluster.records import Array
from study.launch.cluster.slurm import Slurm, Unanswered
from study.launch.cluster.submit import Group, divide
from study.launch.cluster.view import View, current_view
from study.launch.local import remaining
from study.runs.domain import kinds
from study.runs.execution import check_runs
from study.runs.node import Run
from study.runs.plan import Sweep, all_kept_steps
from study.show.terminal import log_warning
from study.store.directory import Store, StoreError
from study.store.lease import acquire

DRY = "dry-run"
SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class LaunchRequest:
    """What is launched and how. changes: of a working tree that differs from its commit. failed:
    runs that failed are left, with a hint, or submitted again.
    """

    sweep: Sweep
    store: Store
    profile: Profile
    changes: Literal["refuse", "archive"] = "refuse"
    failed: Failed = "leave"


@dataclass(frozen=True, kw_only=True)
class LaunchResult:
    """groups and arrays belong together; a dry run has scripts and no arrays. completed: arrays
    that an earlier launch had left held.
    """

    choice: Choice
    groups: tuple[Group, ...]
    scripts: tuple[Path, ...]
    arrays: tuple[Array, ...] = ()
    completed: tuple[Array, ...] = ()


def launch(
    request: LaunchRequest, *, slurm: Slurm, warn: Callable[[str], None] = log_warning
) -> LaunchResult:
    """Submit what is not done, queued or failed.

    Raises Unanswered where SLURM is silent, Refused where it says no, LeaseHeld where another
    launcher is at work, and ValueError for what can't be launched at all.
    """
    check(request)
    ready.refuse(request.sweep, remaining(request.sweep, store=request.store))
    with acquire(_cluster(request.store), waiting=warn):
        code = snapshot.take(request.store.root, changes=request.changes)
        completed = submit.recover(store=request.store, slurm=slurm, warn=warn)
        todo = remaining(request.sweep, store=request.store)
        view = current_view(request.sweep.runs, store=request.store, slurm=slurm)
        if view.no_answer is not None:
            raise Unanswered(view.no_answer)
        alive = _alive(todo, view=view, slurm=slurm)
        choice = choose(todo, found=view.found, ended=view.jobs, alive=alive, failed=request.failed)
        keep = all_kept_steps(request.sweep.runs)
        refuse(choice.submit, profile=request.profile)
        if away := away_from(choice.submit, profile=request.profile):
            raise ValueError(away)
        submit.write_runs(todo, store=request.store, keep=keep)
        folder = records.array_path(request.store.root, "")
        site = submit.Site(store=request.store, profile=request.profile, code=code, folder=folder)
        groups = divide(choice.submit, profile=request.profile)
        unfinished = {run.id for run in choice.submit} | alive.keys()
        arrays = submit.submit(groups, site=site, slurm=slurm, unfinished=unfinished)
    paths = tuple(folder / array.token / records.SCRIPT for array in arrays)
    return LaunchResult(
        choice=choice, groups=groups, scripts=paths, arrays=arrays, completed=completed
    )


def dry_run(request: LaunchRequest, *, warn: Callable[[str], None] = log_warning) -> LaunchResult:
    """Write every script as a launch would, and ask SLURM nothing. Runs that were submitted before
    are left out: whether they still are queued is SLURM's knowledge, and their scripts stay. What
    would stop a launch (open pins, sources that are not here) is a warning.
    """
    check(request)
    with acquire(_cluster(request.store), waiting=warn):
        code = snapshot.take(request.store.root, changes=request.changes)
        todo = remaining(request.sweep, store=request.store)
        placed = records.newest(records.load_all(request.store.root))
        chosen = tuple(run for run in todo if run.id not in placed)
        before = tuple(
            Left(run=run, why=f"submitted before, array {placed[run.id].array.token}")
            for run in todo
            if run.id in placed
        )
        refuse(chosen, profile=request.profile)
        for reason in ready.waits(request.sweep, todo):
            warn(reason)
        if away := away_from(chosen, profile=request.profile):
            warn(away)
        submit.write_runs(todo, store=request.store, keep=all_kept_steps(request.sweep.runs))
        folder = records.cluster_path(request.store.root) / DRY
        shutil.rmtree(folder, ignore_errors=True)
        site = submit.Site(store=request.store, profile=request.profile, code=code, folder=folder)
        groups = divide(chosen, profile=request.profile)
        unfinished = {run.id for run in todo}
        for number, group in enumerate(groups):
            token = f"{number:06d}-{DRY}"
            submit.write_array(group, site=site, token=token, unfinished=unfinished)
    paths = tuple(folder / f"{number:06d}-{DRY}" / records.SCRIPT for number in range(len(groups)))
    choice = Choice(submit=chosen, waiting=before)
    return LaunchResult(choice=choice, groups=groups, scripts=paths)


def check(request: LaunchRequest) -> None:
    """Raise ValueError for what would fail later: a store that can't be written to, or paths that
    scripts can't hold.
    """
    root = request.store.root
    if not root.is_absolute():
        raise ValueError(
            f"the store {root} is relative; legal: absolute, since jobs start elsewhere"
        )
    scripts.check_path(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"no store can be made at {root}: {error.strerror}") from None
    if not os.access(root, os.W_OK | os.X_OK):
        raise StoreError(f"the store {root} is read-only; legal: one that jobs can write to")


def refuse(runs: Sequence[Run], *, profile: Profile) -> None:
    """Raise ValueError for runs whose optimiser this profile's ZeRO stage rules out."""
    for kind, (_, execution) in profile.kinds.items():
        check_runs([run for run in runs if type(run).__name__ == kind], execution=execution)


def away_from(runs: Sequence[Run], *, profile: Profile) -> str:
    """Why runs could not be executed under this profile: they need sources which are not here, and
    its nodes have no network. Empty where they can.
    """
    found: list[str] = []
    for kind in kinds():
        mine = [run for run in runs if type(run).__name__ == kind]
        execution = profile.kinds[kind][1]
        if mine and execution.offline:
            from study.sources.content import Access  # takes numpy along
            from study.sources.fetch import lacking

            access = Access(data_dirs=execution.data_dirs, cache=execution.cache, offline=True)
            found += [word for word in lacking(mine, access=access) if word not in found]
    if not found:
        return ""
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return (
        f"the nodes of {profile.name} are offline and {len(found)} sources are not here: "
        f"{'; '.join(found[:SHOWN])}{more}; `study fetch` brings them (--cache, --data-dir)"
    )


def _cluster(store: Store) -> Path:
    path = records.cluster_path(store.root)
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise StoreError(f"no directory can be made at {path}: {error.strerror}") from None
    return path


def _alive(todo: Sequence[Run], *, view: View, slurm: Slurm) -> Mapping[str, str]:
    """Run id -> its job, of what is queued or at work. A sealed run that has to compute a
    checkpoint again may have a job too, and the view does not ask for those.
    """
    jobs = {name: job for name, job in view.jobs.items() if not job.ended}
    sealed = [
        place
        for run in todo
        if view.found[run.id].state == "done" and (place := view.placed.get(run.id)) is not None
    ]
    ids = {place.array.job_id for place in sealed if place.array.job_id is not None}
    known = slurm.jobs(ids) if ids else {}
    for place in sealed:
        job = known.get(place.job or "")
        if job is not None and not job.ended and job.name == place.array.name:
            jobs[place.task.run] = job
    return {run.id: jobs[run.id].id for run in todo if run.id in jobs}
