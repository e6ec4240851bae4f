"""One cluster for the whole run, and what its tests ask of it.

SLURM_TEST_DIRECTORY names where it lies (a short path: socket names have a limit); the default is a
new temporary directory.
"""

import os
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from campaign import Campaign
from machine import Machine, running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def cluster() -> Machine:
    with tempfile.TemporaryDirectory(prefix="slurm-") as made:
        directory = Path(os.environ.get("SLURM_TEST_DIRECTORY", made))
        with running(directory) as machine:
            yield machine


@pytest.fixture
def campaign(cluster: Machine, tmp_path: Path) -> Campaign:
    """The tiny study on the cluster, with a profile of two nodes."""
    made = Campaign(cluster, tmp_path)
    made.use()
    return made
