"""Reports of made scores: holes, one seed, extreme accuracies, hostile names."""

import csv
import errno
import io
import json
import os
import re
from html.parser import HTMLParser
from types import ModuleType

import numpy as np
import pyarrow as pa
import pytest
from made_claims import paper_claims

from eval.claims.verdicts import decide
from eval.evidence import panel, table
from eval.evidence.estimates import OwnRuns
from eval.report.report import write
from eval.report.terminal import show_scores
from study.language.recipes.presets import world, world_suite_task, world_task
from study.language.recipes.tree import Scale, Setting, Study
from study.language.values.corpus import Corpus, Mixture, Text, TrainedBPE
from study.language.values.model import Model
from study.language.values.objective import Packing, Prompted, SpanCorruption
from study.language.values.stages import lineage
from study.language.values.suite import Scoring
from study.runs.cells import Naming
from study.runs.node import Evaluation, Trained, root
from study.runs.plan import Sweep, close
from study.runs.suite import Suite
from study.store import items as columns
from study.store.directory import Store
from study.store.weights import digest_of_names

HOSTILE = "<script>alert('x')</script> & \"|` _a_"
FAMILIES = ("effect", "cause", "similar")
PAIRS = 40


class AnyRate(dict):
    def __contains__(self, key):
        return True

    def __missing__(self, key):
        return 1e-3


def study(seeds):
    text = Corpus(
        slug="text",
        documents=Text(sources=(world("text", documents=100, seed=1),), held_out=0.1),
        tokenizer=TrainedBPE(vocab_size=300, sentinels=8),
    )
    mixture = Corpus(
        slug="mixture",
        documents=Mixture(tasks=(world_task("who", rows=20, seed=1),), cap=100, held_out=0.1),
        tokenizer=text,
    )
    suite = Suite(
        name="micro",
        scoring=Scoring(end_of_sequence=True, truncation="left"),
        tasks=tuple(
            world_suite_task(
                family,
                rows=2 * PAIRS,
                seed=9,
                chance=0.5,
                role="stretch" if family == "similar" else "headline",
            )
            for family in FAMILIES
        ),
    )
    setting = Setting(
        corpus=text,
        mixture=mixture,
        suite=suite,
        model=Model(
            architecture="causal_decoder",
            mixer="attention",
            positions="rope",
            layers=2,
            d_model=32,
            heads=2,
            d_head=16,
            d_ff=64,
            vocab_size=300,
            tied=True,
        ),
        packing=Packing(document_masking=True, eos_between=True),
        spans=SpanCorruption(raw_length=100, noise_density=0.15, mean_span=3.0),
        prompted=Prompted(inputs=64, targets=16),
    )
    scale = Scale(
        pretrain_steps=100,
        adapt_steps=30,
        finetune_steps=20,
        batch_size=8,
        finetune_batch_size=8,
    )
    runs = [
        run
        for seed in range(seeds)
        for run in Study(setting=setting, scale=scale, rates=AnyRate(), seed=seed).runs()
    ]
    return close(runs)


def sweep_of(runs, tmp_path, *, title="a title", claims=True):
    module = ModuleType("made")
    module.REPORT = {"title": title, "banner": "toy scale"}  # type: ignore[attr-defined]
    if claims:
        module.CLAIMS = paper_claims("micro", 0.05)  # type: ignore[attr-defined]
    return Sweep(path=tmp_path / "made.py", title=title, declared=runs, runs=runs, module=module)


def publish(run, store, accuracy, *, draw, other=None, weights="w", **changed):
    """Scores as `study.language.scores.execute` publishes them, with this accuracy on every family.
    changed: items, their number; tasks and scorer_version; columns, that replace those of every
    item; of_item, those of an item by its index and template.
    """
    items = changed.get("items", 2 * PAIRS)
    rows = []
    entries = {}
    for family in FAMILIES:
        for template in ("plain", "listed"):
            hits = draw.random(items) < accuracy
            entries[f"{family}/{template}"] = {
                "task": family,
                "template": template,
                "metric": "rank",
                "items": items,
                "skipped": {"not_applicable": 2},
                "twins": True,
                "chance_of_choices": 0.5,
                "lm_eval": {"acc": float(hits.mean())},
                "truncated": 1,
                "ties": 0,
                "invalid": 0,
            }
            for index, hit in enumerate(hits):
                rows.append(
                    {
                        "run": run.run.id,
                        "task": family,
                        "template": template,
                        "metric": "rank",
                        "index": index,
                        "group": index // 2,
                        "twins": True,
                        "key": "k",
                        "log_likelihoods": [-1.0, -2.0],
                        "end_log_likelihoods": [-0.1, -0.1],
                        "null_log_likelihoods": [-1.0, -1.0],
                        "tokens": [1, 1],
                        "bytes": [4, 4],
                        "gold": 0,
                        "prediction": 0 if hit else 1,
                        "correct": float(hit),
                        "correct_other_end": float(hit) if other is None else other,
                        "gold_nats_per_byte": -0.3,
                        "margin": 1.0,
                        "brier": 0.1,
                        "tie": False,
                        "valid": True,
                        "truncated": 0,
                        **changed.get("columns", {}),
                        **changed.get("of_item", lambda *_: {})(index, template),
                    }
                )
    directory = store.open(run)
    place = directory.scores("d")
    place.mkdir(parents=True)
    columns.write(pa.Table.from_pylist(rows, schema=columns.SCHEMA), place / "items.parquet")
    results = {
        "scoring": {"end_of_sequence": True, "truncation": "left"},
        "scorer_version": changed.get("scorer_version", 1),
        "max_length": 128,
        "lm_eval": "0.4.13",
        "digests": {"tasks": changed.get("tasks", "t"), "tokenizer": "k", "weights": weights},
        "tasks": entries,
    }
    (place / "results.json").write_text(json.dumps(results))
    directory.seal({"kind": "Evaluation", "scores": "d", "weights": weights})


AFTER = {
    "ED:MLM": 0.97,
    "ND:MLM": 0.85,
    "ND:PLM": 0.60,
    "CD:FLM": 0.80,
    "CD:MLM": 0.52,
    "ED:PLM": 0.50,
}


def accuracy_of(run, draw):
    """Chance before finetuning; after it an interaction as in the paper, and each seed's luck."""
    line = lineage(run)
    base = 0.5 if not line[-1].endswith("MTF") else AFTER[line[-2]]
    return min(1.0, base + 0.01 * root(run).seed + draw.normal(0, 0.005))


def publish_all(runs, store, *, skip=(), **options):
    draw = np.random.default_rng(0)
    for run in runs:
        if isinstance(run, Evaluation) and run.slug not in skip:
            publish(run, store, accuracy_of(run.run, draw), draw=draw, **options)


def validate_all(runs, store):
    """Losses of every training, as its loop logs them."""
    draw = np.random.default_rng(1)
    for run in runs:
        if not isinstance(run, Trained):
            continue
        steps = [run.training.steps * part // 6 for part in range(1, 7)]
        losses = 1 + 4 * np.exp(-np.arange(1, 7) / 2) + draw.normal(0, 0.02, 6)
        lines = (
            json.dumps({"event": "validation", "step": step, "loss": float(loss)})
            for step, loss in zip(steps, losses, strict=True)
        )
        store.open(run).events.write_text("\n".join(lines) + "\n")


class Checker(HTMLParser):
    """Well-formed, and nothing from outside."""

    void = ("meta", "link", "br", "img", "hr", "input")

    def __init__(self):
        super().__init__()
        self.open, self.outside, self.words, self.ids = [], [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in self.void:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href") and re.match(r"[a-z]+:|/", value or ""):
                self.outside.append(value)
            if name == "id":
                self.ids.append(value)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def checked(path):
    checker = Checker()
    checker.feed(path.read_text())
    checker.close()
    assert not checker.open
    assert not checker.outside
    assert len(checker.ids) == len(set(checker.ids))
    return " ".join(" ".join(checker.words).split())


def test_three_seeds_decide(tmp_path):
    runs, store = study(3), Store(tmp_path / "runs")
    publish_all(runs, store)
    words = checked(write(sweep_of(runs, tmp_path), store=store, out_dir=tmp_path / "out"))
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
    runs, store = study(1), Store(tmp_path / "runs")
    publish_all(runs, store)
    out = write(sweep_of(runs, tmp_path), store=store, out_dir=tmp_path / "out").parent
    words, markdown = checked(out / "report.html"), (out / "report.md").read_text()
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
    runs, store = study(1), Store(tmp_path / "runs")
    publish_all(runs, store)
    sweep = sweep_of(runs, tmp_path)
    rows = table.build(panel.panels(runs, store=store)).rows
    show_scores(sweep, store=store, as_json=True)
    assert [each["value"] for each in json.loads(capsys.readouterr().out)] == [
        row.value for row in rows
    ]
    show_scores(sweep, store=store, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(rows)
    for line, row in zip(lines[1:], rows, strict=True):
        assert row.cell in line
        assert f"{row.value:.3f}" in line


def test_one_seed_is_underpowered_everywhere(tmp_path):
    runs, store = study(1), Store(tmp_path / "runs")
    publish_all(runs, store)
    words = checked(write(sweep_of(runs, tmp_path), store=store, out_dir=tmp_path / "out"))
    assert "underpowered (1 seed)" in words
    assert "replicated (" not in words
    assert "over items only" in words
    (one,) = panel.panels(runs, store=store)
    found = decide(paper_claims("micro", 0.05), OwnRuns({"micro": one}, decided=1))
    assert {each.verdict for each in found} == {"underpowered (1 seed)", "not run"}


def test_nothing_scored_yet(tmp_path):
    runs, store = study(1), Store(tmp_path / "runs")
    words = checked(write(sweep_of(runs, tmp_path), store=store, out_dir=tmp_path / "out"))
    assert "0 of 17 planned scores" in words
    assert "hole" in words
    assert "No run has validated yet" in words
    assert "not run" in words


def test_holes_are_shown_as_holes(tmp_path):
    runs, store = study(1), Store(tmp_path / "runs")
    publish_all(runs, store, skip=("ed_mlm-ed_mtf-s0-micro",))
    words = checked(write(sweep_of(runs, tmp_path), store=store, out_dir=tmp_path / "out"))
    assert "16 of 17 planned scores" in words
    assert "seed 0: planned" in words
    assert "missing ED:MLM → ED:MTF" in words


@pytest.mark.parametrize("accuracy", [0.0, 1.0])
def test_extreme_accuracies(tmp_path, accuracy):
    runs, store = study(1), Store(tmp_path / "runs")
    draw = np.random.default_rng(0)
    for run in runs:
        if isinstance(run, Evaluation):
            publish(run, store, accuracy, draw=draw)
    words = checked(write(sweep_of(runs, tmp_path), store=store, out_dir=tmp_path / "out"))
    assert ("Below chance after finetuning (interference)" in words) == (accuracy == 0.0)
    for row in table.build(panel.panels(runs, store=store)).rows:
        assert row.low is not None
        assert row.high is not None
        assert 0 <= row.low <= row.value <= row.high <= 1
        assert row.high - row.low > 0.01


def test_hostile_names_stay_text(tmp_path):
    runs, store = study(1), Store(tmp_path / "runs")
    publish_all(runs, store)
    sweep = sweep_of(runs, tmp_path, title=HOSTILE)
    path = write(sweep, store=store, out_dir=tmp_path / "out")
    assert HOSTILE in checked(path)
    assert path.read_text().count("<script") == 1
    assert "<script" not in (path.parent / "report.md").read_text()


def test_scores_of_other_questions_are_refused(tmp_path):
    runs, store = study(1), Store(tmp_path / "runs")
    draw = np.random.default_rng(0)
    scored = [run for run in runs if isinstance(run, Evaluation)]
    for place, run in enumerate(scored):
        publish(run, store, 0.6, tasks="old" if place == 0 else "new", draw=draw)
    (one,) = panel.panels(runs, store=store)
    assert len(one.runs) == len(scored) - 1
    (hole,) = one.holes
    assert hole.hole == "other questions or scorer"


def test_scores_of_overwritten_weights_are_stale(tmp_path):
    runs, store = study(1), Store(tmp_path / "runs")
    run = next(run for run in runs if isinstance(run, Evaluation))
    files = {"config.json": "a", "model.safetensors": "b", "optimizer.safetensors": "c"}
    publish(run, store, 0.6, weights=digest_of_names(files), draw=np.random.default_rng(0))
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
    runs, store = study(3), Store(tmp_path / "runs")
    publish_all(runs, store, other=0.5)
    words = checked(write(sweep_of(runs, tmp_path), store=store, out_dir=tmp_path / "out"))
    assert "scorer-dependent" in words


def test_without_claims(tmp_path):
    runs, store = study(1), Store(tmp_path / "runs")
    sweep = sweep_of(runs, tmp_path, claims=False)
    words = checked(write(sweep, store=store, out_dir=tmp_path / "out"))
    assert "The sweep declares no claims." in words


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()]
)
@pytest.mark.parametrize("at", [1, 2, 3])
def test_an_end_in_between_leaves_whole_files_and_the_next_start_writes_them(
    tmp_path, monkeypatch, error, at
):
    runs, store = study(1), Store(tmp_path / "runs")
    sweep, out = sweep_of(runs, tmp_path), tmp_path / "out"
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
            sweep_of(study(1), tmp_path), store=Store(tmp_path / "runs"), out_dir=tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()
