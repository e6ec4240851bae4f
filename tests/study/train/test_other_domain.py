"""A run of a domain that the trainer does not know is prepared, trained, resumed and continued."""

import json

import pytest
import tiny_runs
import toy_domain as toy

from study.store.directory import Store, StoreError
from study.store.events import read_curve
from study.train.work import execute

STEPS = 6


@pytest.fixture(autouse=True)
def _toy():
    with toy.registered():
        yield


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "runs")


def _run(run, store, **rest):
    execute(run, store=store, execution=tiny_runs.execution(), **rest)
    return store.existing(run)


def _first():
    return toy.train(training=tiny_runs.training(STEPS))


def test_data_is_prepared_once_and_sealed(store, capsys):
    directory = _run(_first().data, store)
    assert directory.done()["points"] == 64
    assert directory.done()["kind"] == "Points"
    assert (directory.path / "data" / "points.npy").exists()
    assert "points are made up" in capsys.readouterr().err


def test_it_trains_and_says_what_its_domain_says(store):
    run = _first()
    with pytest.raises(StoreError, match=r"'points' has no directory .* run it first"):
        _run(run, store)
    _run(run.data, store)
    directory = _run(run, store)
    done, curve = directory.done(), read_curve(directory.events)
    assert (done["kind"], done["points"], done["checked"]) == ("Train", 64, True)
    assert (done["parameters"], done["tokens"]) == (49, STEPS * 4)
    assert [event["step"] for event in curve.steps] == list(range(1, STEPS + 1))
    assert all({"loss", "size"} <= event.keys() for event in curve.steps)
    assert curve.validations[-1]["loss"] < curve.validations[0]["loss"]
    config = directory.checkpoint_path(STEPS) / "config.json"
    assert json.loads(config.read_text()) == {"width": 8}


def test_it_goes_on_to_the_bit(store):
    run = _first()
    _run(run.data, store)
    directory = _run(run, store, keep=frozenset({3}))
    whole = directory.done()
    directory.remove_checkpoint(STEPS)
    (directory.path / "done.json").unlink()
    again = _run(run, store).done()
    assert (again["weights"], again["data"]) == (whole["weights"], whole["data"])


def test_a_parent_is_taken_over_with_its_optimiser(store):
    run = _first()
    further = toy.continued(run, step=STEPS)
    for each in (run.data, run, further):
        directory = _run(each, store)
    accounts = json.loads((directory.path / "adapt.json").read_text())
    assert {entry["action"] for entry in accounts} == {"copied"}
    assert (directory.path / "adapt.txt").read_text() == "all copied"
    fresh = toy.continued(run, step=STEPS, slug="fresh", optimizer_state="fresh")
    assert _run(fresh, store).done()["weights"] != directory.done()["weights"]


def test_micro_batches_make_the_same_step(store):
    run = _first()
    _run(run.data, store)
    whole = read_curve(_run(run, store).events).steps
    other = Store(store.root.parent / "others")
    _run(run.data, other)
    execute(run, store=other, execution=tiny_runs.execution(micro_batch=3))
    parts = read_curve(other.existing(run).events).steps
    assert [event["digest"] for event in parts] == [event["digest"] for event in whole]
    losses = [[event["loss"] for event in each] for each in (parts, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
