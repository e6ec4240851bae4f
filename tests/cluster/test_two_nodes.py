"""A training of two nodes is the training of one: the same samples, the same losses."""

import pytest
from campaign import Campaign, digests, losses

from study.store.directory import Store


@pytest.fixture(scope="module")
def alone(tmp_path_factory, cluster):
    """The tiny study in one process, no SLURM and no DeepSpeed."""
    campaign = Campaign(cluster, tmp_path_factory.mktemp("alone"))
    campaign.study("run", str(campaign.sweep), "--wandb", "off", "--workers", "1", "--threads", "1")
    return campaign


@pytest.mark.parametrize("zero", [1, 3])
def test_two_ranks_on_two_nodes_equal_two_on_one_and_a_single_process(campaign, alone, zero):
    execution = {"zero": zero}
    campaign.use(execution=execution)
    campaign.launch()
    campaign.await_done("cd", "nd", "ed", "cd-nd", "cd-nd scores", seconds=300)
    together = Campaign(campaign.cluster, campaign.folder)
    together.store = Store(campaign.folder / "one-node")
    together.use(nodes=1, ranks_per_node=2, execution=execution)
    together.launch()
    together.await_done("cd", "nd", "ed", "cd-nd", seconds=300)
    for slug in ("cd", "nd", "ed", "cd-nd"):
        apart, one = campaign.directory(slug), together.directory(slug)
        assert digests(apart) == digests(one) == digests(alone.directory(slug))
        assert apart.done()["weights"] == one.done()["weights"], f"{slug}: equal to the bit"
        assert losses(apart) == pytest.approx(losses(alone.directory(slug)), rel=2e-5)
