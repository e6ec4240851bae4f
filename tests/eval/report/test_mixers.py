"""The report's section on mixers, of made scores and made times."""

from dataclasses import replace

import made_reports as made
import numpy as np

from eval.evidence import panel, table
from eval.report import mixers
from eval.report.report import write
from study.language import cost
from study.language.values.stages import Pretrain
from study.runs import cells
from study.runs.identity import canonical
from study.runs.node import Evaluation
from study.store import times
from study.store.directory import Store

SSD = {"mixer": "ssd", "positions": "none", "d_state": 4}
LENGTHS = (512, 1024, 2048)


def plan(*shapes):
    """Every pretraining of the made study with its scores, once for each shape."""
    runs = []
    for number, fields in enumerate(shapes):
        for run in made.study(1):
            if isinstance(run, Evaluation) and isinstance(run.run, Pretrain):
                model = replace(run.run.model, **fields)
                trained = replace(run.run, slug=f"{run.run.slug}-{number}", model=model)
                runs += [trained, replace(run, slug=f"{run.slug}-{number}", run=trained)]
    return made.close(runs)


def publish(runs, store, accuracy):
    draw = np.random.default_rng(0)
    for run in runs:
        if isinstance(run, Evaluation):
            made.publish(run, store, accuracy(run.run.model), draw=draw)


def section(runs, store, tmp_path):
    sweep = made.sweep_of(runs, tmp_path, claims=False)
    return made.checked(write(sweep, store=store, out_dir=tmp_path / "out"))


def measured(runs, seconds):
    models = dict.fromkeys(run.model for run in runs if isinstance(run, Pretrain))
    return tuple(
        times.Times(
            model=canonical(model),
            lengths=LENGTHS,
            seconds=tuple(seconds(model, length) for length in LENGTHS),
            machine="a machine",
            threads=1,
            backend="torch",
        )
        for model in models
    )


def test_two_mixers_of_one_width_are_two_cells_and_never_averaged(tmp_path):
    runs, store = plan({}, SSD), Store(tmp_path)
    publish(runs, store, lambda model: 1.0 if model.mixer == "attention" else 0.0)
    (one,) = panel.panels(runs, store=store)
    assert {key.label for key in one.cells} >= {"CD:FLM", "CD:FLM (ssd)"}
    scores = {row.cell: row.value for row in table.build([one]).suite_rows()}
    assert scores["CD:FLM"] == 1.0
    assert scores["CD:FLM (ssd)"] == 0.0
    costs = {point.key.label: point for point in mixers.points([one], table.build([one]))}
    assert costs["CD:FLM (ssd)"].parameters == cost.parameter_count(
        next(
            run.model
            for run in runs
            if isinstance(run, Pretrain)
            and (run.model.mixer, run.model.architecture) == ("ssd", "causal_decoder")
        )
    )


def test_the_section_shows_costs_scores_and_exponents(tmp_path):
    runs, store = plan({}, SSD), Store(tmp_path / "runs")
    publish(runs, store, lambda model: 0.9)
    times.save(
        measured(runs, lambda model, n: 1e-6 * n ** (2 if model.mixer == "attention" else 1)),
        store.root,
    )
    words = section(runs, store, tmp_path)
    assert "Mixers: quality and cost" in words
    assert "CD:FLM (ssd)" in words
    assert "2.00 ± 0.00" in words
    assert "1.00 ± 0.00" in words
    assert "a machine, 1 thread, kernels torch" in words
    assert "cells matched by parameters, by FLOPs" not in words
    text = (tmp_path / "out" / "report.md").read_text()
    assert "## Mixers: quality and cost" in text
    assert "### Measured cost against length" in text


def test_without_measured_times_the_hole_names_the_command(tmp_path):
    runs, store = plan({}, SSD), Store(tmp_path / "runs")
    publish(runs, store, lambda model: 0.9)
    words = section(runs, store, tmp_path)
    assert "Nothing was measured beside this store: study mixers --measure SWEEP" in words


def test_a_plan_of_one_mixer_has_no_section(tmp_path):
    runs, store = plan({}), Store(tmp_path / "runs")
    publish(runs, store, lambda model: 0.9)
    times.save(measured(runs, lambda model, n: 1e-6 * n), store.root)
    words = section(runs, store, tmp_path)
    assert "Mixers" not in words
    assert "Mixers" not in (tmp_path / "out" / "report.md").read_text()
    assert "CD:FLM ·" in words


def test_nothing_scored_yet_is_no_reason_to_fail(tmp_path):
    section(plan({}, SSD), Store(tmp_path / "runs"), tmp_path)


def test_times_of_other_models_are_not_shown(tmp_path):
    runs = plan({}, SSD)
    others = plan({"d_ff": 80})
    assert mixers.growths(runs, measured(others, lambda model, n: 1e-6 * n)) == []


def test_matched_means_within_three_per_cent_of_attention():
    def point(parameters, flops):
        return mixers.Point(
            key=cells.CellKey(lineage=("CD:FLM",), tokens=1),
            mixer="ssd",
            parameters=1,
            flops=1,
            rows=(),
            parameters_ratio=parameters,
            flops_ratio=flops,
        )

    assert point(1.0, 1.0).matched == ("parameters", "FLOPs")
    assert point(1.02, 0.76).matched == ("parameters",)
    assert point(1.32, 0.98).matched == ("FLOPs",)
    assert point(0.96, 1.04).matched == ()
    assert point(None, None).matched == ()


def test_ratios_are_over_attention_of_the_same_lineage(tmp_path):
    runs, store = plan({}, SSD), Store(tmp_path)
    publish(runs, store, lambda model: 0.9)
    found = panel.panels(runs, store=store)
    points = {each.key.label: each for each in mixers.points(found, table.build(found))}
    assert points["ED:PLM"].matched == ("parameters", "FLOPs")
    for cell in ("CD:FLM", "ED:PLM"):
        own, reference = points[f"{cell} (ssd)"], points[cell]
        assert own.parameters_ratio == own.parameters / reference.parameters != 1
        assert own.flops_ratio == own.flops / reference.flops != 1


def test_with_two_attention_models_there_is_no_reference(tmp_path):
    runs, store = plan({}, {"d_ff": 80}, SSD), Store(tmp_path)
    publish(runs, store, lambda model: 0.9)
    found = panel.panels(runs, store=store)
    assert {each.matched for each in mixers.points(found, table.build(found))} == {()}
