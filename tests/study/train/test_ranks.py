"""Ranks that find each other, agree, fail together and leave nobody behind."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import tiny_runs
from made_ranks import RECIPES, start_ranks

from study.launch.cluster.scripts import execution_json
from study.runs.execution import Execution, check_runs
from study.store.directory import Store, status
from study.store.events import read_curve
from study.train.ranks import Place, place, single_process
from study.train.rendezvous import RendezvousError, addresses, join
from study.train.signals import EXIT_CODE
from study.train.work import execute

HERE = Path(__file__).parents[2] / "made"
MADE = HERE / "made_failures.py"
ENDS = HERE / "made_rank_ends.py"


def test_the_environment_says_which_rank_this_is():
    torch = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "0"}
    slurm = {"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1"}
    meeting = {"STUDY_RENDEZVOUS": "/somewhere"}
    assert place({}) is None
    assert place(slurm) is None, "a job of one process under srun is a process of its own"
    assert place(meeting | torch) == Place(rank=1, world=4, local_rank=0)
    assert place(meeting | slurm) == Place(rank=3, world=4, local_rank=1)
    assert place(meeting | slurm | torch) == Place(rank=1, world=4, local_rank=0)
    for wrong in (meeting, meeting | {"RANK": "1"}, meeting | torch | {"WORLD_SIZE": "1"}):
        with pytest.raises(ValueError, match="legal: "):
            place(wrong)


def test_one_process_agrees_with_itself():
    ranks = single_process()
    assert ranks.first
    assert ranks.any(True)
    assert not ranks.any(False)
    assert ranks.broadcast({"step": 3}) == {"step": 3}
    assert ranks.sum(0.1, 2.0) == (0.1, 2.0)


def test_rank_0_names_who_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_RENDEZVOUS_SECONDS", "1")
    with (
        pytest.raises(RendezvousError) as caught,
        join(Place(rank=0, world=3), directory=tmp_path, device="cpu"),
    ):
        pass
    message = str(caught.value)
    assert "rank 1, 2 of 3 did not join within 1 s" in message
    assert os.uname().nodename in message
    assert all(address in message for address in addresses())


def test_another_rank_names_the_file_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_RENDEZVOUS_SECONDS", "1")
    with (
        pytest.raises(RendezvousError, match=r"rank 1 of 2 .* within 1 s; .*rendezvous.*not there"),
        join(Place(rank=1, world=2), directory=tmp_path, device="cpu"),
    ):
        pass


def test_another_rank_names_the_addresses_that_it_tried(tmp_path, monkeypatch):
    """Nobody listens at the first, a stranger at the second, and the third has no address."""
    monkeypatch.setenv("STUDY_RENDEZVOUS_SECONDS", "1")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    content = {
        "token": "x",
        "host": "gone",
        "port": port,
        "addresses": ["127.0.0.1", "no-such-host.invalid"],
    }
    (tmp_path / "rendezvous-0-0-0.json").write_text(json.dumps(content))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with (
        pytest.raises(RendezvousError) as caught,
        join(Place(rank=1, world=2), directory=tmp_path, device="cpu"),
    ):
        pass
    for address in content["addresses"]:
        assert f"{address} port {port}" in str(caught.value)


def _ends(processes, *, seconds):
    """(exit codes, what each printed), after at most so long."""
    until = time.monotonic() + seconds
    said = [one.communicate(timeout=max(until - time.monotonic(), 1))[0] for one in processes]
    return [one.returncode for one in processes], said


@pytest.mark.parametrize("how", ["raise", "kill", "interrupt", "hang", "late", "none"])
def test_ranks_end_together(tmp_path, how):
    """Rank 1 fails while rank 0 waits for it in a collective, on top of a stale rendezvous."""
    stale = {"token": "x", "host": "gone", "port": 1, "addresses": ["127.0.0.1"]}
    (tmp_path / "rendezvous-0-0-0.json").write_text(json.dumps(stale))
    processes = start_ranks(2, [MADE, how, tmp_path / "failing"], directory=tmp_path)
    until = time.monotonic() + 60
    while not (tmp_path / "failing").exists() and time.monotonic() < until:
        time.sleep(0.05)
    begun = time.monotonic()
    codes, said = _ends(processes, seconds=30)
    assert time.monotonic() - begun < 10
    match how:
        case "raise":
            assert codes == [1, 1]
            assert "RankFailed: rank 1" in said[0]
            assert "ValueError: bad row" in said[0]
        case "kill":
            assert codes[0] == 1
            assert codes[1] == -signal.SIGKILL
        case "interrupt":
            assert codes == [EXIT_CODE, EXIT_CODE]
        case "hang":  # what rank 0 can't raise it leaves in words
            assert codes == [1, 1]
            assert "rank 1" in (tmp_path / "failing.failed").read_text()
            assert "ValueError: bad row" in (tmp_path / "failing.failed").read_text()
        case "late":
            assert codes == [EXIT_CODE, EXIT_CODE], said
            assert (tmp_path / "failing.saved").exists()
            assert not (tmp_path / "failing.failed").exists()
        case "none":
            assert codes == [0, 0], said


def test_what_flat_slices_would_compute_otherwise_is_refused():
    run = tiny_runs.pretrain(3)
    for name, recipe in RECIPES.items():
        other = replace(run, training=replace(run.training, optimizer=recipe))
        check_runs([run, other], execution=Execution(ranks=2, zero=0))
        check_runs([run, other], execution=Execution())
        for zero in (1, 2, 3):
            with pytest.raises(ValueError, match=rf"{name}.*zero is {zero}.*legal: zero 0"):
                check_runs([run, other], execution=Execution(ranks=2, zero=zero))
            check_runs([run], execution=Execution(ranks=2, zero=zero))
    with pytest.raises(ValueError, match="compile"):
        check_runs([run], execution=Execution(zero=3, compile="on"))
    for wrong in ({"ranks": 2}, {"ranks": 0}, {"zero": 4}, {"ranks": 2, "device": "cuda:1"}):
        with pytest.raises(ValueError, match=r"legal|positive"):
            Execution(**({"zero": 1} if "device" in wrong else {}) | wrong)


SWEEP = """
import sys
sys.path.insert(0, {here!r})
import tiny_runs
def runs():
    return [tiny_runs.TEXT, tiny_runs.pretrain({steps})]
"""


class Study:
    """`study run` on a sweep of one pretraining."""

    def __init__(self, root, steps):
        self.root, self.run = root, tiny_runs.pretrain(steps)
        (root / "sweep.py").write_text(SWEEP.format(here=str(HERE), steps=steps))
        self.store = Store(root / "runs")

    def start(self, *options):
        command = [sys.executable, "-m", "study.cli", "run", "sweep.py", "--wandb", "off"]
        return subprocess.Popen(
            [*command, "--workers", "1", "--threads", "1", *options],
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def directory(self):
        return self.store.existing(self.run)

    def curve(self):
        return read_curve(self.directory.events)

    def wait_for_steps(self, process, *, seconds=90):
        """Until the run has written events of its steps."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and process.poll() is None:
            path = self.store.directory(self.run)
            if (path / "run.yaml").exists() and len(self.curve().steps) > 3:
                return
            time.sleep(0.1)
        raise AssertionError(f"no step in {seconds} s: {process.communicate()[0]}")

    def below(self, process):
        return psutil.Process(process.pid).children(recursive=True)


def _rank_processes(processes):
    return [one for one in processes if one.is_running() and "rank" in one.cmdline()]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A root whose corpus is built."""
    root = tmp_path_factory.mktemp("built")
    execute(tiny_runs.TEXT, store=Store(root), execution=tiny_runs.execution())
    return root


@pytest.fixture
def study(built, tmp_path):
    shutil.copytree(built, tmp_path / "runs")
    return lambda steps: Study(tmp_path, steps)


@pytest.mark.slow
def test_a_signal_stops_all_ranks_and_one_process_goes_on(study, built):
    """Two ranks under ZeRO 2, stopped in the middle; plain torch finishes their run."""
    tiny = study(400)
    process = tiny.start("--ranks", "2", "--zero", "2")
    tiny.wait_for_steps(process)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == EXIT_CODE, said
    steps = tiny.directory.checkpoints()
    assert len(steps) == 1
    names = {path.name for path in tiny.directory.checkpoint(steps[0]).iterdir()}
    assert {"optimizer-00000-of-00002.safetensors", "optimizer-00001-of-00002.safetensors"} < names
    first = len(tiny.curve().steps)
    assert steps[0] == first < 400
    process = tiny.start()
    assert process.wait(90) == 0
    unbroken = Store(tiny.root / "unbroken")
    shutil.copytree(built, unbroken.root)
    execute(tiny.run, store=unbroken, execution=tiny_runs.execution())
    ours, theirs = tiny.curve().steps, read_curve(unbroken.existing(tiny.run).events).steps
    assert [event["digest"] for event in ours] == [event["digest"] for event in theirs]
    seals = [one.existing(tiny.run).done() for one in (tiny.store, unbroken)]
    assert seals[0]["data"] == seals[1]["data"]
    # Rounding grows with the steps; a lost moment or a wrong count would show at once.
    for one, other in zip(ours, theirs, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-2)


@pytest.mark.slow
def test_a_killed_rank_ends_the_run_at_once_with_its_reason(study):
    tiny = study(20000)
    process = tiny.start("--ranks", "2", "--zero", "1")
    tiny.wait_for_steps(process)
    [victim] = _rank_processes(tiny.below(process))
    victim.kill()
    begun = time.monotonic()
    said = process.communicate(timeout=60)[0]
    assert time.monotonic() - begun < 15
    assert process.returncode == 1
    assert "rank 1" in said
    assert "SIGKILL" in tiny.directory.failure()


@pytest.mark.slow
def test_a_killed_rank_0_leaves_no_orphan(study):
    tiny = study(20000)
    process = tiny.start("--ranks", "2", "--zero", "1")
    tiny.wait_for_steps(process)
    below = tiny.below(process)
    [companion] = _rank_processes(below)
    companion.parent().kill()
    assert process.wait(60) == 1
    _, alive = psutil.wait_procs([companion], timeout=15)
    assert not alive


def _job(tiny, how):
    """The run's two ranks as a job starts them, one of them odd; the processes."""
    execution = tiny.root / "execution.json"
    execution.write_text(execution_json(tiny_runs.execution(ranks=2, zero=1)))
    directory = tiny.store.prepare(tiny.run).path
    return start_ranks(2, [ENDS, how, directory, execution], directory=tiny.root / "meeting")


@pytest.mark.slow
def test_an_interrupted_rank_0_ends_in_its_own_time(study):
    """The other rank is gone while rank 0 waits for its mirror."""
    tiny = study(20000)
    processes = _job(tiny, "slow")
    tiny.wait_for_steps(processes[0])
    processes[0].send_signal(signal.SIGTERM)
    codes, said = _ends(processes, seconds=60)
    assert codes == [EXIT_CODE, EXIT_CODE], said
    assert status(tiny.run, tiny.store) == "interrupted"
    [step] = tiny.directory.checkpoints()
    assert tiny.directory.checkpoint(step)
    assert tiny.directory.failure() is None


@pytest.mark.slow
def test_a_rank_0_that_hangs_leaves_the_reason_why_it_was_ended(study):
    """It hangs where no broken collective wakes it, and so it can't say itself that all failed."""
    tiny = study(20000)
    codes, said = _ends(_job(tiny, "hangs"), seconds=90)
    assert codes == [1, 1], said
    assert status(tiny.run, tiny.store) == "failed"
    failure = tiny.directory.failure()
    assert failure.startswith("RankFailed: rank 1 on ")
    assert failure.endswith(": ValueError: bad row")
