"""What a forecast of memory must know of a model: its tensors, and what a pass leaves behind.

Owns the values that a domain hands over (`study.runs.domain.Domain.footprint`). No torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

Device = Literal["cpu", "cuda"]
Role = Literal["matrix", "head", "embedding", "positions", "norm"]
"""As in `study.train.optimizers`."""

WIDE = 4
"""Bytes of a float32."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """`count` tensors of one role and shape."""

    role: Role
    shape: tuple[int, ...]
    count: int

    @property
    def numel(self) -> int:
        """Numbers of all of them together."""
        return prod(self.shape) * self.count


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """One micro-batch's pass, in bytes, beside the model's tensors.

    saved: activations. working: what the backward pass of one layer needs beside them. logits:
    their peak. casts: 16-bit copies of the weights, kept by autocast.
    """

    tensors: tuple[Shape, ...]
    saved: int
    working: int
    logits: int
    casts: int
