"""The run directory: checkpoints, ownership, status from files."""

import os
import re
import time
from dataclasses import replace

import made_runs as made
import pytest
from made_folders import flip_a_byte, write_files

from study.store.directory import Store, StoreError, directory_name, status
from study.store.lease import LEASE, acquire
from study.store.publish import (
    CorruptError,
    publish_directory,
)


def test_the_last_good_checkpoint_is_used_and_the_corrupt_one_named(directory):
    for step in (10, 20, 30):
        publish_directory(directory.checkpoint_path(step), write_files)
    flip_a_byte(directory.checkpoint_path(30) / "model.bin")
    os.truncate(directory.checkpoint_path(20) / "model.bin", 5)
    said = []
    assert directory.latest(warn=said.append) == 10
    assert len(said) == 2
    assert "step-00000030/model.bin" in said[0]
    assert "step-00000020/model.bin" in said[1]
    assert directory.checkpoints() == [10]
    with pytest.raises(CorruptError, match=r"step-00000030/model\.bin"):
        directory.checkpoint(30)


def test_a_corrupt_checkpoint_is_loud_on_standard_error(directory, capsys):
    publish_directory(directory.checkpoint_path(10), write_files)
    flip_a_byte(directory.checkpoint_path(10) / "model.bin")
    assert directory.latest() is None
    assert capsys.readouterr().err.startswith("WARNING: checkpoint of step 10 is corrupt")


def test_a_missing_checkpoint_is_refused_with_those_there(directory):
    publish_directory(directory.checkpoint_path(10), write_files)
    with pytest.raises(StoreError, match="no checkpoint of step 20; kept: 10"):
        directory.checkpoint(20)


def test_requests_to_keep_add_up(directory):
    directory.keep([10, 5])
    directory.keep([20])
    assert directory.kept() == (5, 10, 20)


def test_opening_writes_the_run_and_where_it_comes_from(store):
    opened = store.open(made.pretrain())
    assert opened.path.name == f"pretrain--{made.pretrain().id[:12]}"
    (start,) = opened.provenance()
    assert {"commit", "dirty", "python", "packages", "hardware"} <= start.keys()
    assert start["packages"]["torch"]
    text = (opened.path / "provenance.json").read_text()
    secrets = [value for value in (os.environ.get("HOME"), os.environ.get("USER")) if value]
    assert not any(secret in text for secret in secrets if len(secret) > 4)
    store.open(made.pretrain())
    assert len(opened.provenance()) == 1


def test_a_directory_is_found_by_id_under_another_slug(store):
    opened = store.open(made.pretrain("old name"))
    assert store.directory(made.pretrain("new name")) == opened.path
    assert store.open(made.pretrain("new name")).path == opened.path
    assert len(os.listdir(store.root)) == 1


def test_a_directory_made_by_another_process_is_found(store):
    run = made.pretrain()
    assert status(run, store) == "planned"
    Store(store.root).open(replace(run, slug="elsewhere"))
    assert store.directory(run).name.startswith("elsewhere--")


def test_a_directory_of_another_run_stops_everything(store):
    opened = store.open(made.pretrain())
    other = made.pretrain("other", seed=2)
    (opened.path / "run.yaml").write_text(
        (store.open(other).path / "run.yaml").read_text(), encoding="utf-8"
    )
    for use in (store.open, store.existing, store.check_owner):
        with pytest.raises(StoreError, match=r"belongs to another run.*'other'.*not 'pretrain'"):
            use(made.pretrain())


CHANGED = {
    # row 10 of the fault table: what was changed -> the key that the refusal names
    "data": (
        replace(made.pretrain(), corpus=replace(made.CORPUS, tokenizer=made.MIXTURE)),
        "corpus.tokenizer: TrainedBPE against Corpus",
    ),
    "length": (
        replace(made.pretrain(), objective=made.FullLM(length=64)),
        "objective.length: 32 against 64",
    ),
    "seed": (made.pretrain(seed=2), "seed: 1 against 2"),
    "architecture": (
        replace(made.pretrain(), model=replace(made.MODEL, architecture="prefix_decoder")),
        'model.architecture: "causal_decoder" against "prefix_decoder"',
    ),
    "rate": (
        made.pretrain(learning_rate=2e-3),
        "training.optimizer.learning_rate: 0.001 against 0.002",
    ),
    "schedule": (
        replace(
            made.pretrain(),
            training=replace(made.training(), schedule=made.Constant(warmup_steps=3)),
        ),
        "training.schedule.warmup_steps: 2 against 3",
    ),
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_changed_run_is_another_directory_and_a_foreign_one_names_the_keys(store, name):
    changed, said = CHANGED[name]
    opened = store.open(made.pretrain())
    other = store.open(changed)
    assert other.path != opened.path
    (opened.path / "run.yaml").replace(other.path / "run.yaml")
    with pytest.raises(StoreError, match=re.escape(f"differ in {said}. Legal")):
        store.open(changed)


def test_of_many_differing_keys_five_are_named_and_the_rest_counted(store):
    changed = replace(
        made.pretrain(seed=2, steps=20, learning_rate=2e-3, weight_decay=0.2),
        model=replace(made.MODEL, layers=2, d_model=32, d_ff=64),
    )
    opened, other = store.open(made.pretrain()), store.open(changed)
    (opened.path / "run.yaml").replace(other.path / "run.yaml")
    with pytest.raises(StoreError, match=r"layers: 1 against 2; .*; and 2 more\. Legal"):
        store.open(changed)


def test_an_unreadable_run_file_stops_everything(store):
    opened = store.open(made.pretrain())
    (opened.path / "run.yaml").write_text("kind: Pretrain\nsemantics: 99\n")
    with pytest.raises(StoreError, match=r"run\.yaml:2: .*semantics is 99"):
        store.open(made.pretrain())


def test_a_directory_of_files_without_a_run_is_refused(store):
    path = store.directory(made.pretrain())
    path.mkdir(parents=True)
    (path / "precious.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"no run\.yaml"):
        store.open(made.pretrain())


def test_two_directories_of_one_id_are_refused(store):
    opened = store.open(made.pretrain())
    copy = opened.path.with_name(opened.path.name.replace("pretrain--", "copy--"))
    copy.mkdir()
    with pytest.raises(StoreError, match="two directories"):
        store.directory(made.pretrain())


def test_slugs_become_names_that_every_file_system_takes():
    name = directory_name(made.pretrain("CD:FLM/ä b" + "x" * 300))
    slug, _, short = name.rpartition("--")
    assert slug.startswith("CD-FLM-b")
    assert len(slug) <= 100
    assert short == made.pretrain().id[:12]


def test_status_follows_the_files(store):
    run = made.pretrain()
    assert status(run, store) == "planned"
    directory = store.open(run)
    assert status(run, store) == "planned"
    with acquire(directory.path):
        assert status(run, store) == "running"
    directory.events.write_text("{}\n")
    assert status(run, store) == "interrupted"
    directory.fail("ValueError: x")
    assert status(run, store) == "failed"
    assert directory.failure() == "ValueError: x"
    directory.forget_failure()
    assert status(run, store) == "interrupted"
    directory.fail("again")
    directory.seal({"steps": 10})
    assert status(run, store) == "done"
    assert directory.done() == {"steps": 10}
    assert directory.failure() is None


def test_a_silent_holder_is_no_running_run(store):
    run = made.pretrain()
    directory = store.open(run)
    with acquire(directory.path):
        old = time.time() - 3600
        os.utime(directory.path / "lease.json", (old, old))
        assert status(run, store) == "interrupted"


def test_a_cut_seal_is_named(directory):
    directory.seal({"steps": 10})
    os.truncate(directory.path / "done.json", 5)
    with pytest.raises(CorruptError, match=r"done\.json"):
        directory.done()


def test_statuses_scan_the_root_once(store, monkeypatch):
    runs = [made.pretrain(f"r{seed}", seed=seed) for seed in range(50)]
    for run in runs[:20]:
        store.open(run).seal({})
    scans = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: scans.append(path) or scandir(path))
    fresh = Store(store.root)
    states = list(fresh.statuses(runs).values())
    assert states == ["done"] * 20 + ["planned"] * 30
    assert len(scans) == 1


def test_a_noted_failure_beside_a_lease_that_nobody_holds_is_a_failure(tmp_path):
    """A rank that hangs is ended where it can give nothing back."""
    store, run = Store(tmp_path), made.pretrain()
    directory = store.open(run)
    with store.claim(run, waiting=print):
        directory.fail("RankFailed: rank 1: bad row")
        lease = (directory.path / LEASE).read_bytes()
        assert status(run, store) == "running"
    (directory.path / LEASE).write_bytes(lease)
    os.utime(directory.path / LEASE, (0, 0))
    assert status(run, store) == "failed"
    directory.forget_failure()
    assert status(run, store) == "interrupted"
