"""Which mixer serves which pattern of visibility, and what a cell does where a mixer has no cross
form. The table behind `study mixers`; no torch.

The patterns are those of the Comprehensive Attention Benchmark (Zhang et al. 2023), with the
prefix beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from study.nn.shape import Mixer
from study.show import terminal
from study.show.columns import fields

Served = Literal["yes", "no"]
PATTERNS = (
    "causal_self",
    "noncausal_self",
    "prefix_self",
    "noncausal_cross",
    "causal_cross",
)


@dataclass(frozen=True, kw_only=True)
class PatternSupport:
    """What one mixer serves. In the models no cell uses causal cross; the kernel takes any
    intervals.
    """

    mixer: Mixer
    causal_self: Served
    noncausal_self: Served
    prefix_self: Served
    noncausal_cross: Served
    causal_cross: Served
    note: str


SERVED = (
    PatternSupport(
        mixer="attention",
        causal_self="yes",
        noncausal_self="yes",
        prefix_self="yes",
        noncausal_cross="yes",
        causal_cross="yes",
        note="any intervals; one set of tensors for all",
    ),
    PatternSupport(
        mixer="monarch",
        causal_self="yes",
        noncausal_self="yes",
        prefix_self="yes",
        noncausal_cross="no",
        causal_cross="no",
        note="encoder-decoder: dense cross-attention reads the source; windows and lookahead "
        "refused; a filter more where later keys are visible, new or dropped in adaptation; unseen "
        "keys of a document pass by rounding; generates by recomputing",
    ),
    PatternSupport(
        mixer="ssd",
        causal_self="yes",
        noncausal_self="yes",
        prefix_self="yes",
        noncausal_cross="no",
        causal_cross="no",
        note="encoder-decoder: cross-attention reads the source; windows and lookahead refused; "
        "one set of tensors for all; generates by recomputing",
    ),
)


def show(*, as_json: bool) -> None:
    """Print the table."""
    if as_json:
        terminal.values(SERVED)
        return
    terminal.show(fields("mixer", *PATTERNS, "note"), SERVED)
