"""The time limit, wherever it falls: the job checkpoints, queues itself again and goes on."""

import pytest
from campaign import HERE, Campaign, digests, long_sweep

SWEEP = """
import sys
from dataclasses import replace
sys.path.insert(0, {folder!r})
import tiny_study
from tiny_study import FullLM, Text, pretrained, world, world_suite_task
from study.language.values import Evaluation

corpus = replace(
    tiny_study.CORPUS,
    slug="large",
    documents=Text(sources=(world("text", documents=60_000, seed=1),), held_out=0.01),
)
task = world_suite_task("effect", rows=4000, seed=5, chance=0.5, role="headline")

def runs():
    trained = replace(
        pretrained("trained", "causal_decoder", FullLM(length=128), steps=400), corpus=corpus
    )
    yield trained
    yield Evaluation(
        slug="scores", run=trained, step=400, suite=replace(tiny_study.SUITE, tasks=(task,))
    )
"""

STEPS = 3500


@pytest.fixture
def slow(cluster, tmp_path):
    def make(name: str, **profile) -> Campaign:
        folder = tmp_path / name
        folder.mkdir()
        sweep = folder / "slow.py"
        sweep.write_text(SWEEP.format(folder=str(HERE)))
        made = Campaign(cluster, folder, sweep=sweep)
        made.use(**profile)
        return made

    return make


def warn(campaign: Campaign, slug: str) -> None:
    """What SLURM does some seconds before a job's time limit."""
    campaign.cluster.ask("scancel", "--batch", "--signal=USR1", campaign.job(slug))


def restarts(campaign: Campaign, slug: str) -> int:
    shown = campaign.cluster.ask("scontrol", "show", "job", campaign.job(slug))
    return int(shown.partition("Restarts=")[2].split()[0])


def test_in_tokenising_in_a_step_in_a_save_and_in_evaluation(slow):
    campaign = slow("study", execution={"checkpoint_seconds": 0.05})
    campaign.launch()
    cluster = campaign.cluster

    def aside(slug: str, pattern: str) -> bool:
        return any(campaign.directory(slug).path.glob(pattern))

    cluster.wait(lambda: aside("large", ".corpus.aside-*/*"), what="tokenising", seconds=120)
    warn(campaign, "large")
    cluster.wait(lambda: restarts(campaign, "large") == 1, what="queued again", seconds=60)
    campaign.await_done("large", seconds=480)

    campaign.await_step("trained", 20)
    warn(campaign, "trained")
    cluster.wait(lambda: restarts(campaign, "trained") == 1, what="queued again", seconds=60)
    reached = campaign.directory("trained").steps()[-1]

    campaign.await_step("trained", reached + 1)
    cluster.wait(lambda: aside("trained", "checkpoints/.step-*"), what="a save", seconds=60)
    warn(campaign, "trained")
    cluster.wait(lambda: restarts(campaign, "trained") == 2, what="queued again", seconds=60)
    campaign.await_done("trained", seconds=480)

    def scoring() -> bool:
        return "scores" in campaign.log("scores") and campaign.state("scores") == "RUNNING"

    cluster.wait(scoring, what="scoring", seconds=120)
    warn(campaign, "scores")
    cluster.wait(lambda: restarts(campaign, "scores") == 1, what="queued again", seconds=60)
    campaign.await_done("scores", seconds=480)

    quiet = slow("quiet")
    quiet.study("run", str(quiet.sweep), "--wandb", "off", "--workers", "1", "--threads", "1")
    assert digests(campaign.directory("trained")) == digests(quiet.directory("trained"))
    mine, expected = (each.directory("large").done() for each in (campaign, quiet))
    assert mine["digest"] == expected["digest"]


def test_a_real_limit_is_outlived(cluster, tmp_path):
    """SLURM's own warning, which may come a minute early, so the limit is two."""
    sweep = tmp_path / "long.py"
    sweep.write_text(long_sweep(STEPS))
    campaign = Campaign(cluster, tmp_path, sweep=sweep)
    campaign.use(time="0:02:00", signal_seconds=30)
    campaign.launch()
    campaign.await_done("long", seconds=1200)
    assert restarts(campaign, "long") > 0
    assert len(digests(campaign.directory("long"))) == STEPS
