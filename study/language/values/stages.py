"""The stages of a language model: pretraining, adaptation, finetuning, and one from elsewhere.

Owns the kinds of run that train, what they refuse, and how a lineage is named. No torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

from study.language.values.corpus import Corpus, Mixture, TrainedBPE
from study.language.values.model import ARCHITECTURE_SHORT, Architecture, Model
from study.language.values.objective import (
    FullLM,
    Packing,
    PrefixLM,
    Prompted,
    SpanCorruption,
    objective_short,
    row_length,
)
from study.runs.node import Evaluation, ExternalCheckpoint, Trained, check_parent_step
from study.runs.source import Source
from study.runs.training import Training


@dataclass(frozen=True, kw_only=True)
class Pretrain(Trained):
    """Train a fresh model on a corpus. `seed` drives initialisation, data order, corruption and
    dropout.
    """

    slug: str = field(metadata={"identity": False})
    corpus: Corpus
    model: Model
    objective: FullLM | PrefixLM | SpanCorruption
    packing: Packing
    training: Training
    seed: int

    def __post_init__(self) -> None:
        _check_basis(self)
        _check_sentinels(self)


@dataclass(frozen=True, kw_only=True)
class Adapt(Trained):
    """Continue a run under another architecture or objective. The data stream always goes on where
    the parent stopped.

    parent_step: the parent's own step whose checkpoint is the start.
    optimizer_state: `inherited` needs equal tensors. schedule_start: `continued` counts the
    parent's steps on.
    """

    slug: str = field(metadata={"identity": False})
    parent: Pretrain | Adapt
    parent_step: int
    corpus: Corpus
    architecture: Architecture
    objective: FullLM | PrefixLM | SpanCorruption
    packing: Packing
    training: Training
    optimizer_state: Literal["inherited", "fresh"]
    schedule_start: Literal["continued", "restarted"]
    seed: int

    def __post_init__(self) -> None:
        _check_basis(self)
        check_parent_step(self)
        _check_sentinels(self)


@dataclass(frozen=True, kw_only=True)
class Finetune(Trained):
    """Multitask prompted finetuning. The corpus holds a mixture; rows are packed examples, never
    mixed in attention.
    """

    slug: str = field(metadata={"identity": False})
    parent: Pretrain | Adapt
    parent_step: int
    corpus: Corpus
    architecture: Architecture
    objective: Prompted
    training: Training
    optimizer_state: Literal["inherited", "fresh"]
    schedule_start: Literal["continued", "restarted"]
    seed: int

    def __post_init__(self) -> None:
        _check_basis(self)
        check_parent_step(self)
        if not isinstance(self.corpus.documents, Mixture):
            raise ValueError(
                f"Finetune {self.slug!r}: its corpus {self.corpus.slug!r} holds text; "
                "legal: a Mixture"
            )


@dataclass(frozen=True, kw_only=True)
class External(ExternalCheckpoint):
    """A Hugging Face checkpoint from elsewhere; `source` names its directory by content."""

    slug: str = field(metadata={"identity": False})
    source: Source
    architecture: Architecture


Stage = Pretrain | Adapt | Finetune


def _check_sentinels(run: Pretrain | Adapt) -> None:
    """Before a corpus is tokenised that no row of this objective can be made from."""
    tokenizer = run.corpus.tokenizer
    while isinstance(tokenizer, Corpus):
        tokenizer = tokenizer.tokenizer
    # A published tokenizer may have more sentinels than were asked of it.
    if not isinstance(run.objective, SpanCorruption) or not isinstance(tokenizer, TrainedBPE):
        return
    _, spans = run.objective.noise()
    if spans > tokenizer.sentinels:
        raise ValueError(
            f"{type(run).__name__} {run.slug!r}: {run.objective.raw_length} tokens are corrupted "
            f"in {spans} spans, and its tokenizer has {tokenizer.sentinels} sentinels; legal: "
            "a sentinel for each span"
        )


def _check_basis(run: Stage) -> None:
    places, length = model_of(run).basis ** 2, row_length(run.objective)
    if places and length > places:
        raise ValueError(
            f"{type(run).__name__} {run.slug!r}: rows of {length} tokens for learned bases of "
            f"{places} places; legal: Model.basis of {math.isqrt(length - 1) + 1} or more"
        )


def scored(evaluation: Evaluation) -> Stage | External:
    """The checkpoint's run, of an evaluation of language."""
    assert isinstance(evaluation.run, Stage | External)
    return evaluation.run


def model_of(run: Stage) -> Model:
    """The model's shape after this run: its pretraining's, under the last stage's architecture."""
    if isinstance(run, Pretrain):
        return run.model
    return replace(model_of(run.parent), architecture=run.architecture)


def cell(run: Stage) -> str:
    """The stage's own cell, such as `CD:FLM`."""
    return f"{ARCHITECTURE_SHORT[model_of(run).architecture]}:{objective_short(run.objective)}"


def lineage(run: Stage) -> tuple[str, ...]:
    """The cells from pretraining down to this run, such as (`CD:FLM`, `ND:MLM`, `ND:MTF`): how
    claims name a run.
    """
    above = () if isinstance(run, Pretrain) else lineage(run.parent)
    return (*above, cell(run))
