"""What a language model is trained to predict, and how documents share a row. No torch.

Owns frozen values and their legal ranges; rows are made by `study.language.objectives`.
"""

from __future__ import annotations

from dataclasses import dataclass

from study.runs.legal import positive, within


@dataclass(frozen=True, kw_only=True)
class FullLM:
    """Predict every token of a chunk of `length` tokens (FLM)."""

    length: int

    def __post_init__(self) -> None:
        positive(self, "length")


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
        positive(self, "raw_length", "noise_density", "mean_span")
        within(self, "noise_density", low=0.0, high=1.0)
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
        positive(self, "inputs", "targets")


Objective = FullLM | PrefixLM | SpanCorruption | Prompted


@dataclass(frozen=True, kw_only=True)
class Packing:
    """How documents share a chunk. Both are science fields and equal across compared cells.

    document_masking: a token sees its own document only; False is the paper's setting.
    eos_between: an end of sequence after each document of the stream.
    """

    document_masking: bool
    eos_between: bool


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
