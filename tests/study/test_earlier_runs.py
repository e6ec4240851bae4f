"""A store that an earlier version wrote (commit 9e95b3e) is opened, resumed, scored and reported.

`golden/runs-9e95b3e.tar.gz` holds a corpus, a pretraining of 6 steps with its scores on a suite,
and an adaptation that was killed between its second step, which was saved, and its tenth.
"""

import csv
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny_runs

import study
from eval.report.report import write
from study.language.scores.execute import execute as score
from study.language.values.stages import Adapt
from study.runs.decode import decode_file
from study.runs.node import Evaluation
from study.runs.plan import load_sweep
from study.store.directory import Store
from study.store.events import read_curve
from study.train.work import execute

ARCHIVE = Path(__file__).parents[1] / "golden" / "runs-9e95b3e.tar.gz"
SWEEP = """
from pathlib import Path
from study.runs.decode import decode_file

def runs():
    return [decode_file(path) for path in sorted(Path({root!r}).glob("*/run.yaml"))]
"""


@pytest.fixture
def root(tmp_path):
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path / "runs", filter="data")
    return tmp_path / "runs"


def _runs(root):
    return [decode_file(path) for path in sorted(root.glob("*/run.yaml"))]


def _one(root, kind):
    (found,) = (run for run in _runs(root) if isinstance(run, kind))
    return found


def test_runs_lie_where_their_ids_say(root):
    store = Store(root)
    found = {run.slug: store.existing(run) for run in _runs(root)}
    assert {slug for slug, each in found.items() if each.done()} == {"text", "pre", "pre-micro"}
    assert found["adapted"].steps() == [2]
    assert {each.path.name for each in found.values()} == {path.name for path in root.iterdir()}


def test_an_adaptation_goes_on_from_its_step(root, tmp_path):
    """And ends where one of today's that was never stopped does, but for another CPU's rounding."""
    run = _one(root, Adapt)
    whole = Store(tmp_path / "whole")
    for each in (run.corpus, run.parent):
        shutil.copytree(Store(root).directory(each), whole.directory(each))
    for store in (whole, Store(root)):
        execute(run, store=store, execution=tiny_runs.execution())
        assert store.existing(run).done()["kind"] == "Adapt"
    ours, theirs = (read_curve(store.existing(run).events).steps for store in (Store(root), whole))
    assert [event["step"] for event in ours] == list(range(1, 11))
    assert [event["digest"] for event in ours] == [event["digest"] for event in theirs]
    losses = [[event["loss"] for event in each] for each in (ours, theirs)]
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_scores_are_found_and_made_again_as_they_were(root):
    run = _one(root, Evaluation)
    (published,) = (Store(root).directory(run) / "scores").iterdir()
    before = pq.read_table(published / "items.parquet")
    done = Store(root).directory(run) / "done.json"
    score(run, store=Store(root), execution=tiny_runs.execution())
    assert pq.read_table(published / "items.parquet").equals(before), "found, and not made again"
    assert json.loads(done.read_text())["scores"] == published.name
    shutil.rmtree(published)
    done.unlink()
    score(run, store=Store(root), execution=tiny_runs.execution())
    after = pq.read_table(published / "items.parquet")
    assert after.schema.equals(before.schema)
    assert after["prediction"].equals(before["prediction"])
    for name in ("log_likelihoods", "null_log_likelihoods"):
        each = [
            np.concatenate(table[name].to_numpy(zero_copy_only=False)) for table in (before, after)
        ]
        np.testing.assert_allclose(*each, rtol=1e-5)


def test_the_report_has_its_scores(root, tmp_path):
    path = tmp_path / "sweep.py"
    path.write_text(SWEEP.format(root=str(root)))
    run = _one(root, Evaluation)
    (published,) = (Store(root).directory(run) / "scores").iterdir()
    accuracy = np.mean(pq.read_table(published / "items.parquet")["correct"].to_numpy())
    folder = write(load_sweep(path), store=Store(root), out_dir=tmp_path / "out").parent
    with (folder / "report.csv").open() as file:
        (row,) = (each for each in csv.DictReader(file) if each["task"] == "effect")
    assert (row["cell"], row["tokens"], row["items"]) == ("CD:FLM", "960", "12")
    assert float(row["value"]) == pytest.approx(accuracy)


def test_from_python_it_is_run_to_its_end_and_its_scores_are_values(root, tmp_path):
    path = tmp_path / "sweep.py"
    path.write_text(SWEEP.format(root=str(root)))
    sweep = study.run(path, store=root, workers=1)
    assert {Store(root).existing(run).done()["kind"] for run in sweep.runs} == {
        *("Corpus", "Pretrain", "Adapt", "Evaluation"),
    }
    rows = study.scores(sweep, store=root)
    assert {(row["suite"], row["task"]) for row in rows} >= {("micro", "effect")}
    folder = write(load_sweep(path), store=Store(root), out_dir=tmp_path / "out").parent
    with (folder / "report.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [row["task"] for row in written] == [row["task"] for row in rows]
    assert [row["value"] for row in written] == [str(row["value"]) for row in rows]
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        study.lode  # noqa: B018
