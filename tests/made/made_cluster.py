"""Commands as typed over a submitted sweep, SLURM's commands faked on PATH. Not a test module."""

import json
import os
import subprocess
import sys
from pathlib import Path

import made_runs as made
import pytest
from fake_slurm import FakeSlurm, queue_line

from study.launch.cluster import records
from study.launch.cluster.records import Array, Task
from study.runs.plan import load_sweep
from study.store.directory import Store

HERE = Path(__file__).parent


ROOT = HERE.parents[1]


STUDY = (
    sys.executable,
    "-c",
    "import sys; sys.argv[0] = 'study'; from study.cli import main; main()",
)


SWEEP = f"""\
\"\"\"Made runs.\"\"\"
import sys
sys.path.insert(0, {str(HERE)!r})
import made_runs as made
def runs():
    return made.tree()
"""


SLUGS = ("text", "mixture", "pretrain", "adapt", "finetune", "evaluation")


@pytest.fixture
def fake(tmp_path, monkeypatch):
    return FakeSlurm(tmp_path / "bin", monkeypatch=monkeypatch)


@pytest.fixture
def sweep(tmp_path):
    path = tmp_path / "made.py"
    path.write_text(SWEEP)
    return path


@pytest.fixture
def store(tmp_path, sweep):
    """All six runs were submitted as array 12, in the order of the plan; the corpora are done."""
    store = Store(tmp_path / "runs")
    runs = load_sweep(sweep).runs
    assert [run.slug for run in runs] == list(SLUGS)
    for run in runs:
        opened = store.open(run)
        if run.slug in ("text", "mixture"):
            opened.seal({})
    records.save(array_of(runs, store, job_id="12"), store.root)
    return store


def array_of(runs, store, *, job_id, token="000001-aaaaaa", released=True):
    tasks = tuple(
        Task(
            index=at,
            run=run.id,
            directory=store.directory(run).name,
            after=tuple(each.id for each in run.parents),
        )
        for at, run in enumerate(runs)
    )
    return Array(
        token=token,
        name=records.job_name(token),
        profile="tiny",
        code="c0de",
        tasks=tasks,
        job_id=job_id,
        released=released,
        submitted="2026-01-01T00:00:00+00:00",
    )


def queue_of(**states):
    """`squeue`'s lines: slug=("STATE", "Reason", "nodes")."""
    lines = []
    for at, slug in enumerate(SLUGS):
        if slug in states:
            state, reason, nodes = (*states[slug], "", "")[:3]
            lines.append(
                queue_line(
                    f"12_{at}", state, reason=reason, nodes=nodes, name="archstudy-000001-aaaaaa"
                )
            )
    return "".join(lines)


def run_of(slug):
    return next(run for run in made.tree() if run.slug == slug)


def run_study(*arguments, cwd=ROOT, **environment):
    return subprocess.run(
        [*STUDY, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"} | environment,
        timeout=120,
    )


def status_rows(sweep, store):
    answer = run_study("status", sweep, "--store", store.root, "--json")
    assert answer.returncode == 0, answer.stderr
    return {row["slug"]: row for row in json.loads(answer.stdout)}
