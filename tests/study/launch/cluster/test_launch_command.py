"""`study launch` as a process, with SLURM's commands as executables on PATH."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_slurm import Controller

from study.launch.cluster import records
from study.store.lease import acquire

HERE = Path(__file__).parents[3] / "made"
HOME = HERE.parents[1]
SWEEP = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
import made_runs as made
def runs():
    return [made.pretrain()]
"""


@pytest.fixture
def place(tmp_path):
    (tmp_path / "sweep.py").write_text(SWEEP)
    (tmp_path / "small.toml").write_text('memory = "2G"\ntime = "1:00:00"\n')
    binaries = tmp_path / "bin"
    binaries.mkdir()
    made = [sys.executable, str(HERE / "made_slurm.py"), str(tmp_path / "slurm.json")]
    for name in ("sbatch", "squeue", "scontrol", "scancel"):
        # a command that finds a file of its name waits after its work, as if its answer were slow
        (binaries / name).write_text(
            f'#!/bin/sh\n{shlex.join(made)} {name} "$@"\ncode=$?\n'
            f"if [ -e '{tmp_path}/slow-{name}' ]; then sleep 20; fi\nexit $code\n"
        )
        (binaries / name).chmod(0o755)
    return tmp_path


def _start(place, *options):
    command = [sys.executable, "-m", "study.cli", "launch", str(place / "sweep.py")]
    options = ("--cluster", str(place / "small.toml"), "--store", str(place / "my störe"), *options)
    return subprocess.Popen(
        [*command, "--allow-dirty", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=HOME,
        env=os.environ | {"PATH": f"{place}/bin:{os.environ['PATH']}", "STUDY_LEASE_SECONDS": "2"},
        start_new_session=True,
    )


def _launch(place, *options):
    process = _start(place, *options)
    output, errors = process.communicate(timeout=60)
    return process.returncode, output, errors


def _tasks(place):
    arrays = Controller(place / "slurm.json").arrays()
    return sorted(len(array["tasks"]) for array in arrays.values()), arrays


def test_a_launch_says_what_it_submitted_and_a_second_has_nothing_to_do(place):
    code, output, errors = _launch(place)
    assert code == 0, errors
    assert "2 runs submitted" in output
    code, output, _ = _launch(place, "--json")
    assert code == 0
    said = json.loads(output)
    assert said["arrays"] == said["failed"] == []
    assert [left["run"] for left in said["waiting"]] == ["text", "pretrain"]
    assert _tasks(place)[0] == [1, 1]


def test_a_rehearsal_needs_no_slurm(place):
    for name in ("sbatch", "squeue", "scontrol", "scancel"):
        (place / "bin" / name).write_text("#!/bin/sh\nexit 99\n")
    code, output, errors = _launch(place, "--dry-run")
    assert code == 0, errors
    assert "2 runs written, not submitted" in output
    scripts = list((place / "my störe").glob("*--*/job.sh"))
    assert len(scripts) == 2


@pytest.mark.slow
def test_where_slurm_is_silent_nothing_is_submitted_and_the_code_is_75(place):
    controller = Controller(place / "slurm.json")
    controller.expect("sbatch", *["down"] * 4)
    process = _start(place)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 75
    assert "Unable to contact slurm controller" in errors
    assert "start the same command again" in errors
    assert controller.arrays() == {}
    assert _launch(place)[0] == 0
    assert _tasks(place)[0] == [1, 1]


def test_a_second_launcher_at_once_is_refused_with_3(place):
    cluster = records.cluster_path(place / "my störe")
    cluster.mkdir(parents=True)
    with acquire(cluster):
        code, _, errors = _launch(place)
    assert code == 3
    assert f"process {os.getpid()}" in errors


@pytest.mark.parametrize("command", ["sbatch", "scontrol"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_launcher_that_is_stopped_before_an_answer_is_completed_by_the_next(
    place, command, number
):
    """SIGINT reaches the command too, as on a terminal."""
    controller = Controller(place / "slurm.json")
    slow = place / f"slow-{command}"
    slow.touch()
    process = _start(place)
    end = time.monotonic() + 30
    while not controller.calls(command):
        assert time.monotonic() < end
        time.sleep(0.05)
    time.sleep(0.3)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.kill()
    errors = process.communicate(timeout=60)[1]
    slow.unlink()
    if number == signal.SIGINT:
        assert process.returncode == 75, errors
        assert "start the same command again" in errors
    code, output, errors = _launch(place)
    assert code == 0, errors
    sizes, arrays = _tasks(place)
    assert sizes == [1, 1], output
    assert not any(array["held"] for array in arrays.values())
    parents = [task["depends"] for array in arrays.values() for task in array["tasks"].values()]
    assert sorted(map(len, parents)) == [0, 1]


def test_an_unknown_profile_is_bad_input(place):
    code, _, errors = _launch(place, "--cluster", "nowhere")
    assert code == 2
    assert "no profile 'nowhere'" in errors
