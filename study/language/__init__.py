"""Language: text to tokens, three architectures, and scores of prompts. The first domain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.language.values.corpus import (
    Corpus,
    Mixture,
    PretrainedTokenizer,
    PromptedTask,
    Text,
    TrainedBPE,
)
from study.language.values.measures import MEASURES
from study.language.values.model import Model
from study.language.values.objective import FullLM, Packing, PrefixLM, Prompted, SpanCorruption
from study.language.values.stages import Adapt, External, Finetune, Pretrain, Stage
from study.language.values.suite import Labels, Scoring, SuiteTask
from study.runs.domain import Cost, Domain, Generator, ValidationTarget, register
from study.runs.source import Source

if TYPE_CHECKING:
    from study.costs.footprint import Footprint
    from study.runs.cells import Names
    from study.runs.node import Evaluation, Run, Trained
    from study.runs.reporting import Reporting
    from study.store.directory import Store
    from study.train.learner import Learner


def _prepare(corpus: Corpus, directory: Path, **rest: Any) -> dict[str, Any]:
    from study.language.data.corpus import prepare

    return prepare(corpus, directory, **rest)


def _learner(run: Stage, *, store: Store) -> Learner:
    from study.language.learner import LanguageLearner

    return LanguageLearner(run, store=store)


def _score(run: Evaluation | External, **rest: Any) -> None:
    from study.language.scores.execute import execute

    execute(run, **rest)


def _cost(run: Trained) -> Cost:
    from study.language.cost import cost_of

    assert isinstance(run, Stage)
    return cost_of(run)


def _footprint(run: Stage, **rest: Any) -> Footprint:
    from study.language.activations import footprint

    return footprint(run, **rest)


def _traits(run: Run) -> Mapping[str, str]:
    from study.language.cells import traits

    return traits(run)


def _validation_target(run: Trained) -> ValidationTarget:
    from study.language.cells import validation_target

    assert isinstance(run, Stage)
    return validation_target(run)


def _world_rows(source: Source) -> Iterable[dict[str, Any]]:
    from study.language import world

    return world.read(source)


def _world_text(source: Source) -> str:
    from study.language import world

    return world.read_text(source)


def _names(runs: Iterable[Run]) -> Names:
    from study.language.cells import LanguageNames

    return LanguageNames(runs)


def _items(table: Any) -> Any:
    from study.language.scores.columns import of_items

    return of_items(table)


def _reporting() -> Reporting:
    from study.language.reporting import REPORTING

    return REPORTING


def _auto() -> None:
    import study.language.huggingface.auto  # noqa: F401  importing it registers the classes


register(
    Domain(
        name="language",
        values=(
            *(Corpus, External, Pretrain, Adapt, Finetune),
            *(Text, Mixture, PromptedTask, TrainedBPE, PretrainedTokenizer),
            *(Model, FullLM, PrefixLM, SpanCorruption, Prompted, Packing),
            *(SuiteTask, Scoring, Labels),
        ),
        prepare=_prepare,
        learner=_learner,
        score=_score,
        cost=_cost,
        footprint=_footprint,
        names=_names,
        traits=_traits,
        validation_target=_validation_target,
        measures=MEASURES,
        items=_items,
        reporting=_reporting,
        in_budget=lambda run: not isinstance(run, Finetune),
        auto=_auto,
        data_directory="corpus",
        schemes={"world": Generator(rows=_world_rows, text=_world_text)},
    )
)
