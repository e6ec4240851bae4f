"""Reports of what should not be averaged, of what is missing, and of names that are no names."""

import csv
import io
import math
import re
from dataclasses import replace

import made_reports as made
import numpy as np
import pytest

from eval.evidence import panel, table
from eval.evidence.lines import lines
from eval.report import accounts
from eval.report.latex import escape
from eval.report.material import gather
from eval.report.report import build, files, write
from study.language.cells import AFTER, BEFORE, key_of
from study.language.values.stages import Finetune, Pretrain
from study.runs.node import Evaluation
from study.show.table import Details, Grid
from study.store.directory import Store

CELLS = ("cd_flm-s", "cd_flm-cd_mtf-s", "ed_mlm-s", "ed_mlm-ed_mtf-s", "cd_flm-nd_mlm-s")


def few(seeds):
    """Two lineages before and after finetuning, and an adapted one at a larger budget."""
    runs = made.study(seeds)
    return made.close(
        [run for run in runs if isinstance(run, Evaluation) and run.slug.startswith(CELLS)]
    )


def scored(runs):
    return [run for run in runs if isinstance(run, Evaluation)]


def sweep(runs, tmp_path, **named):
    return made.sweep_of(runs, tmp_path, claims=False, **named)


def grids(report, anchor):
    """Every table of a section, folded ones too."""

    def inside(blocks):
        for block in blocks:
            if isinstance(block, Grid):
                yield block
            elif isinstance(block, Details):
                yield from inside(block.blocks)

    (section,) = [each for each in report.sections if each.anchor == anchor]
    return list(inside(section.blocks))


def report_of(runs, store, tmp_path, **options):
    return build(gather(sweep(runs, tmp_path), store=store, out_dir=tmp_path / "out", **options))


def test_a_partial_sweep_shows_its_holes_beside_what_is_there(tmp_path):
    runs, store = few(3), Store(tmp_path / "runs")
    gone = ("ed_mlm-ed_mtf-s1-micro", "cd_flm-s0-micro", "cd_flm-s1-micro", "cd_flm-s2-micro")
    made.publish_all(runs, store, skip=gone)
    report = report_of(runs, store, tmp_path)
    headline = grids(report, "scores")[0]
    lines = {row.cells[0].text: [cell.text for cell in row.cells] for row in headline.rows}
    assert lines["ED:MLM"][9] == "2 of 3"
    assert lines["CD:FLM"][2] == "hole: planned"
    assert lines["CD:FLM"][5] == "0 of 3"
    assert lines["CD:FLM"][9] == "3"
    assert len(grids(report, "holes")[0].rows) == 4


def test_a_damaged_event_file_is_a_hole_and_the_report_goes_on(tmp_path):
    runs, store = few(3), Store(tmp_path / "runs")
    made.publish_all(runs, store)
    made.validate_all(runs, store)
    whole = len(accounts.learning_curves(runs, store=store))
    (first, *_) = [run for run in runs if isinstance(run, Pretrain)]
    events = store.open(first).events
    lines = events.read_text().splitlines(keepends=True)
    events.write_text("".join([*lines[:2], "\x00 no event\n", *lines[2:]]))
    report = report_of(runs, store, tmp_path)
    (unread,) = grids(report, "holes")
    ((name, why),) = [[cell.text for cell in row.cells] for row in unread.rows]
    assert name == first.slug
    assert f"{events}:3 is no event" in why
    assert len(accounts.learning_curves(runs, store=store)) == whole - 1


def test_a_sweep_that_was_never_run_has_a_report_of_holes(tmp_path):
    runs, store = few(1), Store(tmp_path / "runs")
    report = report_of(runs, store, tmp_path)
    (holes,) = grids(report, "holes")
    assert len(holes.rows) == len(scored(runs))
    assert {row.cells[-1].text for row in holes.rows} == {"seed 0: planned"}


def test_unequal_budgets_stand_in_one_table_only_when_asked_and_then_labelled(tmp_path):
    runs, store = few(1), Store(tmp_path / "runs")
    made.publish_all(runs, store)
    budgets = {run.key.tokens for run in panel.panels(runs, store=store)[0].runs}
    assert len(budgets) == 2

    def told(report):
        tables = [each for each in grids(report, "scores") if each.groups]
        return [{row.cells[1].text for row in each.rows} for each in tables], report

    apart, report = told(report_of(runs, store, tmp_path))
    assert [len(each) for each in apart] == [1, 1]
    words = " ".join(block.text for block in report.sections[0].blocks if hasattr(block, "text"))
    assert "no comparison" in words
    together, report = told(report_of(runs, store, tmp_path, budgets="label"))
    assert [len(each) for each in together] == [2]
    notes = [b.text for b in report.sections[0].blocks if getattr(b, "style", "") == "note"]
    assert len(notes) == 1
    assert all(f"{each:,}" in notes[0] for each in budgets)
    # a pair of cells of unequal budgets is in no matrix, asked or not
    for grid in grids(report, "differences"):
        ends = {(row.cells[0].text, row.cells[1].text) for row in grid.rows}
        assert ("CD:FLM → CD:MTF", "CD:FLM → ND:MLM → ND:MTF") not in ends


def test_scores_of_another_scorer_version_are_holes_and_never_averaged(tmp_path):
    runs, store = few(2), Store(tmp_path / "runs")
    draw = np.random.default_rng(0)
    for place, run in enumerate(scored(runs)):
        other = place == 0
        made.publish(run, store, 0.0 if other else 0.9, scorer_version=2 - other, draw=draw)
    (one,) = panel.panels(runs, store=store)
    (hole,) = one.holes
    assert hole.run == scored(runs)[0]
    assert hole.hole == "other questions or scorer: scorer version 1, not 2"
    rows = {row.cell: row for row in table.build([one]).suite_rows() if not row.hole}
    own = rows[hole.key.label]
    assert own.seeds == 1
    assert own.value > 0.8
    words = made.checked(write(sweep(runs, tmp_path), store=store, out_dir=tmp_path / "out"))
    assert hole.hole in words


def test_two_pretrainings_under_one_name_are_not_averaged(tmp_path):
    runs, store = few(1), Store(tmp_path / "runs")
    first = next(run for run in scored(runs) if isinstance(run.run, Pretrain))
    # a longer run's checkpoint is no end of a run, and their names are equal
    training = replace(first.run.training, steps=2 * first.run.training.steps)
    second = replace(
        first, slug="twin", run=replace(first.run, slug="twin-training", training=training)
    )
    runs = made.close([*runs, second])
    draw = np.random.default_rng(0)
    for run in scored(runs):
        made.publish(run, store, 0.0 if run == second else 1.0, draw=draw)
    (one,) = panel.panels(runs, store=store)
    holes = {each.run.slug: each.hole for each in one.holes}
    assert set(holes) == {first.slug, "twin"}
    assert holes["twin"] == f"duplicate cell: {first.slug} and twin differ and are not averaged"
    assert all(key.label != "CD:FLM" for key in one.cells)


def test_finetunings_that_differ_in_their_seed_are_one_cell(tmp_path):
    runs, store = few(1), Store(tmp_path / "runs")
    first = next(run for run in scored(runs) if isinstance(run.run, Finetune))
    again = replace(
        first, slug="again", run=replace(first.run, slug="again-training", seed=first.run.seed + 9)
    )
    runs = made.close([*runs, again])
    draw = np.random.default_rng(0)
    for run in scored(runs):
        made.publish(run, store, 0.0 if run == again else 1.0, draw=draw)
    (one,) = panel.panels(runs, store=store)
    assert one.holes == ()
    values = {row.cell: row.value for row in table.build([one]).suite_rows()}
    assert values["CD:FLM → CD:MTF"] == 0.5


@pytest.mark.parametrize("accuracy", [0.0, 1.0])
def test_one_item_has_an_interval_that_says_little(tmp_path, accuracy):
    runs, store = few(1), Store(tmp_path / "runs")
    draw = np.random.default_rng(0)
    for run in scored(runs):
        made.publish(run, store, accuracy, items=1, draw=draw)
    made.checked(write(sweep(runs, tmp_path), store=store, out_dir=tmp_path / "out"))
    for row in table.build(panel.panels(runs, store=store)).task_rows():
        assert row.items == 1
        assert row.value == accuracy
        # Wilson's for one trial: z^2 / (1 + z^2)
        assert row.wilson_high - row.wilson_low == pytest.approx(0.793, abs=0.002)


def test_a_task_that_guessing_solves_is_refused_where_it_is_declared():
    """It has no score over chance: 1 / (1 - chance) is no number."""
    task = scored(few(1))[0].suite.tasks[0]
    with pytest.raises(ValueError, match=r"SuiteTask.chance is 1.0; legal: 0.0 <= chance < 1.0"):
        replace(task, chance=1.0)
    assert replace(task, chance=0.99).chance == 0.99


def test_a_metric_that_is_no_number_is_a_gap_and_no_mean(tmp_path):
    runs, store = few(1), Store(tmp_path / "runs")
    draw = np.random.default_rng(0)
    empty = {"correct": math.nan, "correct_other_end": math.nan, "gold_nats_per_byte": None}
    for place, run in enumerate(scored(runs)):
        made.publish(run, store, 0.9, columns=empty if place == 0 else {}, draw=draw)
    path = write(sweep(runs, tmp_path), store=store, out_dir=tmp_path / "out")
    words = made.checked(path)
    assert not re.search(r"\bnan\b", words, re.IGNORECASE)
    for name in ("report.csv", "report.md", "report.tex"):
        text = (path.parent / name).read_text()
        assert not re.search(r"\bnan\b", text, re.IGNORECASE), name
    rows = list(csv.DictReader(io.StringIO((path.parent / "report.csv").read_text())))
    own = [row for row in rows if row["cell"] == "CD:FLM"]
    assert own
    assert all(row["value"] == "" for row in own)


def test_names_are_text_in_every_form(tmp_path):
    runs, store = few(1), Store(tmp_path / "runs")
    renamed = [
        replace(run, suite=replace(run.suite, name=made.HOSTILE_LATEX[:40] + "%&_{}$"))
        for run in scored(runs)
    ]
    runs = made.close(renamed)
    made.publish_all(runs, store)
    hostile = sweep(runs, tmp_path, title=made.HOSTILE_LATEX)
    path = write(hostile, store=store, out_dir=tmp_path / "out")
    assert made.HOSTILE_LATEX in made.checked(path)
    page = path.read_text()
    assert "<img" not in page
    assert "<img" not in (path.parent / "report.md").read_text()
    tex = (path.parent / "report.tex").read_text()
    assert r"\input{/etc" not in tex
    for name in (path.parent / "figures").iterdir():
        assert re.fullmatch(r"[a-z0-9-]+\.(svg|pdf)", name.name)
    for name in (path.parent / "items").iterdir():
        assert re.fullmatch(r"[a-z0-9-]+\.parquet", name.name)


def test_every_letter_that_latex_reads_is_escaped():
    for letter in map(chr, [*range(32, 0x250), 0x2192, 0x2212, 0x4E2D, 0x1F600]):
        found = escape(f"a{letter}b")
        assert found.isascii() or 0xC0 <= ord(letter) <= 0xFF
        bare = re.sub(r"\\[a-zA-Z]+(\{\}|12|14|34)?|\\[{}$&#%_]|\{-\}|\$[^$]*\$", "", found)
        assert not set(bare) & set("\\{}$&#%_^~"), letter


def test_the_same_scores_give_the_same_bytes(tmp_path):
    runs, store = few(1), Store(tmp_path / "runs")
    made.publish_all(runs, store)
    made.validate_all(runs, store)
    first, second = (
        files(gather(sweep(runs, tmp_path), store=store, out_dir=tmp_path / "out"))
        for _ in range(2)
    )
    assert {name.partition("/")[0] for name in first} >= {"figures", "items", "report.html"}
    assert any(name.endswith(".pdf") for name in first)
    for name, data in first.items():
        assert data == second[name], name


def test_rows_of_one_lineage_pair_and_a_hole_hides_no_score():
    def row(*lineage, **rest):
        key = key_of(lineage, tokens=5)
        base = {"suite": "s", "size": "z", "task": table.SUITE, "role": "headline", "key": key}
        base |= {"metric": "mean", "unit": "accuracy", "seeds": 1, "items": 1, "tokens": 5}
        return table.Row(cell=key.label, stage=key.stage_label, **(base | rest))

    before = row("CD:FLM", value=0.1)
    after = row("CD:FLM", "CD:MTF", value=0.2)
    gap = row("CD:FLM", "CD:MTF", hole="seed 1: failed")
    other = row("CD:FLM", "ND:MTF", value=0.3)
    one, two = lines([before, after, other, gap])
    assert (one.label, one.scores, one.holes) == ("CD:FLM", {BEFORE: before, AFTER: after}, (gap,))
    assert (two.label, two.scores) == ("CD:FLM → ND:MTF", {AFTER: other})
