"""Language: text to tokens, three architectures, and scores of prompts. The first domain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from study.language.values.corpus import (
    Corpus,
    Mixture,
    PretrainedTokenizer,
    PromptedTask,
    Text,
    TrainedBPE,
)
from study.language.values.model import Model
from study.language.values.objective import FullLM, Packing, PrefixLM, Prompted, SpanCorruption
from study.language.values.stages import Adapt, External, Finetune, Pretrain
from study.language.values.suite import Labels, Scoring, SuiteTask
from study.runs.domain import Cost, Domain, register

if TYPE_CHECKING:
    from study.runs.cells import Names
    from study.runs.node import Run, Trained


def _cost(run: Trained) -> Cost:
    from study.language.cost import cost_of

    assert isinstance(run, Pretrain | Adapt | Finetune)
    return cost_of(run)


def _traits(run: Run) -> Mapping[str, str]:
    from study.language.cells import traits

    return traits(run)


def _names(runs: Iterable[Run]) -> Names:
    from study.language.cells import LanguageNames

    return LanguageNames(runs)


register(
    Domain(
        name="language",
        values=(
            *(Corpus, External, Pretrain, Adapt, Finetune),
            *(Text, Mixture, PromptedTask, TrainedBPE, PretrainedTokenizer),
            *(Model, FullLM, PrefixLM, SpanCorruption, Prompted, Packing),
            *(SuiteTask, Scoring, Labels),
        ),
        cost=_cost,
        names=_names,
        traits=_traits,
    )
)
