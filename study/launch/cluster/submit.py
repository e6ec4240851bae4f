"""Runs onto SLURM: files, `sbatch`, dependencies, release, each step recorded before and after.

Owns the order that makes a launch safe to kill between any two lines and to repeat:

1. what an earlier launch left is completed: its job is looked for by its unique name;
2. files of runs and arrays are written, then the record without a job;
3. `sbatch --hold`, then the record with the job;
4. dependencies, `scontrol release`, then the record as released.

So a job either is in a record or can be found by the name that a record has, and nothing starts
before all that it waits for is known. Who launches holds the lease of `<store>/cluster`. What is
submitted is `study.launch.cluster.choose`'s choice; it is divided into one array for each layer of
the tree and class of resources, under a cap. No torch.
"""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from study.launch.cluster import records, scripts
from study.launch.cluster.choose import waits_for
from study.launch.cluster.profile import Profile, Resources
from study.launch.cluster.records import Array, Task
from study.launch.cluster.slurm import Job, Refused, Slurm
from study.launch.cluster.snapshot import code_path
from study.runs.execution import Execution
from study.runs.node import Run
from study.store.directory import WRITERS, RunDirectory, Store
from study.store.publish import publish_file

EXECUTION = "execution.json"


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where a launch writes and with what. folder: below which the arrays' directories lie."""

    store: Store
    profile: Profile
    code: str
    folder: Path


def write_runs(runs: Iterable[Run], *, store: Store, keep: Mapping[str, tuple[int, ...]]) -> None:
    """The directory of each run, with the checkpoints that must stay."""
    runs = list(runs)
    directories = store.prepare_all(runs)

    def ask(run: Run, directory: RunDirectory) -> None:
        directory.keep(keep.get(run.id, ()))

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(ask, runs, directories))


def write_array(group: Group, *, site: Site, token: str, unfinished: Set[str]) -> Array:
    """The files of an array and of its runs' jobs; the array as it is recorded before sbatch."""
    directory = site.folder / token
    directory.mkdir(parents=True)
    code = code_path(site.store.root, site.code)
    publish_file(directory / EXECUTION, scripts.execution_json(group.execution).encode())
    paths = [site.store.directory(run) for run in group.runs]

    def write(run: Run, path: Path) -> None:
        job = scripts.Job(run=run, directory=path, code=code, execution=directory / EXECUTION)
        publish_file(path / "job.sh", scripts.job_script(job, profile=site.profile).encode())

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, group.runs, paths))
    publish_file(directory / records.TASKS, "".join(f"{path}\n" for path in paths).encode())
    name = records.job_name(token)
    script = scripts.array_script(
        resources=group.resources,
        name=name,
        directory=directory,
        code=code,
        throttle=site.profile.site.throttle,
        tasks=len(paths),
    )
    publish_file(directory / records.SCRIPT, script.encode())
    return Array(
        token=token,
        name=name,
        profile=site.profile.name,
        code=site.code,
        tasks=tuple(
            Task(
                index=index,
                run=run.id,
                directory=path.name,
                after=waits_for(run, unfinished=unfinished),
            )
            for index, (run, path) in enumerate(zip(group.runs, paths, strict=True))
        ),
        job_id=None,
        released=False,
        submitted=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def submit(
    groups: Sequence[Group], *, site: Site, slurm: Slurm, unfinished: Set[str]
) -> tuple[Array, ...]:
    """Submit the groups (upper layers first), held, and release them when all are there.

    unfinished: ids that children wait for. Raises Unanswered where SLURM falls silent, and Refused
    with its reason; what was submitted until then is complete or is completed by the next launch.
    """
    submitted: list[Array] = []
    try:
        for group in groups:
            token = records.new_token(site.store.root)
            array = write_array(group, site=site, token=token, unfinished=unfinished)
            records.save(array, site.store.root)
            submitted.append(_send(array, site.store, slurm))
    except Refused:
        shutil.rmtree(records.array_path(site.store.root, token), ignore_errors=True)
        complete(submitted, store=site.store, slurm=slurm)
        raise
    return complete(submitted, store=site.store, slurm=slurm)


def recover(*, store: Store, slurm: Slurm, warn: Callable[[str], None]) -> tuple[Array, ...]:
    """Finish what earlier launches left between two steps; the arrays that were completed."""
    for path in records.unsubmitted(store.root):
        shutil.rmtree(path, ignore_errors=True)
    left: list[Array] = []
    for array in records.load_all(store.root):
        if array.released:
            continue
        if array.job_id is None:
            job = slurm.find(array.name)
            if job is None:  # sbatch was never reached: nothing is there to complete
                shutil.rmtree(records.array_path(store.root, array.token))
                continue
            array = replace(array, job_id=job)
            records.save(array, store.root)
        left.append(array)
    if left:
        warn(f"completing {len(left)} arrays that an earlier launch left held")
    return complete(left, store=store, slurm=slurm)


def complete(arrays: Sequence[Array], *, store: Store, slurm: Slurm) -> tuple[Array, ...]:
    """Set what the tasks wait for, take the hold off, children before their parents, record it."""
    if not arrays:
        return ()
    placed = records.newest(records.load_all(store.root))
    tasks = [task for array in arrays for task in array.tasks]
    parents = {name: placed[name] for task in tasks for name in task.after if name in placed}
    fresh = {array.token for array in arrays}
    older = {p.array.job_id for p in parents.values() if p.array.token not in fresh}
    known = slurm.jobs([job for job in older if job is not None])
    doomed: list[str] = []

    def awaited(name: str) -> str | None:
        """The job that has to end well first; None where the run is done; raises LookupError."""
        place = parents.get(name)
        if place is not None and place.job is not None:
            job = known.get(place.job)
            if place.array.token in fresh or _alive(job, place.array):
                return place.job
            if RunDirectory(store.root / place.task.directory).done() is not None:
                return None
        raise LookupError(name)

    for array in arrays:
        alike: dict[tuple[str, ...], list[int]] = {}
        for task in array.tasks:
            try:
                jobs = tuple(job for name in task.after if (job := awaited(name)) is not None)
            except LookupError:
                doomed.append(f"{array.job_id}_{task.index}")
                continue
            if jobs:
                alike.setdefault(jobs, []).append(task.index)
        for jobs, indices in alike.items():
            _depend(array, indices, jobs, slurm)
    if doomed:
        slurm.cancel(doomed)
    finished = []
    for array in reversed(arrays):
        _release(array, slurm)
        array = replace(array, released=True)
        records.save(array, store.root)
        finished.append(array)
    return tuple(reversed(finished))


def _alive(job: Job | None, array: Array) -> bool:
    """SLURM counts anew after an installation: the name tells whose job it is."""
    return job is not None and not job.ended and job.name == array.name


def _send(array: Array, store: Store, slurm: Slurm) -> Array:
    script = records.array_path(store.root, array.token) / records.SCRIPT
    options = [f"--job-name={array.name}", "--hold", "--kill-on-invalid-dep=yes"]
    job = slurm.submit(script, options)
    array = replace(array, job_id=job)
    records.save(array, store.root)
    return array


def _depend(array: Array, indices: Sequence[int], jobs: Sequence[str], slurm: Slurm) -> None:
    try:
        for part in _spans(indices):
            slurm.set_dependency(f"{array.job_id}_{part}", jobs)
    except Refused:
        pending = [index for index in indices if index in _pending(array, slurm)]
        if pending == list(indices):
            raise
        for index in pending:  # somebody cancelled the others while they were held
            slurm.set_dependency(f"{array.job_id}_{index}", jobs)


def _release(array: Array, slurm: Slurm) -> None:
    assert array.job_id is not None
    try:
        slurm.release(array.job_id)
    except Refused:
        if _pending(array, slurm):
            raise


def _pending(array: Array, slurm: Slurm) -> set[int]:
    assert array.job_id is not None
    jobs = slurm.jobs([array.job_id])
    names = {f"{array.job_id}_{task.index}": task.index for task in array.tasks}
    return {index for name, index in names.items() if name in jobs and jobs[name].pending}


def _spans(indices: Sequence[int]) -> Iterator[str]:
    """Array indices in SLURM's short form, `[0-3,7]`, in parts that a command line takes."""
    spans: list[tuple[int, int]] = []
    for index in sorted(indices):
        if spans and spans[-1][1] == index - 1:
            spans[-1] = (spans[-1][0], index)
        else:
            spans.append((index, index))
    words = [str(low) if low == high else f"{low}-{high}" for low, high in spans]
    for at in range(0, len(words), 100):
        part = ",".join(words[at : at + 100])
        yield part if part.isdigit() else f"[{part}]"


@dataclass(frozen=True, kw_only=True)
class Group:
    """The runs of one array. layer: how many submitted runs lie above each of them, in a line."""

    layer: int
    resources: Resources
    execution: Execution
    runs: tuple[Run, ...]


def divide(runs: Iterable[Run], *, profile: Profile) -> tuple[Group, ...]:
    """The runs (parents before children) in groups, upper layers first; no dependency lies within
    a group.
    """
    depth: dict[str, int] = {}
    alike: dict[tuple[int, Resources, Execution], list[Run]] = {}
    for run in runs:
        above = [depth[each.id] for each in run.parents if each.id in depth]
        layer = depth[run.id] = max(above, default=-1) + 1
        alike.setdefault((layer, *profile.of(run)), []).append(run)
    cap = profile.site.array_cap
    return tuple(
        Group(layer=layer, resources=resources, execution=execution, runs=tuple(part))
        for (layer, resources, execution), members in sorted(
            alike.items(), key=lambda item: item[0][0]
        )
        for part in (members[at : at + cap] for at in range(0, len(members), cap))
    )
