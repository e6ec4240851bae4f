"""What is known of a sweep's runs at this moment: their files, their newest jobs, SLURM's answer.

Owns gathering; what follows from it is `study.launch.cluster.reconcile`. Changes nothing, here or
in SLURM. No torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from study.launch.cluster.reconcile import Files, NoAnswer, Parent, Reconciled, reconcile
from study.launch.cluster.records import Array, Placed, load_all, newest
from study.launch.cluster.slurm import Job, Slurm, Unanswered
from study.runs.node import Run
from study.store.directory import RunDirectory, State, Store
from study.store.lease import holder_of

SHORT_WAIT = Slurm(seconds=20.0, attempts=2, pause=1.0)
"""For commands that only look: silence is an answer, so that patience would only cost time."""


@dataclass(frozen=True, kw_only=True)
class View:
    """By run id. no_answer: why SLURM does not answer, or None. placed: only runs with a job."""

    found: dict[str, Reconciled]
    placed: dict[str, Placed]
    jobs: dict[str, Job]
    no_answer: str | None


def current_view(
    runs: Sequence[Run],
    *,
    store: Store,
    slurm: Slurm = SHORT_WAIT,
    sealed: Literal["skip", "ask"] = "skip",
) -> View:
    """Every run's state. runs: parents first, as a plan has them.

    sealed: whether SLURM is asked for the jobs of sealed runs too, which may be computing a
    checkpoint again. Their state does not depend on it, and a large finished study has many.
    """
    mine = {run.id for run in runs}
    placed = {name: place for name, place in newest(load_all(store.root)).items() if name in mine}
    before = store.statuses(runs) if sealed == "skip" else {}
    asked = {name: place for name, place in placed.items() if before.get(name) != "done"}
    jobs, no_answer = _jobs(asked, slurm=slurm)
    # Files are read after SLURM has answered: a job that ended before has sealed its run by now.
    states = store.statuses(runs)
    files = {run.id: read_files(run, state=states[run.id], store=store) for run in runs}
    found: dict[str, Reconciled] = {}
    for run in runs:
        name = run.id
        parents = tuple(_parent(each, found[each.id]) for each in run.parents)
        seen = NoAnswer(why=no_answer) if no_answer is not None else jobs.get(name)
        place = placed.get(name)
        found[name] = reconcile(files[name], placed=place, seen=seen, parents=parents)
    return View(found=found, placed=placed, jobs=jobs, no_answer=no_answer)


def _parent(run: Run, found: Reconciled) -> Parent:
    because = found.reason if found.cancelled_by == "slurm" else None
    return Parent(slug=run.slug, state=found.state, because=because)


def has_records(store: Store) -> bool:
    """Whether anything of this store was ever submitted."""
    return bool(load_all(store.root))


def read_files(run: Run, *, state: State, store: Store) -> Files:
    """What the run's directory says beside its state."""
    if state in ("planned", "done"):
        return Files(state=state)
    directory = RunDirectory(store.directory(run))
    return Files(
        state=state,
        failure=directory.failure(),
        holder=holder_of(directory.path),
        step=max(directory.steps(), default=0),
    )


def _jobs(placed: dict[str, Placed], *, slurm: Slurm) -> tuple[dict[str, Job], str | None]:
    """(run id -> its newest job where SLURM knows it, why SLURM is silent)."""
    arrays = {place.array.token: place.array for place in placed.values()}
    try:
        ids = {token: _id(array, slurm=slurm) for token, array in arrays.items()}
        since = min((array.submitted for array in arrays.values()), default=None)
        jobs = slurm.jobs((found for found in ids.values() if found), since=since)
    except Unanswered as error:
        return {}, str(error)
    found: dict[str, Job] = {}
    for name, place in placed.items():
        array = replace(place.array, job_id=ids[place.array.token])
        job = jobs.get(replace(place, array=array).job or "")
        # SLURM counts from the beginning after an installation: the name tells whose job it is
        if job is not None and job.name == array.name:
            found[name] = job
    return found, None


def _id(array: Array, *, slurm: Slurm) -> str | None:
    """The array's job id, looked for by its name where the answer of sbatch was lost."""
    return array.job_id or slurm.find(array.name)
