"""What a cluster does to a study: dead ranks, nodes and controllers, people, full disks."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from campaign import HERE, STUDY, Campaign, digests
from machine import Machine

from study.launch.cluster import records

SWEEP = """
import sys
sys.path.insert(0, {folder!r})
from tiny_study import CORPUS, FullLM, SpanCorruption, PrefixLM, pretrained
from study.language.values import Evaluation
from tiny_study import SUITE

def runs():
    long = pretrained("long", "causal_decoder", FullLM(length=128), steps={steps})
    yield long
    yield Evaluation(slug="scores", run=long, step={steps}, suite=SUITE)
    yield pretrained("other", "prefix_decoder", PrefixLM(length=128), steps=30)
"""


def study_in(folder: Path, *, cluster: Machine, **profile: Any) -> Campaign:
    """A training of some twenty seconds, its scores, and a training beside it."""
    sweep = folder / "long.py"
    sweep.write_text(SWEEP.format(folder=str(HERE), steps=500))
    made = Campaign(cluster, folder, sweep=sweep)
    made.use(**{"execution": {"checkpoint_seconds": 2.0}} | profile)
    return made


@pytest.fixture
def long(cluster, tmp_path):
    def make(**profile: Any) -> Campaign:
        return study_in(tmp_path, cluster=cluster, **profile)

    return make


@pytest.fixture(scope="module")
def undisturbed(cluster, tmp_path_factory):
    """The batches of the long training where nothing happens to it."""
    quiet = study_in(tmp_path_factory.mktemp("quiet"), cluster=cluster)
    quiet.study("run", f"{quiet.sweep}:long", "--wandb", "off", "--workers", "1", "--threads", "1")
    return digests(quiet.directory("long"))


def ranks(campaign: Campaign, slug: str) -> dict[int, int]:
    """The processes of a run's job: rank -> process number."""
    folder = str(campaign.directory(slug).path).encode()
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
            entries = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        variables = dict(entry.partition(b"=")[::2] for entry in entries)
        rank = variables.get(b"SLURM_PROCID")
        if folder in command and rank is not None and b"srun" not in command[0]:
            found[int(rank)] = int(process.name)
    return found


def fill(file: Path) -> None:
    """Write until the file system has no room left."""
    with open(file, "wb", buffering=0) as handle, contextlib.suppress(OSError):
        while handle.write(bytes(1 << 14)):
            pass


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_ends_its_job_and_nothing_else(long, undisturbed, rank):
    campaign = long()
    campaign.launch()
    campaign.await_step("long", 50)
    job = campaign.job("long")
    os.kill(ranks(campaign, "long")[rank], signal.SIGKILL)
    killed = time.monotonic()
    campaign.cluster.wait(
        lambda: not ranks(campaign, "long"), what="the other rank gone", seconds=45
    )
    print(f"the job was gone {time.monotonic() - killed:.1f} s after its rank {rank}")
    campaign.await_done("other")
    campaign.await_state("long", "failed")
    assert "long failed" in campaign.await_state("scores", "cancelled")
    assert "Restarts=0" in campaign.cluster.ask("scontrol", "show", "job", job)
    campaign.study("retry", str(campaign.sweep), *campaign.options)
    campaign.await_done("long", "scores")
    assert digests(campaign.directory("long")) == undisturbed


def test_a_dead_node_gives_the_job_back(long, undisturbed):
    campaign = long()
    campaign.launch(f"{campaign.sweep}:long")
    campaign.await_step("long", 50)
    campaign.cluster.kill_node("n2")
    try:
        campaign.cluster.wait(
            lambda: campaign.state("long") == "PENDING", what="taken back", seconds=120
        )
    finally:
        campaign.cluster.start_node("n2")
    campaign.await_done("long", seconds=300)
    assert digests(campaign.directory("long")) == undisturbed


def test_scancel_during_a_save_leaves_good_checkpoints(long, undisturbed):
    campaign = long(execution={"checkpoint_seconds": 0.05})
    campaign.launch(f"{campaign.sweep}:long")
    campaign.await_step("long", 50)
    folder = campaign.directory("long").path / "checkpoints"
    end = time.monotonic() + 60
    while not list(folder.glob(".step-*")):
        assert time.monotonic() < end, "no save was seen"
    campaign.cluster.ask("scancel", campaign.job("long"))
    campaign.cluster.wait(lambda: not ranks(campaign, "long"), what="cancelled", seconds=60)
    directory = campaign.directory("long")
    assert directory.checkpoints() == directory.steps(), "every published checkpoint verifies"
    assert "by a person" in campaign.await_state("long", "cancelled")
    campaign.launch(f"{campaign.sweep}:long")
    campaign.await_done("long")
    assert digests(directory) == undisturbed


def test_two_launchers_at_once_submit_every_run_once(campaign):
    command = [*STUDY, "launch", str(campaign.sweep), *campaign.options]
    command += ["--store", str(campaign.store.root)]
    both = [
        subprocess.Popen(command, env=campaign.environment, cwd=campaign.folder) for _ in range(2)
    ]
    codes = sorted(process.wait(timeout=180) for process in both)
    assert codes in ([0, 0], [0, 3])
    campaign.await_done("cd", "nd", "ed", "cd-nd scores", seconds=300)
    arrays = records.load_all(campaign.store.root)
    submitted = [task.run for array in arrays for task in array.tasks]
    assert len(submitted) == len(set(submitted)) == 6


def test_the_controller_down_for_a_minute(long):
    campaign = long()
    campaign.launch()
    campaign.await_step("long", 20)
    before = records.load_all(campaign.store.root)
    campaign.cluster.stop_controller()
    try:
        down = time.monotonic()
        # what is at work is known by its heartbeat; what waits is not
        assert "unknown" in campaign.study("status", f"{campaign.sweep}:scores", "--all")
        campaign.launch(code=75)
        assert records.load_all(campaign.store.root) == before, "nothing was submitted"
        time.sleep(max(0.0, 60 - (time.monotonic() - down)))
    finally:
        campaign.cluster.start_controller()
    campaign.await_done("long", "other", "scores", seconds=400)
    assert "0 runs submitted" in campaign.launch()


def test_a_full_file_system(long):
    if os.geteuid():
        pytest.skip("mounting a small file system needs root")
    campaign = long()
    campaign.store.root.mkdir()
    where = str(campaign.store.root)
    mount = ("mount", "-t", "tmpfs", "-o", "size=12m", "none", where)
    subprocess.run(mount, check=True)
    try:
        campaign.launch()
        campaign.await_done("text")
        filler = campaign.store.root / "filler"
        campaign.await_step("long", 20)
        fill(filler)
        campaign.cluster.wait(
            lambda: not ranks(campaign, "long"), what="the job gave up", seconds=90
        )
        directory = campaign.directory("long")
        assert directory.done() is None
        assert directory.checkpoints() == directory.steps(), "what was published verifies"
        filler.unlink()
        campaign.await_state("long", "failed")
        campaign.study("retry", str(campaign.sweep), *campaign.options)
        campaign.await_done("long", "scores")
    finally:
        campaign.cluster.await_idle()
        subprocess.run(("umount", "-l", where), check=True)
