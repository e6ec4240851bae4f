"""On a real SLURM: what becomes of the descendants of a job that fails, and what is said of them.

The jobs are shell lines, so that only SLURM and `study.launch.cluster`'s view of it are tried.
"""

import time
import uuid
from dataclasses import replace

import made_runs as made
import pytest

from study.launch.cluster import records
from study.launch.cluster.records import Array, Task
from study.launch.cluster.slurm import Slurm
from study.launch.cluster.view import current_view
from study.store.directory import Store

SCHEDULER_SECONDS = 120.0
SLURM = Slurm()


@pytest.fixture
def submit(tmp_path, cluster, monkeypatch):
    """Submits a chain of one-task arrays, held, each after those of `after`; cancelled at last."""
    monkeypatch.setenv("SLURM_CONF", str(cluster.configuration))
    submitted = []

    def one(line, *, after=()):
        token = f"{len(submitted) + 1:06d}-{uuid.uuid4().hex[:6]}"
        script = tmp_path / f"{token}.sh"
        script.write_text(f"#!/bin/bash\n{line}\n")
        name = records.job_name(token)
        options = [
            "--hold",
            "--kill-on-invalid-dep=yes",
            "--array=0",
            f"--output={tmp_path}/%A.out",
        ]
        job = SLURM.submit(script, [*options, f"--job-name={name}"])
        submitted.append(job)
        if after:
            SLURM.set_dependency(f"{job}_0", [f"{parent}_0" for parent in after])
        return token, job

    yield one
    SLURM.cancel(submitted)


def _recorded(store, run, submitted):
    token, job = submitted
    store.open(run)
    array = Array(
        token=token,
        name=records.job_name(token),
        profile="p",
        code="c",
        tasks=(
            Task(
                index=0,
                run=run.id,
                directory=store.directory(run).name,
                after=tuple(each.id for each in run.parents),
            ),
        ),
        job_id=job,
        released=False,
        submitted="2026-01-01T00:00:00+00:00",
    )
    records.save(array, store.root)
    SLURM.release(job)
    records.save(replace(array, released=True), store.root)


def _until(wanted, runs, store):
    end = time.monotonic() + SCHEDULER_SECONDS
    while True:
        view = current_view(runs, store=store)
        states = [view.found[run.id].state for run in runs]
        if states == wanted:
            return view
        assert time.monotonic() < end, [(run.slug, view.found[run.id]) for run in runs]
        time.sleep(1)


def _chain():
    first = made.pretrain()
    second = made.adapt(first)
    return made.CORPUS, made.MIXTURE, first, second, made.finetune(second)


def _store(tmp_path):
    store = Store(tmp_path / "runs")
    for run in _chain()[:2]:
        store.open(run).seal({})
    return store


def test_children_and_grandchildren_of_a_failure_are_cancelled_with_the_reason(submit, tmp_path):
    store, runs = _store(tmp_path), _chain()
    parent = submit("sleep 1; exit 3")
    child = submit("true", after=[parent[1]])
    grandchild = submit("true", after=[child[1]])
    for run, job in zip(reversed(runs[2:]), (grandchild, child, parent), strict=True):
        _recorded(store, run, job)
    view = _until(["done", "done", "failed", "cancelled", "cancelled"], runs, store)
    words = [view.found[run.id].reason for run in runs[2:]]
    assert words[0].startswith("its job ended FAILED on ")
    assert "exit code 3:0" in words[0]
    assert words[1:] == ["because pretrain failed"] * 2
    jobs = SLURM.jobs([child[1], grandchild[1]])
    assert {job.reason for job in jobs.values()} == {"DependencyNeverSatisfied"}
    assert all(job.ended for job in jobs.values()), "none is left in the queue"


def test_a_parent_that_failed_before_its_child_was_submitted(submit, tmp_path):
    store, runs = _store(tmp_path), _chain()[:4]
    parent = submit("exit 3")
    _recorded(store, runs[2], parent)
    _until(["done", "done", "failed", "planned"], runs, store)
    _recorded(store, runs[3], submit("true", after=[parent[1]]))
    view = _until(["done", "done", "failed", "cancelled"], runs, store)
    assert view.found[runs[3].id].reason == "because pretrain failed"


def test_the_child_of_a_requeued_parent_waits_on(submit, tmp_path):
    store, runs = _store(tmp_path), _chain()[:4]
    parent = submit("sleep 120")
    child = submit("true", after=[parent[1]])
    for run, job in ((runs[3], child), (runs[2], parent)):
        _recorded(store, run, job)
    _until(["done", "done", "running", "queued"], runs, store)
    SLURM.requeue(f"{parent[1]}_0")
    view = _until(["done", "done", "queued", "queued"], runs, store)
    assert view.found[runs[2].id].job == f"{parent[1]}_0", "a requeued job keeps its id"
    assert view.found[runs[2].id].reason.startswith("requeued 1 x; ")
    time.sleep(5)
    assert current_view(runs, store=store).found[runs[3].id].reason == "waits for pretrain"
