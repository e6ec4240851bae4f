"""A domain that the report does not know: trained, scored, compared, decided and printed."""

import csv
import json
import re
from dataclasses import replace
from types import ModuleType

import made_reports
import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny_runs
import toy_domain as toy

from eval.claims.claim import Claim
from eval.claims.decided import by_size
from eval.evidence import panel, table
from eval.evidence.contrast import Contrast
from eval.report.report import write
from study.runs.node import Evaluation
from study.runs.plan import Sweep, close
from study.runs.suite import Suite
from study.store.directory import Store
from study.train.work import execute

SUITE = Suite(
    name="sums",
    tasks=(
        toy.Sums(name="near", distance=1.0),
        toy.Sums(name="far", distance=2.0),
        toy.Sums(name="share of squares", distance=2.0, of="relative error", counts=False),
        toy.Sums(name="worst", distance=1.0, of="90th percentile", counts=False),
        toy.Sums(name="centre", distance=1.0, of="distance of means", counts=False),
    ),
    scoring=toy.Nearest(neighbours=1),
)
SCALES, SEEDS, STEPS = (1.0, 0.01), 3, 6


@pytest.fixture(scope="module", autouse=True)
def _toy():
    with toy.registered():
        yield


@pytest.fixture(scope="module")
def plan():
    runs = []
    for scale in SCALES:
        for seed in range(SEEDS):
            slug = f"scale {scale:g} s{seed}"
            run = toy.train(slug, training=tiny_runs.training(STEPS), scale=scale, seed=seed)
            runs.append(Evaluation(slug=f"{slug} scores", run=run, step=STEPS, suite=SUITE))
    return close(runs)


@pytest.fixture(scope="module")
def store(plan, tmp_path_factory):
    found = Store(tmp_path_factory.mktemp("toy") / "runs")
    for run in plan:
        if isinstance(run, Evaluation):
            toy.score(run, store=found, execution=None)
        else:
            execute(run, store=found, execution=tiny_runs.execution())
    return found


@pytest.fixture(scope="module")
def found(plan, store):
    (one,) = panel.panels(plan, store=store)
    return one


def _items(run, store):
    directory = store.existing(run)
    return pq.read_table(directory.scores(directory.done()["scores"]) / "items.parquet")


def _columns(run, store, task, condition, *names):
    rows = [
        row
        for row in _items(run, store).to_pylist()
        if (row["task"], row["condition"]) == (task, condition)
    ]
    return [np.array([row[name] for row in rows]) for name in names]


def test_its_scores_are_those_of_its_own_items(plan, store, found):
    """Every aggregation, recomputed from the published files with no code of the report."""
    assert [key.label for key in found.cells] == ["line", "line x0.01"]
    assert found.measure.name == "error"
    assert found.chance is None
    tasks = {each.task.name: each for each in found.tasks}
    of = {
        "near": lambda run, at: _columns(run, store, "near", at, "error")[0].mean(),
        "share of squares": lambda run, at: np.divide(
            *(
                each.sum()
                for each in _columns(run, store, "share of squares", at, "error", "square")
            )
        ),
        "worst": lambda run, at: np.quantile(_columns(run, store, "worst", at, "error")[0], 0.9),
        "centre": lambda run, at: abs(
            np.subtract(*_columns(run, store, "centre", at, "pair")[0].mean(axis=0))
        ),
    }
    for run in (each for each in plan if isinstance(each, Evaluation)):
        place = (SCALES.index(run.run.objective.scale), run.run.seed)
        for name, value in of.items():
            by_hand = np.median([value(run, f"noise {noise:g}") for noise in toy.NOISE])
            assert tasks[name].scores()[place] == pytest.approx(by_hand), name
    (gap,) = found.derived
    values, drawn = found.made(gap)
    assert values == pytest.approx(tasks["far"].scores() - tasks["near"].scores())
    assert drawn == pytest.approx(tasks["far"].bootstrap() - tasks["near"].bootstrap())


def test_its_table_has_numbers_without_chance_and_errors_over_seeds_and_items(found):
    rows = {row.task: row for row in table.build([found]).rows if row.cell == "line"}
    assert set(rows) == {table.SUITE, *(task.name for task in SUITE.tasks), "far less near"}
    for row in rows.values():
        assert row.stage == ""
        assert (row.chance, row.normalised, row.p, row.wilson_low) == (None,) * 4
        assert row.low < row.value < row.high
        assert row.interval == "seeds and items"
        assert row.seeds == SEEDS
    assert {name: row.unit for name, row in rows.items()} == {
        table.SUITE: "error",
        "near": "error",
        "far": "error",
        "share of squares": "relative error",
        "worst": "90th percentile",
        "centre": "distance of means",
        "far less near": "far less near",
    }
    assert rows["near"].items == toy.POINTS_SCORED


def _claims():
    """Far points are harder for what was trained with hardly any loss; the other way round."""

    def claim(name, high, low):
        weights = (((high,), 1.0), ((low,), -1.0))
        contrast = Contrast(
            name=f"{high} above {low}", suite="sums", weights=weights, kind="greater", margin=0.1
        )
        return Claim(id=name, text=name, kind="greater", components=(contrast,))

    return (claim("A", "line x0.01", "line"), claim("B", "line", "line x0.01"))


def test_claims_about_it_are_decided(plan, store, found):
    (block,) = by_size([found], _claims(), runs=plan, store=store)
    values = found.scores().mean(axis=1)
    for each, sign in zip(block.verdicts, (-1, 1), strict=True):
        (component,) = each.components
        assert component.estimate.value == pytest.approx(sign * (values[0] - values[1]))
        assert component.estimate.basis == "seeds and items"
        assert not component.estimate.floor
    assert {each.verdict for each in block.verdicts} <= {
        "replicated",
        "contradicted",
        "underpowered",
    }


def test_a_measure_with_its_error_from_seeds_alone_is_not_decided_by_few(plan, store):
    def only(run):
        tasks = tuple(replace(each, counts=each.name == "centre") for each in SUITE.tasks)
        return replace(run, suite=replace(SUITE, name="centres", tasks=tasks))

    few = [only(run) for run in plan if isinstance(run, Evaluation) and run.run.seed < 2]
    for run in few:
        toy.score(run, store=store, execution=None)
    (one,) = panel.panels(close(few), store=store)
    contrast = replace(_claims()[0].components[0], suite="centres")
    claim = replace(_claims()[0], components=(contrast,))
    (block,) = by_size([one], (claim,), runs=few, store=store)
    assert block.verdicts[0].verdict == "not run"
    assert "error from seeds alone: 2 are there; it takes 3" in block.verdicts[0].reason


def test_its_report_is_whole_and_speaks_of_no_other_domain(plan, store, tmp_path):
    module = ModuleType("toy_sweep")
    module.CLAIMS = _claims()  # type: ignore[attr-defined]
    sweep = Sweep(path=tmp_path / "toy.py", title="toy", declared=plan, runs=plan, module=module)
    page = write(sweep, store=store, out_dir=tmp_path / "out")
    words = made_reports.checked(page)
    assert "6 of 6 planned scores, 2 cells, 3 seeds, 2 headline tasks" in words
    assert "error (lower is better)" in words
    assert "Squared errors over squares." in words
    assert "far less near" in words
    assert "line x0.01" in words
    for foreign in ("prompt", "finetuning", "over chance", "Above chance", "n-gram"):
        assert foreign not in words, foreign
    markdown = (page.parent / "report.md").read_text()
    assert not re.search(r"\| *(None|nan|inf)\b", markdown)
    with (page.parent / "report.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert "gold_nats_per_byte" not in rows[0]
    assert {row["unit"] for row in rows} >= {"error", "relative error", "far less near"}
    assert (page.parent / "figures" / "headline-sums-width-8.svg").exists()
    assert "error" in (page.parent / "report.tex").read_text()


def test_items_that_lack_a_column_are_a_hole(plan, store, monkeypatch):
    run = next(each for each in plan if isinstance(each, Evaluation))
    monkeypatch.setitem(
        toy.domain._domains,
        "toy",
        replace(toy.TOY, items=lambda items: items.drop_columns(["condition"])),
    )
    owners = dict.fromkeys(toy.TOY.values, toy.domain._domains["toy"])
    for owner, value in owners.items():
        monkeypatch.setitem(toy.domain._owners, owner, value)
    (one,) = panel.panels(close([run]), store=store)
    assert "items without the columns condition" in one.holes[0].hole
    assert json.dumps(one.holes[0].hole)
