"""What a run is: frozen values, their canonical form, their id and their lineage.

Owns the kinds of run, and gathers the vocabulary (`study.runs.parts`, `study.runs.suite`) in which
sweeps are written, so that they import one module. A run is a node of a tree and its parent is one
of its fields; id, directory, cost and table row follow from the value. Nothing here touches a file,
and nothing imports torch.

Science fields have no defaults: `study.language.recipes.presets` holds functions that fill them. A
field that is added later may carry a default that means the old behaviour; while it has that value
it is left out of the canonical form, so old ids live on. `SEMANTICS` is raised for a kind when its
code starts to compute something else. A part may carry one too (of its class, or a property of the
value): it enters the canonical form from 2 on, so that only the runs that hold such a part get
another id.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Literal

from study.runs.parts import (
    ARCHITECTURE_SHORT,
    Adafactor,
    AdamW,
    Architecture,
    Constant,
    Cosine,
    FullLM,
    Mixer,
    Mixture,
    Model,
    Muon,
    Objective,
    Optimizer,
    Packing,
    Part,
    Positions,
    PrefixLM,
    PretrainedTokenizer,
    Prompted,
    PromptedTask,
    Rsqrt,
    Schedule,
    Source,
    SpanCorruption,
    Text,
    TrainedBPE,
    Training,
    WarmupStableDecay,
)
from study.runs.suite import (
    Hole,
    Labels,
    Metric,
    Preparation,
    Scoring,
    Suite,
    SuiteTask,
)

__all__ = [
    "ARCHITECTURE_SHORT",
    "KINDS",
    "Adafactor",
    "AdamW",
    "Adapt",
    "Architecture",
    "Constant",
    "Corpus",
    "Cosine",
    "Evaluation",
    "External",
    "Finetune",
    "FullLM",
    "Hole",
    "Labels",
    "Metric",
    "Mixer",
    "Mixture",
    "Model",
    "Muon",
    "Objective",
    "Optimizer",
    "Packing",
    "Part",
    "Positions",
    "PrefixLM",
    "Preparation",
    "Pretrain",
    "PretrainedTokenizer",
    "Prompted",
    "PromptedTask",
    "Rsqrt",
    "Run",
    "Schedule",
    "Scoring",
    "Source",
    "SpanCorruption",
    "Suite",
    "SuiteTask",
    "Text",
    "Trained",
    "TrainedBPE",
    "Training",
    "WarmupStableDecay",
    "canonical",
    "cell",
    "dependencies",
    "identity",
    "lineage",
    "model_of",
    "objective_short",
    "root",
    "row_length",
    "run_id",
    "semantics_of",
    "stages",
    "steps_before",
]


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Tokenised shards and their tokenizer. `tokenizer` may be another corpus, whose tokenizer is
    then used.
    """

    SEMANTICS = 1
    slug: str = field(metadata={"identity": False})
    documents: Text | Mixture
    tokenizer: TrainedBPE | PretrainedTokenizer | Corpus


@dataclass(frozen=True, kw_only=True)
class Pretrain:
    """Train a fresh model on a corpus. `seed` drives initialisation, data order, corruption and
    dropout.
    """

    SEMANTICS = 1
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
class Adapt:
    """Continue a run under another architecture or objective. The data stream always goes on where
    the parent stopped.

    parent_step: the parent's own step whose checkpoint is the start.
    optimizer_state: `inherited` needs equal tensors. schedule_start: `continued` counts the
    parent's steps on.
    """

    SEMANTICS = 1
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
        _check_parent(self)
        _check_sentinels(self)


@dataclass(frozen=True, kw_only=True)
class Finetune:
    """Multitask prompted finetuning. The corpus holds a mixture; rows are packed examples, never
    mixed in attention.
    """

    SEMANTICS = 1
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
        _check_parent(self)
        if not isinstance(self.corpus.documents, Mixture):
            raise ValueError(
                f"Finetune {self.slug!r}: its corpus {self.corpus.slug!r} holds text; "
                "legal: a Mixture"
            )


@dataclass(frozen=True, kw_only=True)
class External:
    """A Hugging Face checkpoint from elsewhere; `source` names its directory by content."""

    SEMANTICS = 1
    slug: str = field(metadata={"identity": False})
    source: Source
    architecture: Architecture


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Zero-shot scores of one checkpoint on one suite. `step` is the trained run's own step; 0 for
    External.
    """

    SEMANTICS = 1
    slug: str = field(metadata={"identity": False})
    run: Pretrain | Adapt | Finetune | External
    step: int
    suite: Suite

    def __post_init__(self) -> None:
        last = 0 if isinstance(self.run, External) else self.run.training.steps
        if not (0 < self.step <= last or self.step == last == 0):
            raise ValueError(
                f"Evaluation {self.slug!r}: step {self.step} of {self.run.slug!r}; "
                f"legal: 1 to {last}"
            )


Trained = Pretrain | Adapt | Finetune
Run = Corpus | Pretrain | Adapt | Finetune | Evaluation | External
KINDS: dict[str, type] = {
    kind.__name__: kind for kind in (Corpus, Pretrain, Adapt, Finetune, Evaluation, External)
}


def _check_parent(run: Adapt | Finetune) -> None:
    """A parent's intermediate checkpoint is a parent only where its schedule does not look ahead to
    its own end.
    """
    _check_basis(run)
    training = run.parent.training
    if not 0 < run.parent_step <= training.steps:
        raise ValueError(
            f"{type(run).__name__} {run.slug!r}: parent_step {run.parent_step} of "
            f"{run.parent.slug!r}; legal: 1 to {training.steps}"
        )
    horizon_free = training.steps
    if isinstance(training.schedule, WarmupStableDecay):
        horizon_free = training.steps - training.schedule.decay_steps
    if isinstance(training.schedule, Cosine):
        horizon_free = 0
    if horizon_free < run.parent_step < training.steps:
        raise ValueError(
            f"{type(run).__name__} {run.slug!r}: step {run.parent_step} of {run.parent.slug!r} "
            f"lies under a schedule that ends at {training.steps} "
            f"({type(training.schedule).__name__}): a run of that length would have had other "
            "weights. Declare it as its own run, or use a schedule without a horizon"
        )


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


def _check_basis(run: Trained) -> None:
    places, length = model_of(run).basis ** 2, row_length(run.objective)
    if places and length > places:
        raise ValueError(
            f"{type(run).__name__} {run.slug!r}: rows of {length} tokens for learned bases of "
            f"{places} places; legal: Model.basis of {math.isqrt(length - 1) + 1} or more"
        )


def _holds_float(each: Field[Any]) -> bool:
    """`weight_decay=0` and `weight_decay=0.0` are one run: such a field holds a float."""
    return each.type in ("float", "float | None")


def _declared(each: Field[Any], item: Any) -> Any:
    return float(item) if type(item) is int and _holds_float(each) else item


_PLAIN = frozenset((str, int, bool, type(None)))
_fields = functools.cache(fields)


def semantics_of(value: Any) -> int:
    """What the code here computes for a run or a part: 1 where nothing was ever raised."""
    return getattr(value, "SEMANTICS", 1)


def _semantics(value: Any) -> dict[str, int]:
    found = semantics_of(value)
    return {"semantics": found} if type(value).__name__ in KINDS or found != 1 else {}


def canonical(value: Any) -> Any:
    """The value as plain dicts, lists and scalars; every dataclass carries its class as `kind`,
    runs their semantics, and parts theirs where it was raised.

    A field at its declared default is left out. Raises TypeError on anything that has no canonical
    form.
    """
    if type(value) in _PLAIN:
        return value
    if is_dataclass(value) and not isinstance(value, type):
        form: dict[str, Any] = {"kind": type(value).__name__}
        form |= _semantics(value)
        for each in _fields(type(value)):
            item = _declared(each, getattr(value, each.name))
            if each.default is not MISSING and item == each.default:
                continue
            form[each.name] = canonical(item)
        return form
    if isinstance(value, tuple):
        return [canonical(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise TypeError(f"{value!r} has no canonical form")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{value!r} of type {type(value).__name__} has no canonical form")


def identity(value: Any) -> Any:
    """The canonical form reduced to what can change the result: runs below become their id, slugs
    and file locations go.
    """
    if type(value) in _PLAIN:  # most of a plan's time goes here
        return value
    if is_dataclass(value) and not isinstance(value, type):
        form = {"kind": type(value).__name__} | _semantics(value)
        for name, default, is_float in _identified(type(value)):
            item: Any = getattr(value, name)
            if is_float and type(item) is int:
                item = float(item)
            if default is not MISSING and item == default:
                continue
            if type(item) in _PLAIN:
                form[name] = item
            elif type(item).__name__ in KINDS:
                form[name] = run_id(item)
            else:
                form[name] = _suite(item) if isinstance(item, Suite) else identity(item)
        if isinstance(value, Source) and value.uri.startswith("file://"):
            form["uri"] = "file://*" + PurePosixPath(value.uri).suffix
        return form
    if isinstance(value, tuple):
        return [identity(item) for item in value]
    return canonical(value)


@functools.cache
def _identified(owner: type) -> tuple[tuple[str, Any, bool], ...]:
    """(name, default, whether it holds a float) of the fields that enter an identity."""
    return tuple(
        (each.name, each.default, _holds_float(each))
        for each in fields(owner)
        if each.metadata.get("identity", True)
    )


_suites: dict[int, tuple[Suite, Any]] = {}


def _suite(suite: Suite) -> Any:
    """`identity` of a suite, remembered by object as ids are: many evaluations share one."""
    known = _suites.get(id(suite))
    if known is None or known[0] is not suite:
        known = _suites[id(suite)] = (suite, identity(suite))
    return known[1]


_ids: dict[int, tuple[Any, str]] = {}


def run_id(run: Run) -> str:
    """sha256 (hex) over `identity(run)` as compact JSON with sorted keys.

    Remembered by object, since ten thousand runs share a few parents; the object is kept alive
    beside its id.
    """
    known = _ids.get(id(run))
    if known is not None and known[0] is run:
        return known[1]
    form = json.dumps(identity(run), sort_keys=True, separators=(",", ":"), allow_nan=False)
    digest = hashlib.sha256(form.encode()).hexdigest()
    _ids[id(run)] = (run, digest)
    return digest


def dependencies(run: Run) -> tuple[Run, ...]:
    """The runs that must be done before this one, nearest first."""
    match run:
        case Corpus():
            return (run.tokenizer,) if isinstance(run.tokenizer, Corpus) else ()
        case Pretrain():
            return (run.corpus,)
        case Adapt() | Finetune():
            return (run.parent, run.corpus)
        case Evaluation():
            return (run.run,)
        case External():
            return ()


def model_of(run: Trained) -> Model:
    """The model's shape after this run: its pretraining's, under the last stage's architecture."""
    if isinstance(run, Pretrain):
        return run.model
    return replace(model_of(run.parent), architecture=run.architecture)


def objective_short(objective: Objective) -> str:
    match objective:
        case FullLM():
            return "FLM"
        case PrefixLM():
            return "PLM"
        case SpanCorruption():
            return "MLM"
        case Prompted():
            return "MTF"


def row_length(objective: Objective) -> int:
    """Tokens of one row as the ledger counts them: inputs and targets together."""
    match objective:
        case FullLM() | PrefixLM():
            return objective.length
        case SpanCorruption():
            return objective.input_length + objective.target_length
        case Prompted():
            return objective.inputs + objective.targets


def cell(run: Trained) -> str:
    """The stage's own cell, such as `CD:FLM`."""
    return f"{ARCHITECTURE_SHORT[model_of(run).architecture]}:{objective_short(run.objective)}"


def stages(run: Trained) -> Iterator[Trained]:
    """The lineage from the pretraining down to this run."""
    if not isinstance(run, Pretrain):
        yield from stages(run.parent)
    yield run


def lineage(run: Trained) -> tuple[str, ...]:
    """The cells from pretraining down to this run, such as (`CD:FLM`, `ND:MLM`, `ND:MTF`): how
    claims name a run.
    """
    return tuple(cell(stage) for stage in stages(run))


def root(run: Trained) -> Pretrain:
    """The pretraining that this run descends from; its seed is the replicate."""
    return run if isinstance(run, Pretrain) else root(run.parent)


def steps_before(run: Trained) -> int:
    """Optimiser steps that the lineage took before this run: where its data stream goes on."""
    return 0 if isinstance(run, Pretrain) else steps_before(run.parent) + run.parent_step
