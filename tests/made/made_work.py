"""A store with the tiny corpora, for tests of whole runs. Not a test module."""

import shutil

import pytest
import torch
from tiny_runs import MIXTURE, TEXT, execution

from study.store.directory import Store
from study.train.work import execute


@pytest.fixture
def threads_restored():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("built")
    for corpus in (TEXT, MIXTURE):
        execute(corpus, store=Store(root), execution=execution())
    return root


@pytest.fixture
def store(built, tmp_path):
    shutil.copytree(built, tmp_path / "runs")
    return Store(tmp_path / "runs")


def saved_weights(store, run, step=None):
    path = store.existing(run).checkpoint(step or run.training.steps)
    return (path / "model.safetensors").read_bytes()
