"""The paper's tree of runs as a function of a setting, a scale, rates and a seed (Wang et al. 2022,
figure 2).

Owns which runs there are and from which checkpoint each starts; sizes, data, recipes and budgets
are arguments, which sweeps choose. `Stages` says how a run of each stage is made. `Study` is the
study in small, with one budget: six pretrainings, LM-adaptation, non-causal adaptation and its
control, eight finetunings, and zero-shot scores of every one of them. `Replication` is the whole of
it, one seed at one size. No torch.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from study.language.recipes.presets import small_training
from study.language.values.corpus import Corpus
from study.language.values.model import Architecture, Model
from study.language.values.objective import FullLM, Packing, PrefixLM, Prompted, SpanCorruption
from study.language.values.stages import Adapt, Finetune, Pretrain, Stage, cell, lineage, model_of
from study.runs.node import Evaluation, Run
from study.runs.suite import Suite
from study.runs.training import Training

TextObjective = FullLM | PrefixLM | SpanCorruption
_Stage = TypeVar("_Stage", Pretrain, Adapt, Finetune)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is learned and scored. `model` gives every cell its shape; its architecture is replaced
    by the cell's.
    """

    corpus: Corpus
    mixture: Corpus
    suite: Suite
    model: Model
    packing: Packing
    spans: SpanCorruption
    prompted: Prompted


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How long. Steps are optimiser steps; batch sizes are rows; every stage has the same budget in
    every cell.
    """

    pretrain_steps: int
    adapt_steps: int
    finetune_steps: int
    batch_size: int
    finetune_batch_size: int


@dataclass(frozen=True, kw_only=True)
class Stages:
    """How a run of each stage is made, at one size and seed.

    model: every cell's shape; its architecture is replaced by the cell's. packing, span_packing: of
    language modelling and of span corruption. pretraining, finetuning: the recipes; an adaptation's
    is that of pretraining for other steps. rates: by lineage as in
    `study.language.recipes.rates`; None keeps the recipes' own.
    """

    corpus: Corpus
    mixture: Corpus
    model: Model
    spans: SpanCorruption
    prompted: Prompted
    packing: Packing
    span_packing: Packing
    pretraining: Training
    finetuning: Training
    rates: Mapping[str, float] | None
    seed: int

    def slug(self, run: Stage, note: str) -> str:
        """What a run is called. note: what its lineage does not say."""
        raise NotImplementedError

    def cells(self) -> tuple[tuple[Architecture, TextObjective], ...]:
        """The six cells, language modelling before span corruption in each architecture."""
        kinds: tuple[Architecture, ...] = ("causal_decoder", "prefix_decoder", "encoder_decoder")
        return tuple((kind, goal) for kind in kinds for goal in (self.language(kind), self.spans))

    def language(self, architecture: Architecture) -> FullLM | PrefixLM:
        """What language modelling is in an architecture; rows are as long as span corruption's."""
        length = self.spans.input_length + self.spans.target_length
        if architecture == "causal_decoder":
            return FullLM(length=length)
        return PrefixLM(length=length)

    def pretrain(self, architecture: Architecture, objective: TextObjective) -> Pretrain:
        run = Pretrain(
            slug="",
            corpus=self.corpus,
            model=replace(self.model, architecture=architecture),
            objective=objective,
            packing=self._packing(objective),
            training=self.pretraining,
            seed=self.seed,
        )
        return self._named(run)

    def adapt(
        self,
        parent: Pretrain,
        architecture: Architecture,
        objective: TextObjective,
        *,
        step: int,
        steps: int,
    ) -> Adapt:
        """Go on as the paper does: the step counter continues, and so does the optimiser's state
        where the tensors stay the same.
        """
        pruned = (parent.model.architecture == "encoder_decoder") != (
            architecture == "encoder_decoder"
        )
        run = Adapt(
            slug="",
            parent=parent,
            parent_step=step,
            corpus=self.corpus,
            architecture=architecture,
            objective=objective,
            packing=self._packing(objective),
            training=replace(self.pretraining, steps=steps),
            optimizer_state="fresh" if pruned else "inherited",
            schedule_start="continued",
            seed=self.seed,
        )
        return self._named(run)

    def finetune(
        self,
        parent: Pretrain | Adapt,
        step: int,
        *,
        architecture: Architecture | None = None,
        dropout: float | None = None,
    ) -> Finetune:
        """Multitask prompted finetuning, under the parent's own architecture and the recipe's
        dropout unless said otherwise.
        """
        run = Finetune(
            slug="",
            parent=parent,
            parent_step=step,
            corpus=self.mixture,
            architecture=architecture or model_of(parent).architecture,
            objective=self.prompted,
            training=replace(
                self.finetuning, dropout=self.finetuning.dropout if dropout is None else dropout
            ),
            optimizer_state="fresh",
            schedule_start="restarted",
            seed=self.seed,
        )
        return self._named(run, note="" if dropout is None else f"-dropout_{dropout:g}")

    def _packing(self, objective: TextObjective) -> Packing:
        return self.span_packing if isinstance(objective, SpanCorruption) else self.packing

    def _named(self, run: _Stage, *, note: str = "") -> _Stage:
        """The run with its slug, and its rate by lineage. Raises ValueError without a rate."""
        training = run.training
        if self.rates is not None:
            path = " > ".join(lineage(run))
            try:
                rate = self.rates[path]
            except KeyError:
                raise ValueError(
                    f"no learning rate for {path!r}; there are: {', '.join(sorted(self.rates))}"
                ) from None
            training = with_rate(training, rate)
        return replace(run, slug=self.slug(run, note), training=training)


def with_rate(training: Training, learning_rate: float) -> Training:
    """The same training at another learning rate."""
    return replace(training, optimizer=replace(training.optimizer, learning_rate=learning_rate))


class _ByLineage(Stages):
    def slug(self, run: Stage, note: str) -> str:
        path = "-".join(lineage(run)).lower().replace(":", "_")
        return f"{path}{note}-s{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Study:
    """One seed of the study in small: every stage has one budget and is scored at its end."""

    setting: Setting
    scale: Scale
    rates: Mapping[str, float]
    seed: int

    @functools.cached_property
    def stages(self) -> Stages:
        """With one packing for every cell, and a rate for every lineage."""
        setting, scale = self.setting, self.scale
        return _ByLineage(
            corpus=setting.corpus,
            mixture=setting.mixture,
            model=setting.model,
            spans=setting.spans,
            prompted=setting.prompted,
            packing=setting.packing,
            span_packing=setting.packing,
            pretraining=small_training(
                1.0, steps=scale.pretrain_steps, batch_size=scale.batch_size
            ),
            finetuning=small_training(
                1.0,
                steps=scale.finetune_steps,
                batch_size=scale.finetune_batch_size,
                dropout=0.1,
            ),
            rates=self.rates,
            seed=self.seed,
        )

    def adapt(
        self, parent: Pretrain, architecture: Architecture, objective: TextObjective
    ) -> Adapt:
        return self.stages.adapt(
            parent,
            architecture,
            objective,
            step=parent.training.steps,
            steps=self.scale.adapt_steps,
        )

    def finetune(self, parent: Pretrain | Adapt) -> Finetune:
        return self.stages.finetune(parent, parent.training.steps)

    def evaluate(self, run: Stage) -> Evaluation:
        return Evaluation(
            slug=f"{run.slug}-{self.setting.suite.name}",
            run=run,
            step=run.training.steps,
            suite=self.setting.suite,
        )

    def trained(self) -> list[Stage]:
        """Every trained run of this seed, parents before children."""
        pretrained = {
            (architecture, type(objective)): self.stages.pretrain(architecture, objective)
            for architecture, objective in self.stages.cells()
        }
        causal = pretrained["causal_decoder", FullLM]
        masked = pretrained["prefix_decoder", SpanCorruption]
        lm_adapted = self.adapt(masked, "causal_decoder", causal.objective)
        nc_adapted = self.adapt(causal, "prefix_decoder", masked.objective)
        control = self.adapt(causal, "causal_decoder", causal.objective)
        parents = (*pretrained.values(), nc_adapted, control)
        finetuned = [self.finetune(parent) for parent in parents]
        return [*pretrained.values(), lm_adapted, nc_adapted, control, *finetuned]

    def runs(self) -> list[Run]:
        """The trained runs and the zero-shot scores of each."""
        trained = self.trained()
        return [*trained, *(self.evaluate(run) for run in trained)]


@dataclass(frozen=True, kw_only=True)
class Steps:
    """How long, in optimiser steps.

    budgets: of pretraining, ascending; the last is its length. Span-corruption models are finetuned
    at each, language models not at the `unfinetuned` smallest (1 in the paper's Table 8).
    lm_from: where the small LM-adaptation leaves pretraining, to end at the smallest budget.
    lm: of the large LM-adaptation. non_causal: of NC-adaptation and of its control. pruned: of the
    encoder-decoder that goes on as a decoder.
    """

    budgets: tuple[int, ...]
    unfinetuned: int
    lm_from: int
    lm: int
    non_causal: int
    pruned: int

    def __post_init__(self) -> None:
        if list(self.budgets) != sorted(set(self.budgets)):
            raise ValueError(f"Steps.budgets are {self.budgets}; legal: ascending")
        if not 0 <= self.unfinetuned < len(self.budgets):
            raise ValueError(
                f"Steps.unfinetuned is {self.unfinetuned}; legal: 0 to {len(self.budgets) - 1}"
            )
        if not 0 < self.lm_from < self.budgets[0]:
            raise ValueError(
                f"Steps.lm_from is {self.lm_from}; legal: 1 to {self.budgets[0] - 1}, below the "
                "smallest budget"
            )


@dataclass(frozen=True, kw_only=True)
class Replication(Stages):
    """One seed of the study at one size. The steps of `pretraining` are replaced by `steps`'.

    tag: ends every slug.
    """

    suites: tuple[Suite, ...]
    steps: Steps
    tag: str

    def slug(self, run: Stage, note: str) -> str:
        """By the parent, the step that it was left at, and the own cell."""
        slug = f"{cell(run).lower().replace(':', '_')}{note}-{self.tag}"
        if isinstance(run, Pretrain):
            return slug
        return f"{run.parent.slug.removesuffix(f'-{self.tag}')}-{run.parent_step}-{slug}"

    def pretrain(self, architecture: Architecture, objective: TextObjective) -> Pretrain:
        run = super().pretrain(architecture, objective)
        return replace(run, training=replace(run.training, steps=self.steps.budgets[-1]))

    def runs(self) -> Iterator[Run]:
        """Every run, each before what depends on it, and the scores of each after it."""
        for run, points in self.trained():
            yield run
            for step in points:
                yield from self.evaluate(run, step)

    def trained(self) -> Iterator[tuple[Stage, tuple[int, ...]]]:
        """Stage runs with the own steps at which each is scored."""
        steps = self.steps
        pretrained = [self.pretrain(kind, goal) for kind, goal in self.cells()]
        cells = {cell(run): run for run in pretrained}
        for run in cells.values():
            yield run, steps.budgets

        # each budget, finetuned: C4 to C10
        for run in cells.values():
            skipped = 0 if isinstance(run.objective, SpanCorruption) else steps.unfinetuned
            for step in steps.budgets[skipped:]:
                yield _end(self.finetune(run, step))

        # LM-adaptation within the smallest budget: C11
        for run in cells.values():
            if isinstance(run.objective, SpanCorruption):
                goal = self.language(run.model.architecture)
                start, rest = steps.lm_from, steps.budgets[0] - steps.lm_from
                adapted = self.adapt(run, run.model.architecture, goal, step=start, steps=rest)
                yield _end(adapted)
                yield _end(self.finetune(adapted, rest))

        last = steps.budgets[-1]
        causal, masked, both = cells["CD:FLM"], cells["ND:MLM"], cells["ED:MLM"]
        plain = causal.objective

        # LM-adaptation of the finished non-causal model, against CD:FLM from scratch: C12
        yield _end(self.adapt(masked, "causal_decoder", plain, step=last, steps=steps.lm))

        # NC-adaptation, against ND:MLM and CD:MLM from scratch: C13; finetuned: C14
        more = steps.non_causal
        adapted = self.adapt(causal, "prefix_decoder", masked.objective, step=last, steps=more)
        yield _end(adapted)
        yield _end(self.finetune(adapted, more))

        # its control, equal in tokens, finetuned both ways: C14 and C15
        control = self.adapt(causal, "causal_decoder", plain, step=last, steps=more)
        yield _end(control)
        yield _end(self.finetune(control, more))
        yield _end(self.finetune(control, more, architecture="prefix_decoder"))

        # finetuning without dropout: C16
        for run in cells.values():
            yield _end(self.finetune(run, last, dropout=0.0))

        # an encoder-decoder that loses its encoder; CD:FLM's own beginning is its control: C17
        yield _end(self.adapt(both, "causal_decoder", plain, step=last, steps=steps.pruned))

    def evaluate(self, run: Stage, step: int) -> Iterator[Evaluation]:
        for suite in self.suites:
            slug = f"{run.slug}-at_{step}-{suite.name}"
            yield Evaluation(slug=slug, run=run, step=step, suite=suite)


def _end(run: Adapt | Finetune) -> tuple[Stage, tuple[int, ...]]:
    """A run that is scored at its end alone."""
    return run, (run.training.steps,)
