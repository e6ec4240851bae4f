"""Reports of made scores: holes, one seed, extreme accuracies, hostile names."""

import csv
import errno
import io
import json
import os

import made_reports as made
import numpy as np
import pytest
from made_claims import paper_claims

from eval.claims.verdicts import decide
from eval.evidence import panel, table
from eval.evidence.estimates import OwnRuns
from eval.report.report import write
from eval.report.terminal import show_scores
from study.runs.cells import Naming
from study.runs.node import Evaluation
from study.store.directory import Store
from study.store.weights import digest_of_names


def test_three_seeds_decide(tmp_path):
    runs, store = made.study(3), Store(tmp_path / "runs")
    made.publish_all(runs, store)
    words = made.checked(
        write(made.sweep_of(runs, tmp_path), store=store, out_dir=tmp_path / "out")
    )
    assert "toy scale" in words
    assert "51 of 51 planned scores, 17 cells, 3 seeds, 2 headline tasks" in words
    assert "over seeds and items together" in words
    assert "Above chance after finetuning" in words
    (one,) = panel.panels(runs, store=store)
    verdicts = {
        each.claim.id: each.verdict
        for each in decide(paper_claims("micro", 0.05), OwnRuns({"micro": one}, decided=11))
    }
    assert verdicts["C4"] == "underpowered"  # ED:PLM gained nothing, within what 80 items tell
    assert verdicts["C7"] == "replicated"
    assert verdicts["C10"] == verdicts["C12"] == "not run"


def test_the_table_is_one_and_the_same(tmp_path):
    runs, store = made.study(1), Store(tmp_path / "runs")
    made.publish_all(runs, store)
    out = write(made.sweep_of(runs, tmp_path), store=store, out_dir=tmp_path / "out").parent
    words, markdown = made.checked(out / "report.html"), (out / "report.md").read_text()
    rows = list(csv.DictReader(io.StringIO((out / "report.csv").read_text())))
    assert len(rows) == 17 * 4
    for row in rows:
        shown = f"{100 * float(row['value']):.1f}"
        assert shown in words
        assert shown in markdown
    assert rows[0]["value"] == str(table.build(panel.panels(runs, store=store)).rows[0].value)
    suite = [row for row in rows if row["task"] == table.SUITE and row["cell"] == "CD:FLM → CD:MTF"]
    parts = [
        float(row["value"])
        for row in rows
        if row["cell"] == "CD:FLM → CD:MTF" and row["task"] in ("effect", "cause")
    ]
    assert float(suite[0]["value"]) == pytest.approx(np.mean(parts))
    assert float(suite[0]["normalised"]) == pytest.approx(2 * np.mean(parts) - 1)


def test_shown_scores_are_the_table_s(tmp_path, capsys):
    runs, store = made.study(1), Store(tmp_path / "runs")
    made.publish_all(runs, store)
    sweep = made.sweep_of(runs, tmp_path)
    rows = table.build(panel.panels(runs, store=store)).rows
    show_scores(sweep, store=store, as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert [each["value"] for each in shown] == [row.value for row in rows]
    assert list(shown[0])[-8:] == [
        *("brier_low", "brier_high", "skipped", "truncated", "ties", "invalid", "hole", "over"),
    ]
    assert shown == table.build(panel.panels(runs, store=store)).values()
    show_scores(sweep, store=store, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(rows)
    for line, row in zip(lines[1:], rows, strict=True):
        assert row.cell in line
        assert f"{row.value:.3f}" in line


def test_one_seed_is_underpowered_everywhere(tmp_path):
    runs, store = made.study(1), Store(tmp_path / "runs")
    made.publish_all(runs, store)
    words = made.checked(
        write(made.sweep_of(runs, tmp_path), store=store, out_dir=tmp_path / "out")
    )
    assert "underpowered (1 seed)" in words
    assert "replicated (" not in words
    assert "over items only" in words
    (one,) = panel.panels(runs, store=store)
    found = decide(paper_claims("micro", 0.05), OwnRuns({"micro": one}, decided=1))
    assert {each.verdict for each in found} == {"underpowered (1 seed)", "not run"}


def test_nothing_scored_yet(tmp_path):
    runs, store = made.study(1), Store(tmp_path / "runs")
    words = made.checked(
        write(made.sweep_of(runs, tmp_path), store=store, out_dir=tmp_path / "out")
    )
    assert "0 of 17 planned scores" in words
    assert "hole" in words
    assert "No run has validated yet" in words
    assert "not run" in words


def test_holes_are_shown_as_holes(tmp_path):
    runs, store = made.study(1), Store(tmp_path / "runs")
    made.publish_all(runs, store, skip=("ed_mlm-ed_mtf-s0-micro",))
    words = made.checked(
        write(made.sweep_of(runs, tmp_path), store=store, out_dir=tmp_path / "out")
    )
    assert "16 of 17 planned scores" in words
    assert "seed 0: planned" in words
    assert "missing ED:MLM → ED:MTF" in words


@pytest.mark.parametrize("accuracy", [0.0, 1.0])
def test_extreme_accuracies(tmp_path, accuracy):
    runs, store = made.study(1), Store(tmp_path / "runs")
    draw = np.random.default_rng(0)
    for run in runs:
        if isinstance(run, Evaluation):
            made.publish(run, store, accuracy, draw=draw)
    words = made.checked(
        write(made.sweep_of(runs, tmp_path), store=store, out_dir=tmp_path / "out")
    )
    assert ("Below chance after finetuning (interference)" in words) == (accuracy == 0.0)
    for row in table.build(panel.panels(runs, store=store)).rows:
        assert row.low is not None
        assert row.high is not None
        assert 0 <= row.low <= row.value <= row.high <= 1
        assert row.high - row.low > 0.01


def test_hostile_names_stay_text(tmp_path):
    runs, store = made.study(1), Store(tmp_path / "runs")
    made.publish_all(runs, store)
    sweep = made.sweep_of(runs, tmp_path, title=made.HOSTILE)
    path = write(sweep, store=store, out_dir=tmp_path / "out")
    assert made.HOSTILE in made.checked(path)
    assert path.read_text().count("<script") == 1
    assert "<script" not in (path.parent / "report.md").read_text()


def test_scores_of_other_questions_are_refused(tmp_path):
    runs, store = made.study(1), Store(tmp_path / "runs")
    draw = np.random.default_rng(0)
    scored = [run for run in runs if isinstance(run, Evaluation)]
    for place, run in enumerate(scored):
        made.publish(run, store, 0.6, tasks="old" if place == 0 else "new", draw=draw)
    (one,) = panel.panels(runs, store=store)
    assert len(one.runs) == len(scored) - 1
    (hole,) = one.holes
    assert hole.hole == "other questions or scorer"


def test_scores_of_overwritten_weights_are_stale(tmp_path):
    runs, store = made.study(1), Store(tmp_path / "runs")
    run = next(run for run in runs if isinstance(run, Evaluation))
    files = {"config.json": "a", "model.safetensors": "b", "optimizer.safetensors": "c"}
    made.publish(run, store, 0.6, weights=digest_of_names(files), draw=np.random.default_rng(0))
    checkpoint = store.open(run.run).checkpoint_path(run.step)
    checkpoint.mkdir(parents=True)

    def manifest(**changed):
        entries = {name: {"sha256": value} for name, value in (files | changed).items()}
        (checkpoint / "manifest.json").write_text(json.dumps({"files": entries}))

    manifest()
    assert panel.read(run, naming=Naming(runs), store=store).hole == ""
    manifest(**{"optimizer.safetensors": "other"})
    assert panel.read(run, naming=Naming(runs), store=store).hole == ""
    manifest(**{"model.safetensors": "other"})
    found = panel.read(run, naming=Naming(runs), store=store)
    assert found.hole.startswith("stale")
    assert found.results is None


def test_a_verdict_that_the_end_of_sequence_overturns(tmp_path):
    runs, store = made.study(3), Store(tmp_path / "runs")
    made.publish_all(runs, store, other=0.5)
    words = made.checked(
        write(made.sweep_of(runs, tmp_path), store=store, out_dir=tmp_path / "out")
    )
    assert "scorer-dependent" in words


def test_without_claims(tmp_path):
    runs, store = made.study(1), Store(tmp_path / "runs")
    sweep = made.sweep_of(runs, tmp_path, claims=False)
    words = made.checked(write(sweep, store=store, out_dir=tmp_path / "out"))
    assert "The sweep declares no claims." in words


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()]
)
@pytest.mark.parametrize("at", [1, 2, 3])
def test_an_end_in_between_leaves_whole_files_and_the_next_start_writes_them(
    tmp_path, monkeypatch, error, at
):
    runs, store = made.study(1), Store(tmp_path / "runs")
    sweep, out = made.sweep_of(runs, tmp_path), tmp_path / "out"
    write(sweep, store=store, out_dir=out)
    whole = {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    real, calls = os.fsync, []

    def ends(handle):
        calls.append(handle)
        if len(calls) == 2 * at - 1:  # a file, then its directory
            raise error
        real(handle)

    monkeypatch.setattr(os, "fsync", ends)
    with pytest.raises(type(error)):
        write(sweep, store=store, out_dir=out)
    monkeypatch.setattr(os, "fsync", real)
    assert {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()} == whole
    write(sweep, store=store, out_dir=out)
    assert {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()} == whole


def test_nothing_is_written_before_everything_is_rendered(tmp_path, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("eval.report.report.page.render", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(
            made.sweep_of(made.study(1), tmp_path),
            store=Store(tmp_path / "runs"),
            out_dir=tmp_path / "out",
        )
    assert not (tmp_path / "out").exists()
