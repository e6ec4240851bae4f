"""Real tiny checkpoints beside made published numbers: what agrees, what does not, and holes."""

import csv
import io
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from eval.evidence.calibration import as_csv, cells, differences, summary
from eval.evidence.published import Published
from eval.report.report import write
from eval.report.terminal import show_scores
from study.language.data import tokenizer
from study.language.recipes.presets import world, world_suite_task
from study.language.scores.execute import execute
from study.language.scores.subjects import directory_digest
from study.language.values.stages import External
from study.language.values.suite import Scoring
from study.runs.execution import Execution
from study.runs.node import Evaluation
from study.runs.plan import Sweep, close, load_sweep
from study.runs.source import Source
from study.runs.suite import Suite
from study.sources import content
from study.sources.content import Access
from study.store.directory import Store

SWEEP = Path(__file__).parents[3] / "sweeps" / "calibration.py"
FAMILIES = ("effect", "cause")
ROWS = 120


def t5_directory(directory, texts):
    """A T5 v1.1 as transformers writes it, with a tokenizer in T5's own layout (pad 0, end 1)."""
    own = tokenizer.train(texts, vocab_size=300, sentinels=8)
    torch.manual_seed(0)
    config = T5Config(
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        vocab_size=own.vocab_size,
        feed_forward_proj="gated-gelu",
        decoder_start_token_id=0,
    )
    model = T5ForConditionalGeneration(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape))
    model.save_pretrained(directory)
    own.save(directory / "tokenizer.json")


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A tiny T5 scored on a suite of two tasks under three templates."""
    root = tmp_path_factory.mktemp("calibration")
    access = Access(data_dirs=(), cache=root / "cache", offline=True)
    texts = list(content.documents(world("text", documents=60, seed=1), access=access))
    t5_directory(root / "tiny-t5", texts)
    checkpoint = External(
        slug="tiny_t5",
        source=Source(
            uri="file://tiny-t5",
            digest=f"sha256:{directory_digest(root / 'tiny-t5')}",
            text_field="",
            where=(),
            part=None,
        ),
        architecture="encoder_decoder",
    )
    suite = Suite(
        name="micro",
        scoring=Scoring(end_of_sequence=True, truncation="right"),
        tasks=tuple(
            replace(
                world_suite_task(family, rows=ROWS, seed=9, chance=0.5, role="headline"),
                template_names=("answer", "choose", "listed"),
            )
            for family in FAMILIES
        ),
    )
    run = Evaluation(slug="tiny_t5-micro", run=checkpoint, step=0, suite=suite)
    store = Store(root / "runs")
    execution = Execution(cache=root / "cache", data_dirs=(root,), offline=True)
    for each in (checkpoint, run):
        execute(each, store=store, execution=execution)
    return run, store


def by_template(run, store, task):
    """Accuracy under each template, counted from the published items with no code of `eval`."""
    directory = store.existing(run)
    table = pq.read_table(directory.scores(directory.done()["scores"]) / "items.parquet")
    own = table.filter(pc.field("task") == task).to_pylist()
    hits = {}
    for row in own:
        hits.setdefault(row["template"], []).append(row["correct"])
    return [float(np.mean(each)) for each in hits.values()]


def published(scores, **changes):
    made = {"suite": "micro", "what": "made", "source": "made", "tasks": 2}
    return {"tiny_t5": (Published(scores=scores, **made | changes),)}


def one(declared, run, store):
    (row,) = differences(declared, [run], store=store)
    return row


@pytest.mark.parametrize("prompts", ["median", "mean"])
def test_ours_is_put_together_as_the_source_does(scored, prompts):
    run, store = scored
    accuracies = by_template(run, store, "effect")
    wanted = float(getattr(np, prompts)(accuracies))
    row = one(published({"effect": 50.0}, prompts=prompts), run, store)
    assert row.ours == pytest.approx(wanted)
    assert row.difference == pytest.approx(wanted - 0.5)
    assert 0 <= row.low < row.ours < row.high <= 1


def test_a_median_and_a_mean_differ_here(scored):
    """Else the test above could not tell them apart."""
    run, store = scored
    accuracies = by_template(run, store, "effect")
    assert abs(np.median(accuracies) - np.mean(accuracies)) > 0.001, accuracies


def test_a_number_as_ours_is_inside_and_a_planted_wrong_one_outside(scored):
    run, store = scored
    ours = one(published({"effect": 50.0}), run, store)
    same = one(published({"effect": 100 * ours.ours}), run, store)
    assert (same.verdict, same.difference) == ("inside", pytest.approx(0))
    for bound, way in ((ours.low, -1), (ours.high, 1)):
        just = one(published({"effect": 100 * bound - way * 0.01}), run, store)
        wrong = one(published({"effect": 100 * bound + way * 0.01}), run, store)
        assert (just.verdict, wrong.verdict) == ("inside", "outside")
        assert np.sign(wrong.difference) == -way


def test_the_interval_is_no_narrower_than_that_of_the_items(scored):
    """Templates are no items: of 120 rows under several templates the interval is that of 120."""
    from eval.evidence.statistics import wilson

    run, store = scored
    row = one(published({"effect": 50.0}, prompts="mean"), run, store)
    low, high = wilson(row.ours, ROWS * len(by_template(run, store, "effect")))
    assert row.high - row.low > high - low


@pytest.mark.parametrize("name", ["(suite)", "both (mean)"])
def test_means_over_tasks(scored, name):
    run, store = scored
    wanted = np.mean([np.median(by_template(run, store, task)) for task in FAMILIES])
    row = one(published({name: 50.0}, means={"both (mean)": FAMILIES}), run, store)
    assert row.ours == pytest.approx(wanted)
    single = one(published({"effect": 50.0}), run, store)
    assert row.high - row.low < single.high - single.low  # two data sets tell more than one


def test_holes_are_rows(scored):
    run, store = scored
    declared = published({"effect": 50.0, "winogrande": 51.0}) | {
        "absent": (Published(suite="micro", what="w", source="s", scores={"effect": 1.0}),)
    }
    rows = differences(declared, [run], store=store)
    assert [row.task for row in rows] == ["effect", "winogrande", "effect"]
    assert [bool(row.hole) for row in rows] == [False, True, True]
    assert "no task 'winogrande'" in rows[1].hole
    assert "no evaluation of 'absent' on 'micro'" in rows[2].hole
    assert all(row.verdict == "" and row.difference is None for row in rows if row.hole)
    assert summary(rows).startswith(f"{int(rows[0].verdict == 'inside')} of 1 published")
    assert "2 of 3 rows cannot" in summary(rows)


def test_an_evaluation_that_has_no_scores_is_a_hole(scored, tmp_path):
    run, _ = scored
    row = one(published({"effect": 50.0}), run, Store(tmp_path / "empty"))
    assert (row.ours, row.hole) == (None, "planned")


def test_a_checkpoint_without_published_numbers_shows_ours(scored):
    run, store = scored
    declared = published({}, source="", what="no published number was found")
    row = one(declared, run, store)
    assert row.task == "(suite)"
    assert row.ours is not None
    assert row.hole == "no published number"


def test_means_over_other_numbers_of_tasks_are_not_compared(scored):
    run, store = scored
    row = one(published({"(suite)": 50.0}, tasks=31), run, store)
    assert row.hole == "the source's mean is over 31 tasks, ours over 2"
    assert row.difference is None


def test_damaged_scores_are_a_hole(scored):
    """Scores that lost their table are said to be unreadable, not compared."""
    run, store = scored
    directory = store.existing(run)
    items = directory.scores(directory.done()["scores"]) / "items.parquet"
    kept = items.read_bytes()
    items.write_bytes(kept[: len(kept) // 2])
    try:
        row = one(published({"effect": 50.0}), run, store)
    finally:
        items.write_bytes(kept)
    assert row.hole.startswith("scores unreadable: scores/")
    assert str(store.root) not in row.hole


def test_study_eval_prints_it_where_numbers_are_declared(scored, capsys):
    run, store = scored
    module = ModuleType("made")
    module.PUBLISHED = published({"effect": 50.0, "(suite)": 99.0})
    runs = close([run])
    sweep = Sweep(path=Path("made.py"), title="t", declared=(run,), runs=runs, module=module)
    show_scores(sweep, store=store, as_json=False)
    printed = capsys.readouterr().out
    assert "published, %" in printed
    assert "outside" in printed
    show_scores(replace(sweep, module=None), store=store, as_json=False)
    assert "published, %" not in capsys.readouterr().out


def test_the_report_has_a_section_of_it_where_numbers_are_declared(scored, tmp_path):
    run, store = scored
    module = ModuleType("made")
    module.PUBLISHED = published({"effect": 50.0, "<b>none</b>": 1.0})
    runs = close([run])
    sweep = Sweep(path=Path("made.py"), title="t", declared=(run,), runs=runs, module=module)
    page = write(sweep, store=store, out_dir=tmp_path / "with").read_text()
    assert 'id="calibration"' in page
    assert "our suite has no task" in page
    assert "<b>none</b>" not in page
    rows = list(csv.DictReader((tmp_path / "with" / "calibration.csv").open()))
    assert [row["published"] for row in rows] == ["0.5", "0.01"]
    assert rows[0]["ours"] != ""
    page = write(replace(sweep, module=None), store=store, out_dir=tmp_path / "without").read_text()
    assert 'id="calibration"' not in page
    assert not (tmp_path / "without" / "calibration.csv").exists()


def test_the_csv_has_every_field_and_the_cells_are_text(scored):
    run, store = scored
    rows = differences(published({"effect": 50.0, "nothing": 1.0}), [run], store=store)
    read = list(csv.DictReader(io.StringIO(as_csv(rows))))
    assert float(read[0]["ours"]) == rows[0].ours
    assert read[1]["ours"] == ""
    assert cells(rows[1])[3:7] == ("1.0", "–", "–", "–")


@pytest.mark.parametrize(
    ("scores", "changes", "match"),
    [
        ({"effect": 0.5, "cause": 101.0}, {}, "'cause' is published as 101"),
        ({"effect": 50.0}, {"source": ""}, "legal: scores with their source"),
        ({"(suite)": 50.0}, {"tasks": 0}, "mean of 0 tasks; legal: 1 or more"),
    ],
)
def test_bad_declarations_are_refused(scores, changes, match):
    with pytest.raises(ValueError, match=match):
        published(scores, **changes)


def test_the_sweep_declares_numbers_of_its_own_checkpoints_and_tasks():
    """Every number is of a declared evaluation, and of tasks that it has unless that is said."""
    sweep = load_sweep(SWEEP)
    assert sweep.module is not None
    known = {
        (run.run.slug, run.suite.name): {task.name for task in run.suite.tasks}
        for run in sweep.runs
        if isinstance(run, Evaluation)
    }
    for slug, entries in sweep.module.PUBLISHED.items():
        for entry in entries:
            tasks = known[slug, entry.suite]
            named = {task for name in entry.scores for task in entry.tasks_of(name)}
            assert named <= tasks
