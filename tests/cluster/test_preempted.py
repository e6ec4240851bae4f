"""Preempted at random moments, a two-node training ends where an undisturbed one does."""

import random
import time

import pytest
from campaign import Campaign, digests, long_sweep

TIMES = 10
STEPS = 1500


@pytest.fixture
def long(cluster, tmp_path):
    def make(name: str) -> Campaign:
        folder = tmp_path / name
        folder.mkdir()
        sweep = folder / "long.py"
        sweep.write_text(long_sweep(STEPS))
        made = Campaign(cluster, folder, sweep=sweep)
        made.use(execution={"zero": 1})
        return made

    return make


def test_ten_preemptions_change_no_sample_and_no_weight(long):
    disturbed, quiet = long("disturbed"), long("quiet")
    draw = random.Random(20261124)
    disturbed.launch()
    disturbed.await_done("text")
    for number in range(TIMES):
        job = disturbed.job("long")

        def running(job=job) -> bool:
            return disturbed.state("long") == "RUNNING"

        disturbed.cluster.wait(running, what=f"running for the {number + 1}th time", seconds=90)
        time.sleep(draw.uniform(0.0, 15.0))
        assert disturbed.directory("long").done() is None, "too short to be preempted ten times"
        disturbed.preempt("long")
        disturbed.cluster.wait(lambda: not running(), what="preempted", seconds=60)
    restarts = disturbed.cluster.ask("scontrol", "show", "job", disturbed.job("long"))
    assert f"Restarts={TIMES} " in restarts
    disturbed.await_done("long", seconds=600)
    quiet.launch()
    quiet.await_done("long", seconds=600)
    seen, expected = disturbed.directory("long"), quiet.directory("long")
    assert len(digests(expected)) == STEPS
    assert digests(seen) == digests(expected)
    assert seen.done()["data"] == expected.done()["data"]
    assert seen.done()["weights"] == expected.done()["weights"], "equal to the bit"
