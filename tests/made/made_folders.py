"""Folders that tests publish and damage, and a store with one run. Not a test module."""

import made_runs as made
import pytest

from study.store.directory import Store


def write_files(folder, *, weights=b"w" * 100):
    (folder / "model.bin").write_bytes(weights)
    (folder / "deep").mkdir()
    (folder / "deep" / "state.json").write_text("{}")


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "runs")


@pytest.fixture
def directory(store):
    return store.open(made.pretrain())
