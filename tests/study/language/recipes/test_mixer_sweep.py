"""The declared sweep of mixers: what is matched is matched, by the formulas of the ledger."""

from pathlib import Path

import pytest

from study.language import cost
from study.language.scores import tasks
from study.language.values.stages import Pretrain
from study.runs.node import Evaluation
from study.runs.plan import load_sweep
from study.sources.content import Access

SWEEP = load_sweep(Path(__file__).parents[4] / "sweeps" / "mixers.py")
RUNS = [run for run in SWEEP.declared if isinstance(run, Pretrain)]
CLOSE = 0.03


def attention_of(run):
    (found,) = [
        each
        for each in RUNS
        if each.model.mixer == "attention"
        and (each.model.architecture, each.seed) == (run.model.architecture, run.seed)
    ]
    return found


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.slug)
def test_models_are_matched_in_what_their_name_says(run):
    reference = attention_of(run)
    parameters = cost.parameter_count(run.model) / cost.parameter_count(reference.model)
    flops = cost.flops(run) / cost.flops(reference)
    assert cost.tokens(run) == cost.tokens(reference)
    if run is reference:
        return
    if "parameters" in run.slug:
        assert abs(parameters - 1) < CLOSE
        assert abs(flops - 1) > CLOSE, "one model would do for both: say so in the sweep"
    else:
        assert "flops" in run.slug
        assert abs(flops - 1) < CLOSE
        assert abs(parameters - 1) > CLOSE, "one model would do for both: say so in the sweep"


def test_width_depth_data_and_training_are_equal():
    for run in RUNS:
        reference = attention_of(run)
        for name in ("layers", "d_model", "vocab_size", "tied"):
            assert getattr(run.model, name) == getattr(reference.model, name), (run.slug, name)
        for name in ("corpus", "objective", "packing", "training"):
            assert getattr(run, name) == getattr(reference, name), (run.slug, name)


def test_every_mixer_stands_in_every_architecture_under_every_seed():
    cells = {(run.model.mixer, run.model.architecture, run.seed) for run in RUNS}
    parts = [set(part) for part in zip(*cells, strict=True)]
    assert len(cells) == len(parts[0]) * len(parts[1]) * len(parts[2])
    assert len(parts[0]) > 1
    scored = {run.run.slug for run in SWEEP.declared if isinstance(run, Evaluation)}
    assert scored == {run.slug for run in RUNS}


def test_recall_is_asked_at_two_lengths_with_a_known_chance(tmp_path):
    (suite,) = {run.suite for run in SWEEP.declared if isinstance(run, Evaluation)}
    built = {
        each.task.name: each
        for each in tasks.build(suite, access=Access(data_dirs=(), cache=tmp_path))
    }
    short, long = built["short"], built["long"]
    for prompts in (short, long):
        assert prompts.skipped == {}
        assert not prompts.twins
        assert tasks.chance_of(prompts) == prompts.task.chance == 0.25
        assert len({item.group for item in prompts.items}) == len(prompts.items) == 300
    longest = max(len(item.inputs.split()) for item in long.items)
    assert longest > 3 * max(len(item.inputs.split()) for item in short.items)
