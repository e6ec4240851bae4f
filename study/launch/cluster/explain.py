"""Why a run is in its state: everything that says something about it, in one place.

Owns gathering and layout. The state itself is `study.launch.cluster.reconcile`'s; nothing is
changed here. No torch.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from study.launch.cluster.records import output_path
from study.launch.cluster.slurm import Slurm
from study.launch.cluster.view import SHORT_WAIT, View, current_view
from study.runs.node import Run
from study.runs.plan import Sweep
from study.show import terminal
from study.store.directory import RunDirectory, Store
from study.store.lease import holder_of, is_stale
from study.store.publish import CorruptError, verify

TAIL_LINES = 15
TAIL_BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """checkpoints: step -> `good` or what is wrong. slurm: in words. command: to repeat it by hand.

    parents: slug -> state and reason. log, output: last lines of the run's log and of what SLURM
    kept of its job.
    """

    slug: str
    id: str
    kind: str
    state: str
    reason: str
    directory: str
    checkpoints: dict[str, str]
    kept: tuple[int, ...]
    done: dict[str, Any] | None
    failure: str | None
    lease: str
    slurm: str
    job: dict[str, Any] | None
    parents: dict[str, str]
    command: str
    log: tuple[str, ...]
    output: tuple[str, ...]


def explain(sweep: Sweep, *, store: Store, slurm: Slurm = SHORT_WAIT) -> Explanation:
    """The one run that the sweep declares, as `study explain SWEEP:RUN` loads it."""
    if len(sweep.declared) != 1:
        slugs = ", ".join(run.slug for run in sweep.runs[:10])
        raise ValueError(f"{sweep.path} has {len(sweep.runs)} runs; name one, PATH:SLUG: {slugs}")
    run = sweep.declared[0]
    name = run.id
    view = current_view(sweep.runs, store=store, slurm=slurm)
    directory = RunDirectory(store.directory(run))
    place = view.placed.get(name)
    output = output_path(store.root, place) if place else None
    job = view.jobs.get(name)
    return Explanation(
        slug=run.slug,
        id=name,
        kind=type(run).__name__,
        state=view.found[name].state,
        reason=view.found[name].reason,
        directory=str(directory.path),
        checkpoints={str(step): _verdict(directory, step) for step in directory.steps()},
        kept=directory.kept(),
        done=directory.done(),
        failure=directory.failure(),
        lease=_lease(directory.path),
        slurm=_slurm(name, view),
        job=asdict(job) if job else None,
        parents={parent.slug: _parent(parent, view) for parent in run.parents},
        command=_command(directory.path, sweep, run, store=store),
        log=_tail(directory.log),
        output=_tail(output) if output else (),
    )


def show(found: Explanation, *, as_json: bool) -> None:
    """Print it: the answer first, then the evidence."""
    if as_json:
        terminal.values(found)
        return
    print(f"{found.slug} ({found.kind} {found.id[:12]}) is {found.state}")
    if found.reason:
        print(f"  {found.reason}")
    checkpoints = [f"{step} {verdict}" for step, verdict in found.checkpoints.items()]
    lines = {
        "directory": found.directory,
        "checkpoints": ", ".join(checkpoints) or "none",
        "kept for children": ", ".join(map(str, found.kept)) or "none",
        "done.json": "there" if found.done is not None else "not there",
        "failed.json": found.failure or "not there",
        "lease": found.lease,
        "SLURM": found.slurm,
        "by hand": found.command,
    }
    print()
    for name, text in lines.items():
        print(f"  {name:17}  {text}")
    for slug, state in found.parents.items():
        print(f"  {'needs':17}  {slug}: {state}")
    for title, tail in (("log", found.log), ("SLURM's output", found.output)):
        if tail:
            print(f"\nlast lines of the {title}:" if title == "log" else f"\n{title}:")
            print("\n".join(f"  {line}" for line in tail))


def _verdict(directory: RunDirectory, step: int) -> str:
    try:
        verify(directory.checkpoint_path(step))
    except CorruptError as error:
        return f"corrupt ({error})"
    return "good"


def _lease(path: Path) -> str:
    holder = holder_of(path) if path.is_dir() else None
    if holder is None:
        return "free"
    return f"stale: {holder}" if is_stale(holder) else f"held by {holder}"


def _slurm(name: str, view: View) -> str:
    job = view.jobs.get(name)
    found = view.found[name]
    if name not in view.placed:
        return "never submitted"
    if view.no_answer is not None:
        return f"silent ({view.no_answer})"
    if job is None and found.state == "done":
        return f"not asked: sealed (job {found.job})" if found.job else "not asked: sealed"
    if found.job is None:
        return "has no job of that name: the submission did not arrive"
    if job is None:
        return f"has forgotten job {found.job}"
    facts = {
        "reason": job.reason,
        "nodes": job.node_list,
        "depends on": job.dependency,
        "restarts": str(job.restarts or ""),
        "exit code": "" if job.exit_code in (None, "0:0") else job.exit_code,
    }
    rest = "".join(f", {key} {value}" for key, value in facts.items() if value)
    return f"job {job.id} {job.state}{rest}"


def _parent(parent: Run, view: View) -> str:
    found = view.found[parent.id]
    return f"{found.state} ({found.reason})" if found.reason else found.state


def _command(path: Path, sweep: Sweep, run: Run, *, store: Store) -> str:
    script = path / "job.sh"
    if script.exists():
        return shlex.join(["sbatch", str(script)])
    target = str(sweep.path) if sweep.module is None else f"{sweep.path}:{run.slug}"
    return shlex.join(["study", "run", target, "--store", str(store.root)])


def _tail(path: Path) -> tuple[str, ...]:
    """Last lines of a text file; carriage returns of progress bars end a line too."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ()
    lines = [line.rstrip() for line in text.splitlines() if line.strip()][-TAIL_LINES:]
    return tuple("".join(c if c.isprintable() else " " for c in line) for line in lines)
