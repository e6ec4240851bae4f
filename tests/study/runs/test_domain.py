"""The seam: a domain that nothing here knows is declared, read back, planned, named and costed."""

from dataclasses import dataclass, replace

import made_runs as made
import pytest
import toy_domain as toy
from toy_domain import POINTS

from study.runs import domain, plan
from study.runs.cells import CellKey, Naming
from study.runs.decode import DecodeError, decode, encode, validate
from study.runs.node import (
    Evaluation,
    Imported,
    Prepared,
    Run,
    root,
    start_checkpoint,
    steps_before,
    taken_steps,
)
from study.runs.suite import Suite
from study.runs.training import Cosine
from study.sources import pins


@pytest.fixture(autouse=True)
def _toy():
    with toy.registered():
        yield


def _train(slug="small", *, width=8, **changes):
    return toy.train(slug, training=made.training(**changes), width=width)


def _evaluation(run, *, judge):
    suite = Suite(
        name="judged",
        tasks=(toy.Judged(name="look", judge=judge),),
        scoring=toy.Nearest(neighbours=3),
    )
    return Evaluation(slug="scores", run=run, step=run.training.steps, suite=suite)


def test_what_it_declares_is_read_back():
    run = _evaluation(toy.continued(_train()), judge=_train("judge", width=4))
    validate(run)
    again = decode(encode(run))
    assert again == run
    assert again.id == run.id


def test_parents_are_found_wherever_they_stand_and_sources_are_the_runs_own():
    first, judge = _train(), _train("judge", width=4)
    further = toy.continued(first)
    scores = _evaluation(further, judge=judge)
    assert scores.parents == (further, judge)
    assert further.parents == (first, first.data)
    assert first.sources == scores.sources == ()
    assert first.data.sources == (POINTS,)
    assert list(pins.sources([scores, further, first.data])) == [POINTS]
    assert [each.slug for each in plan.close([scores])] == [
        *("points", "small", "further", "judge", "scores"),
    ]


def test_the_lineage_is_walked_without_knowing_the_domain():
    first = _train(steps=5)
    further = toy.continued(first, step=2)
    assert root(further) == first
    assert steps_before(further) == 2
    assert taken_steps(further, 4) == [(first, 2), (further, 4)]
    assert start_checkpoint(further) == (first, 2)
    assert start_checkpoint(first) == start_checkpoint(first.data) == (None, 0)
    assert plan.all_kept_steps([further, first]) == {first.id: (2, 5), further.id: (5,)}


def test_the_domain_is_the_models_or_the_kinds():
    run = _train()
    assert domain.of(run).name == domain.of(run.data).name == "toy"
    assert domain.of(_evaluation(run, judge=run)).name == "toy"
    assert domain.of(Imported(slug="there", source=POINTS, model=run.model)).name == "toy"
    assert domain.of(made.pretrain()).name == "language"


def test_cost_and_names_are_the_domains_own_in_one_plan_of_two():
    language, run = made.pretrain(), _train()
    naming = Naming([language, run])
    assert domain.cost(run) == toy.TOY.cost(run)
    assert domain.cost(language).tokens > 0
    assert naming.size(run) == "width 8"
    assert naming.cell(language) == "CD:FLM"
    assert naming.key(run, 1) == CellKey(lineage=("line",), tokens=1)


def test_an_intermediate_step_under_a_horizon_is_no_parent():
    parent = _train()
    cosine = Cosine(warmup_steps=1, final_fraction=0.1)
    parent = replace(parent, training=replace(parent.training, schedule=cosine))
    with pytest.raises(ValueError, match="lies under a schedule that ends at"):
        toy.continued(parent, step=1)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kind: Line", "kind: Lines", "did you mean 'Line'"),
        ("kind: Squares", "kind: Judged", "Train.objective has kind 'Judged'; legal: Squares"),
        ("width: 8", "width: wide", "Line.width is 'wide'; legal: an integer"),
    ],
)
def test_a_part_in_a_wrong_place_is_refused_by_line(old, new, message):
    text = encode(_train())
    assert old in text
    with pytest.raises(DecodeError, match=message):
        decode(text.replace(old, new))


def test_a_value_of_another_domain_is_no_part():
    with pytest.raises(ValueError, match=r"Train.model is Model\(.*legal: kind Line"):
        validate(replace(_train(), model=made.MODEL))


def test_a_name_is_taken_once():
    other = type("Corpus", (Prepared,), {"__annotations__": {"slug": str}})
    taken = replace(toy.TOY, name="other", values=(dataclass(frozen=True, kw_only=True)(other),))
    with pytest.raises(ValueError, match="'other' has a class Corpus, as language has"):
        domain.register(taken)


def test_a_run_of_no_domain_says_so():
    with pytest.raises(LookupError, match="Run is of no domain; known: language, toy"):
        domain.of(Run())


def test_the_cores_kinds_are_legal_only_where_a_domain_has_models_for_them(monkeypatch):
    assert {"Train", "Continue", "Imported"} <= domain.kinds().keys()
    monkeypatch.setattr(
        domain, "_owners", {k: v for k, v in domain._owners.items() if v.name != "toy"}
    )
    domain.forget_resolved()
    assert list(domain.kinds()) == [
        *("Corpus", "External", "Pretrain", "Adapt", "Finetune", "Evaluation"),
    ]
