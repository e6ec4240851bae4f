"""`study claims`: needs beside verdicts, and the same verdicts as the report's."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import made_reports as made
import pytest
from made_claims import paper_claims
from typer.testing import CliRunner

from eval.claims import checklist
from eval.claims.decided import by_size
from eval.evidence.panel import panels
from study.cli import app
from study.language.cells import AFTER, LanguageNames
from study.language.values.stages import Finetune
from study.runs.node import Evaluation
from study.runs.plan import close
from study.store.directory import Store

CLAIMS = paper_claims("micro", 0.05)
SWEEPS = Path(__file__).parents[3] / "sweeps"


def test_without_scores_nothing_is_decided_and_no_table_is_read(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "eval.evidence.panel", None)
    found = checklist.rows(CLAIMS, made.study(1), store=Store(tmp_path))
    assert {row.verdict for row in found} == {"not run"}
    assert [row.claim for row in found] == [claim.id for claim in CLAIMS]
    assert all(row.weakest is None for row in found)


def test_with_scores_it_says_what_the_report_says(tmp_path):
    runs, store = made.study(3), Store(tmp_path)
    made.publish_all(runs, store)
    found = {row.claim: row for row in checklist.rows(CLAIMS, runs, store=store)}
    (block,) = by_size(panels(runs, store=store), CLAIMS)
    for each in block.verdicts:
        assert found[each.claim.id].verdict.startswith(each.verdict)
    assert found["C5"].verdict == "replicated"
    assert found["C11"].verdict == "not run"
    assert "missing" in found["C11"].reason
    states = [state for need in found["C5"].needs for state in need.runs.values()]
    assert len(states) == 6 * 3
    assert set(states) == {"done"}


def test_finetuning_without_dropout_is_a_cell_of_its_own_and_decides_c16(tmp_path):
    """Not averaged into the cell that has dropout."""
    runs = made.study(3)
    none = {}
    for run in runs:
        if isinstance(run, Finetune) and len(LanguageNames(runs).lineage(run)) == 2:
            training = replace(run.training, dropout=0.0)
            none[run.slug] = replace(run, slug=f"{run.slug}-dropout_0", training=training)
    scores = [
        replace(run, slug=f"{run.slug}-dropout_0", run=none[run.run.slug])
        for run in runs
        if isinstance(run, Evaluation) and run.run.slug in none
    ]
    runs, store = close([*runs, *none.values(), *scores]), Store(tmp_path)
    made.publish_all([run for run in runs if run not in scores], store)
    draw = made.np.random.default_rng(1)
    for run in scores:
        # as good as with dropout, but for the best cell
        worse = 0.2 if "ed_mlm" in run.slug else 0.0
        made.publish(run, store, made.accuracy_of(run.run, draw) - worse, draw=draw)
    (panel,) = panels(runs, store=store)
    names = {key.name for key in panel.cells}
    assert ("ED:MLM", "ED:MTF (dropout 0)") in names
    assert all(key.stage == AFTER for key in panel.cells if "MTF" in key.name[-1])
    found = {row.claim: row for row in checklist.rows(CLAIMS, runs, store=store)}
    assert found["C16"].missing == ()
    (block,) = by_size([panel], CLAIMS)
    (verdict,) = (each for each in block.verdicts if each.claim.id == "C16")
    decided = {each.contrast.weights[0][0][0]: each for each in verdict.components}
    assert decided["ED:MLM"].verdict == "replicated"
    assert decided["ED:MLM"].estimate.value == pytest.approx(0.2, abs=0.05)
    assert found["C5"].verdict == "replicated"


def claims(*words):
    return CliRunner().invoke(app, ["claims", *map(str, words)])


def test_the_command(tmp_path):
    told = claims(SWEEPS / "paper.py", "--store", tmp_path)
    assert told.exit_code == 0
    assert told.output.endswith("no run is missing\n")
    rows = json.loads(claims(SWEEPS / "paper.py", "--store", tmp_path, "--json").output)
    assert [row["claim"] for row in rows] == [f"C{number}" for number in range(1, 19)]
    assert all(need["runs"] for row in rows for need in row["needs"])
    every = claims(SWEEPS / "demo.py", "--store", tmp_path, "--all").output
    assert "CD:FLM → CD:FLM → ND:MTF on microworld: MISSING" in every
    assert "needs have no run in this sweep" in every
    assert claims(SWEEPS / "demo_rates.py").exit_code == 2
