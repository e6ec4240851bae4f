"""The paper's tree of runs as one function of a setting, a scale, rates and a seed (Wang et al.
2022, figure 2).

Owns which runs belong to the study in small: six pretrainings, LM-adaptation, non-causal adaptation
and its control, eight finetunings, and zero-shot scores of every one of them. Sweeps choose the
data, the sizes and the budgets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from study.language.recipes.presets import small_training
from study.runs.run import (
    Adapt,
    Architecture,
    Corpus,
    Evaluation,
    Finetune,
    FullLM,
    Model,
    Packing,
    PrefixLM,
    Pretrain,
    Prompted,
    Run,
    SpanCorruption,
    Suite,
    Trained,
    Training,
    lineage,
)

TextObjective = FullLM | PrefixLM | SpanCorruption
_Trained = TypeVar("_Trained", Pretrain, Adapt, Finetune)


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
class Study:
    """One seed of the study: declares the runs, one method a stage."""

    setting: Setting
    scale: Scale
    rates: Mapping[str, float]
    seed: int

    def cells(self) -> tuple[tuple[Architecture, TextObjective], ...]:
        """The six cells; language modelling rows are as long as span corruption's inputs and
        targets together.
        """
        spans = self.setting.spans
        length = spans.input_length + spans.target_length
        return (
            ("causal_decoder", FullLM(length=length)),
            ("causal_decoder", spans),
            ("prefix_decoder", PrefixLM(length=length)),
            ("prefix_decoder", spans),
            ("encoder_decoder", PrefixLM(length=length)),
            ("encoder_decoder", spans),
        )

    def pretrain(self, architecture: Architecture, objective: TextObjective) -> Pretrain:
        run = Pretrain(
            slug="",
            corpus=self.setting.corpus,
            model=replace(self.setting.model, architecture=architecture),
            objective=objective,
            packing=self.setting.packing,
            training=small_training(
                1.0, steps=self.scale.pretrain_steps, batch_size=self.scale.batch_size
            ),
            seed=self.seed,
        )
        return self._named(run)

    def adapt(
        self, parent: Pretrain, architecture: Architecture, objective: TextObjective
    ) -> Adapt:
        """Continue `parent` as the paper does: optimiser state and step counter go on."""
        training = small_training(
            1.0, steps=self.scale.adapt_steps, batch_size=self.scale.batch_size
        )
        run = Adapt(
            slug="",
            parent=parent,
            parent_step=parent.training.steps,
            corpus=self.setting.corpus,
            architecture=architecture,
            objective=objective,
            packing=self.setting.packing,
            training=replace(training, schedule=parent.training.schedule),
            optimizer_state="inherited",
            schedule_start="continued",
            seed=self.seed,
        )
        return self._named(run)

    def finetune(self, parent: Pretrain | Adapt) -> Finetune:
        """Multitask prompted finetuning under the parent's own architecture, with dropout 0.1."""
        last = parent.model.architecture if isinstance(parent, Pretrain) else parent.architecture
        run = Finetune(
            slug="",
            parent=parent,
            parent_step=parent.training.steps,
            corpus=self.setting.mixture,
            architecture=last,
            objective=self.setting.prompted,
            training=small_training(
                1.0,
                steps=self.scale.finetune_steps,
                batch_size=self.scale.finetune_batch_size,
                dropout=0.1,
            ),
            optimizer_state="fresh",
            schedule_start="restarted",
            seed=self.seed,
        )
        return self._named(run)

    def evaluate(self, run: Pretrain | Adapt | Finetune) -> Evaluation:
        return Evaluation(
            slug=f"{run.slug}-{self.setting.suite.name}",
            run=run,
            step=run.training.steps,
            suite=self.setting.suite,
        )

    def trained(self) -> list[Trained]:
        """Every trained run of this seed, parents before children."""
        pretrained = {
            (architecture, type(objective)): self.pretrain(architecture, objective)
            for architecture, objective in self.cells()
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

    def _named(self, run: _Trained) -> _Trained:
        """The run with its slug and its rate, both by lineage. Raises ValueError without a rate."""
        path = " > ".join(lineage(run))
        try:
            rate = self.rates[path]
        except KeyError:
            raise ValueError(
                f"no learning rate for {path!r}; there are: {', '.join(sorted(self.rates))}"
            ) from None
        slug = path.lower().replace(" > ", "-").replace(":", "_")
        return replace(run, slug=f"{slug}-s{self.seed}", training=with_rate(run.training, rate))


def with_rate(training: Training, learning_rate: float) -> Training:
    """The same training at another learning rate."""
    return replace(training, optimizer=replace(training.optimizer, learning_rate=learning_rate))
