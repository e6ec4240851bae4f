"""The study as a function: which runs it declares, and that compared cells have equal budgets."""

from collections import defaultdict
from dataclasses import replace

import pytest

from study.language.recipes import microworld
from study.language.recipes.tree import Study
from study.language.values.objective import row_length
from study.language.values.stages import Adapt, Finetune, Pretrain, lineage
from study.runs.node import Evaluation, root

ANY = defaultdict(lambda: 1e-3)


def _study(**changes: object) -> Study:
    base = Study(setting=microworld.SETTING, scale=microworld.SCALE, rates=ANY, seed=0)
    return replace(base, **changes)  # type: ignore[arg-type]


def test_declares_the_paper_s_lineages_each_scored_once() -> None:
    runs = _study().runs()
    trained = {lineage(run) for run in runs if not isinstance(run, Evaluation)}  # type: ignore[arg-type]
    six = {("CD:FLM",), ("CD:MLM",), ("ND:PLM",), ("ND:MLM",), ("ED:PLM",), ("ED:MLM",)}
    assert trained == six | {
        ("ND:MLM", "CD:FLM"),
        ("CD:FLM", "ND:MLM"),
        ("CD:FLM", "CD:FLM"),
        *((*cell, f"{cell[0][:2]}:MTF") for cell in six),
        ("CD:FLM", "ND:MLM", "ND:MTF"),
        ("CD:FLM", "CD:FLM", "CD:MTF"),
    }
    scored = [lineage(run.run) for run in runs if isinstance(run, Evaluation)]  # type: ignore[arg-type]
    assert len(scored) == len(set(scored)) == 17
    assert set(scored) == trained


@pytest.mark.parametrize("kind", [Pretrain, Adapt, Finetune])
def test_a_stage_sees_equal_tokens_in_every_cell(kind: type) -> None:
    budgets = {
        run.training.steps * run.training.batch_size * row_length(run.objective)
        for run in _study().trained()
        if isinstance(run, kind)
    }
    assert len(budgets) == 1


def test_seeds_share_the_corpora_and_nothing_else() -> None:
    one, two = _study().trained(), _study(seed=1).trained()
    assert {run.id for run in one}.isdisjoint(run.id for run in two)
    assert {run.corpus.id for run in one} == {run.corpus.id for run in two}
    assert {root(run).seed for run in two} == {1}


def test_a_lineage_without_a_rate_is_named() -> None:
    with pytest.raises(ValueError, match="no learning rate for 'CD:MLM'; there are: CD:FLM"):
        _study(rates={"CD:FLM": 1e-3}).trained()


def test_finetuning_keeps_the_architecture_of_its_parent() -> None:
    for run in _study().trained():
        if isinstance(run, Finetune):
            assert lineage(run)[-1][:2] == lineage(run)[-2][:2]
