"""What claims need, against what sweeps declare: a run that is taken away is missed by name."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from eval.claims.needs import needed
from study.language import cost
from study.language.cells import LanguageNames
from study.language.recipes import ladder
from study.language.values.stages import Finetune, Pretrain, lineage, model_of
from study.runs.node import Evaluation, Trained, stages
from study.runs.plan import load_sweep

SWEEPS = Path(__file__).parents[3] / "sweeps"
SMALL = "12 layers, width 512"


@cache
def sweep(name):
    return load_sweep(SWEEPS / f"{name}.py")


def missing(claims, runs):
    return {
        (size, claim): [each.missing for each in needs if each.missing]
        for size, by_claim in needed(claims, runs).items()
        for claim, needs in by_claim.items()
        if any(each.missing for each in needs)
    }


def without(runs, gone):
    """The runs that can be without `gone`: neither it, nor what is trained from it or scores it."""
    name = gone.id

    def stays(run):
        subject = run.run if isinstance(run, Evaluation) else run
        if not isinstance(subject, Trained):
            return True
        return name not in [stage.id for stage in stages(subject)]

    return [run for run in runs if stays(run)]


@pytest.mark.parametrize("name", ["paper", "ladder"])
def test_no_run_is_missing(name):
    plan = sweep(name)
    assert missing(plan.module.CLAIMS, plan.runs) == {}


def test_every_claim_of_the_paper_says_what_it_needs():
    plan = sweep("paper")
    (by_claim,) = needed(plan.module.CLAIMS, plan.runs).values()
    assert list(by_claim) == [f"C{number}" for number in range(1, 19)]
    assert all(each.runs for needs in by_claim.values() for each in needs)
    assert all(claim.deciding for claim in plan.module.CLAIMS)


# what each trained run of the paper's sweep is for; small LM-adaptation is finetuned for C11
FOR = {
    ("CD:FLM",): {"C1", "C2", "C12", "C17"},
    ("ND:MLM",): {"C3", "C13"},
    ("CD:MLM",): {"C3", "C13"},
    ("ED:PLM",): {"C1", "C8"},
    ("ND:MLM", "CD:FLM"): {"C12"},
    ("CD:FLM", "ND:MLM"): {"C13", "C14"},
    ("CD:FLM", "CD:FLM"): {"C14", "C15"},
    ("ED:MLM", "CD:FLM"): {"C17"},
    ("CD:MLM", "CD:FLM"): {"C11"},
    ("CD:FLM", "CD:FLM", "ND:MTF"): {"C15"},
    ("CD:FLM", "ND:MLM", "ND:MTF"): {"C14"},
    ("ED:MLM", "ED:PLM", "ED:MTF"): {"C11"},
}


@pytest.mark.parametrize("path", FOR, ids=" > ".join)
def test_a_run_that_is_taken_away_is_missed(path):
    plan = sweep("paper")
    (gone,) = (run for run in plan.runs if isinstance(run, Trained) and lineage(run) == path)
    found = missing(plan.module.CLAIMS, without(plan.runs, gone))
    assert FOR[path] <= {claim for _, claim in found}
    told = " → ".join(path)
    assert any(told in each for claim in found.values() for each in claim)


def tuned(runs, *, first, step, dropout):
    (found,) = (
        run
        for run in runs
        if isinstance(run, Finetune)
        and lineage(run)[:-1] == (first,)
        and run.parent_step == step
        and run.training.dropout == dropout
    )
    return found


@pytest.mark.parametrize(
    ("first", "step", "dropout", "claims", "told"),
    [
        ("ED:PLM", 131_072, 0.0, {"C16"}, "ED:PLM → ED:MTF (dropout 0) on t0"),
        ("ND:MLM", 131_072, 0.1, {"C5", "C6"}, "ND:MLM → ND:MTF on t0 at 168 B tokens"),
        ("ND:MLM", 65_536, 0.1, {"C10"}, "ND:MLM → ND:MTF on t0 at 84 B tokens"),
        ("ED:MLM", 32_768, 0.1, {"C11"}, "ED:MLM → ED:MTF"),
    ],
)
def test_one_budget_of_a_cell_that_is_taken_away_is_missed(first, step, dropout, claims, told):
    plan = sweep("paper")
    gone = tuned(plan.runs, first=first, step=step, dropout=dropout)
    found = missing(plan.module.CLAIMS, without(plan.runs, gone))
    assert claims <= {claim for _, claim in found}
    assert any(told in each for claim in found.values() for each in claim)


def test_a_suite_that_is_taken_away_leaves_no_second_prompt_set():
    plan = sweep("paper")
    runs = [
        run for run in plan.runs if not (isinstance(run, Evaluation) and run.suite.name == "eai")
    ]
    found = missing(plan.module.CLAIMS, runs)
    assert (
        "no prompts of CD:FLM on eai and t0 at one budget" in found["24 layers, width 4096", "C18"]
    )


def test_curves_need_held_out_text():
    plan = sweep("paper")
    text = replace(plan.run("c4").documents, held_out=0.0)
    corpus = replace(plan.run("c4"), documents=text)
    runs = [replace(run, corpus=corpus) for run in plan.runs if isinstance(run, Pretrain)]
    found = missing(plan.module.CLAIMS, runs)
    assert "no held-out losses of CD:FLM" in found["24 layers, width 4096", "C12"]


def test_the_demo_says_what_it_leaves_out():
    plan = sweep("demo")
    found = {claim for _, claim in missing(plan.module.CLAIMS, plan.runs)}
    assert found == {"C10", "C11", "C15", "C16", "C17", "C18"}


def test_what_most_runs_are_needs_no_name():
    plan = sweep("ladder")
    naming = LanguageNames(plan.runs)
    names = {
        (naming.size(run), naming.variant(model_of(run)), model_of(run).architecture)
        for run in plan.runs
        if isinstance(run, Pretrain)
    }
    for rung in ladder.RUNGS:
        size = f"{rung.model.layers} layers, width {rung.model.d_model}"
        assert (size, "half depth", "encoder_decoder") in names
        assert (size, "", "causal_decoder") in names
        whole = cost.parameter_count(rung.model)
        assert cost.parameter_count(rung.half) == pytest.approx(whole, rel=0.005)
    assert {variant for size, variant, _ in names if size == SMALL} == {
        "",
        "half depth",
        "positions t5_bias",
        "positions t5_bias_paper",
    }
    assert len({size for size, _, _ in names}) == 3


def test_the_ladder_has_five_seeds_below_and_three_above():
    plan = sweep("ladder")
    seeds = {}
    for run in plan.runs:
        if isinstance(run, Pretrain) and run.model.positions == "rope":
            seeds.setdefault(run.model.d_model, set()).add(run.seed)
    assert {width: len(found) for width, found in seeds.items()} == {512: 5, 768: 3, 1024: 3}
