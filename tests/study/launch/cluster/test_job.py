"""A job's side: the run of a directory, its exit code, and what it refuses to run."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import made_runs as made
import pytest

from study.launch.cluster import job, scripts
from study.runs.execution import Execution
from study.store.directory import Store, status
from study.store.lease import acquire

HERE = Path(__file__).parents[3] / "made"
HOME = Path(job.__file__).resolve().parents[3]


@pytest.fixture
def store(tmp_path):
    found = Store(tmp_path / "störe one")
    for corpus in (made.CORPUS, made.MIXTURE):
        found.prepare(corpus).seal({})
    return found


def _start(store, run, *options):
    directory = store.prepare(run).path
    execution = store.root / "execution.json"
    execution.write_text(scripts.execution_json(Execution()))
    command = [sys.executable, str(HERE / "made_job.py"), str(directory), str(execution), *options]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(HOME)},
    )


def _run(store, run, *options):
    process = _start(store, run, *options)
    output = process.communicate(timeout=60)[0]
    return process.returncode, output


def test_a_run_is_done_with_its_log_and_the_kept_checkpoints(store):
    run = made.pretrain("ok-1")
    store.prepare(run).keep([1])
    code, output = _run(store, run)
    assert code == 0, output
    assert status(run, store) == "done"
    assert store.existing(run).steps() == [1]
    assert "ok-1: event=step" in output
    assert "done: ok-1" in output
    assert "ok-1" in store.existing(run).log.read_text()
    assert _run(store, run)[0] == 0


def test_a_failure_is_noted_as_a_local_workers_is(store):
    run = made.pretrain("fail-1")
    code, output = _run(store, run)
    assert code == 1
    assert store.existing(run).failure() == "ValueError: this run was told to fail"
    assert "Traceback" in store.existing(run).log.read_text()
    assert "failed: fail-1" in output


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_signal_leaves_a_checkpoint_and_the_exit_code_that_queues_again(store, number):
    run = made.pretrain("slow-1")
    process = _start(store, run)
    events = store.directory(run) / "events.jsonl"
    end = time.monotonic() + 30
    while not (events.exists() and len(events.read_text().splitlines()) > 3):
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(number)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 75, output
    assert store.existing(run).latest() == len(events.read_text().splitlines())
    assert status(run, store) == "interrupted"


def test_a_run_held_by_another_process_is_3(store):
    run = made.pretrain("ok-1")
    with acquire(store.prepare(run).path):
        code, output = _run(store, run)
    assert code == 3
    assert f"process {os.getpid()}" in output


def test_other_code_than_what_was_submitted_is_refused(store, tmp_path):
    run = made.pretrain("ok-1")
    code, output = _run(store, run, "--code", str(tmp_path))
    assert code == 2
    assert str(tmp_path) in output
    assert str(HOME) in output
    assert status(run, store) == "planned"
    assert _run(store, run, "--code", str(HOME))[0] == 0


def test_a_directory_that_is_not_its_runs_own_is_refused(store):
    run = made.pretrain("ok-1")
    other = store.prepare(made.pretrain("ok-2", seed=2)).path
    (other / "run.yaml").write_bytes((store.prepare(run).path / "run.yaml").read_bytes())
    with pytest.raises(ValueError, match="a run directory's own"):
        job.execute_directory(other, execution=Path("x"), code=None, executors={})
    with pytest.raises(ValueError, match=r"no run\.yaml"):
        job.execute_directory(store.root, execution=Path("x"), code=None, executors={})


def test_the_command_ends_with_2_on_a_bad_directory(tmp_path):
    command = [sys.executable, "-m", "study.cli", "job", str(tmp_path), "--execution", "x.json"]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=HOME)
    assert answer.returncode == 2
    assert "no run.yaml" in answer.stderr


def test_an_execution_of_other_code_is_refused(store):
    run = made.pretrain("ok-1")
    path = store.root / "execution.json"
    _run(store, run)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"surprise": 1}))
    with pytest.raises(ValueError, match="surprise"):
        scripts.read_execution(path)
