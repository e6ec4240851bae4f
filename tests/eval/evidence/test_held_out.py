"""Held-out losses read from a store: only finished runs, by their own tokens, and what they ask."""

import json
from dataclasses import replace

import made_reports as made
import numpy as np
import pytest
from made_claims import paper_claims

from eval.claims.decided import by_size
from eval.evidence.held_out import read
from study.language import cost
from study.language.values.stages import Adapt, Pretrain, cell, lineage
from study.runs.node import Trained
from study.store.directory import Store

CLAIMS = paper_claims("micro", 0.05)


def validate(run, store, losses):
    """Events as training writes them, at evenly spaced steps from 0 on."""
    directory = store.open(run)
    steps = np.linspace(0, run.training.steps, len(losses)).astype(int)
    lines = [
        json.dumps({"event": "validation", "step": int(step), "loss": float(loss)})
        for step, loss in zip(steps, losses, strict=True)
    ]
    directory.events.write_text("\n".join(lines) + "\n")


def seal(run, store):
    store.open(run).seal({"kind": type(run).__name__, "tokens": 1, "loss_tokens": 1})


def scratch(seed):
    return [6.0, 4.0, 3.0, 2.5 + 0.01 * seed]


@pytest.fixture
def study(tmp_path):
    """Every text run finished; adapted ones reach their target early, C12's after a third."""
    runs, store = made.study(3), Store(tmp_path)
    for run in runs:
        if isinstance(run, Pretrain):
            validate(run, store, scratch(run.seed))
            seal(run, store)
        elif isinstance(run, Adapt):
            validate(run, store, [4.0, 2.2, 2.1, 2.0 + 0.01 * run.seed])
            seal(run, store)
    return runs, store


def test_a_curve_is_of_the_run_s_own_tokens(study):
    runs, store = study
    curves = read(runs, store=store)
    trained = [run for run in runs if isinstance(run, (Pretrain, Adapt))]
    assert len(curves) == len(trained)
    for run, curve in zip(trained, curves, strict=True):
        assert curve.cell == lineage(run)
        assert curve.tokens[0] == 0
        assert curve.tokens[-1] == cost.tokens(run)
        assert curve.flops == pytest.approx(cost.flops(run) / cost.tokens(run))
        parent = run.parent if isinstance(run, Adapt) else None
        assert curve.before == ((cost.tokens(parent), cost.flops(parent)) if parent else (0, 0))


def test_a_run_that_has_not_ended_has_no_curve(tmp_path):
    runs, store = made.study(1), Store(tmp_path)
    run = next(each for each in runs if isinstance(each, Pretrain))
    validate(run, store, scratch(0))
    assert read(runs, store=store) == []
    seal(run, store)
    assert [each.cell for each in read(runs, store=store)] == [(cell(run),)]


@pytest.mark.parametrize("what", ["packing", "batch_size", "objective", "corpus"])
def test_another_question_is_told(study, what):
    runs, store = study
    run = next(each for each in runs if isinstance(each, Pretrain) and cell(each) == "CD:FLM")
    other = {
        "packing": replace(run, packing=replace(run.packing, document_masking=False)),
        "batch_size": replace(run, training=replace(run.training, batch_size=4)),
        "objective": replace(run, objective=replace(run.objective, length=64)),
        "corpus": replace(
            run,
            corpus=replace(run.corpus, documents=replace(run.corpus.documents, held_out=0.2)),
        ),
    }[what]
    validate(other, store, scratch(0))
    seal(other, store)
    both = read([run, other], store=store)
    assert both[0].question != both[1].question
    same = read([run, replace(run, slug="again", seed=9)], store=store)
    assert len(same) == 1


def verdicts(study):
    runs, store = study
    (block,) = by_size([], CLAIMS, runs=runs, store=store)
    return {each.claim.id: each for each in block.verdicts}


def test_the_speedup_claims_are_decided_from_the_curves_alone(study):
    found = verdicts(study)
    runs, _ = study
    long = next(cost.tokens(run) for run in runs if isinstance(run, Pretrain))
    short = next(cost.tokens(run) for run in runs if isinstance(run, Adapt))
    incremental, total = found["C12"].components
    assert found["C12"].verdict == "replicated"
    # between the start (4.0) and the first third (2.2) the curve is linear in tokens
    at = np.mean([short / 3 * (4.0 - 2.5 - 0.01 * seed) / 1.8 for seed in range(3)])
    assert incremental.estimate.value == pytest.approx(np.log(long / at), abs=1e-3)
    assert total.contrast.part == "shown"
    assert total.estimate.value == pytest.approx(np.log(long / (long + at)), abs=1e-3)
    assert found["C13"].verdict == "replicated"
    assert found["C17"].reason == "no finished held-out losses of ED:MLM → CD:FLM"
    assert found["C1"].verdict == "not run"


def test_an_adaptation_that_stays_above_is_a_bound(study):
    runs, store = study
    for run in runs:
        if isinstance(run, Adapt) and lineage(run) == ("ND:MLM", "CD:FLM"):
            validate(run, store, [4.0, 3.5, 3.2, 3.0 + 0.01 * run.seed])
    found = verdicts((runs, store))["C12"]
    assert found.verdict == "underpowered"
    assert found.components[0].estimate.note.startswith("not reached by 3 of 3 seeds: at least")


def test_only_the_runs_of_the_plan_are_read(study):
    runs, store = study
    trained = [run for run in runs if isinstance(run, Trained) and made.root(run).seed == 0]
    assert {curve.seed for curve in read(trained, store=store)} == {0}
