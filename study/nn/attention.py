"""Sequence mixers as modules over `kernels`: projections, positions and the core's call.

A mixer maps hidden states to hidden states under a `Visibility` and knows nothing else of the
architecture it sits in. Query, key and value projections are separate tensors, since Adafactor
scales its step by tensor. Axes: B rows, H heads, T queries, S keys, D head width, M model width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from kernels.attention import RelativeBias, attention
from kernels.visibility import Visibility
from study.nn.positions import rotate

KeyValues = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Mixing:
    """What one stack's mixers share in one forward pass.

    visibility: who sees whom. angles: `study.nn.positions.rotation` under rope, else None. bias:
    the stack's T5 bias, or None. past: keys that come before the queries (cached decoding).
    """

    visibility: Visibility
    angles: tuple[Tensor, Tensor] | None = None
    bias: RelativeBias | None = None
    past: int = 0


class Attention(nn.Module):
    """Multi-head attention over intervals: self-attention, or cross-attention where `memory` (the
    source's keys and values) is given.

    scale: what multiplies the scores; T5 schemes fold it into the query's initialisation and use 1.
    dropout: T5's, on the attention weights and shared by all queries (mesh-tensorflow and t5x
    broadcast it over the query axis), which is the same as dropping whole values: no core has to
    know of it.
    """

    def __init__(
        self, d_model: int, *, heads: int, d_head: int, scale: float, dropout: float
    ) -> None:
        super().__init__()
        self.d_head = d_head
        self.scale = scale
        self.dropout = dropout
        self.query = nn.Linear(d_model, heads * d_head, bias=False)
        self.key = nn.Linear(d_model, heads * d_head, bias=False)
        self.value = nn.Linear(d_model, heads * d_head, bias=False)
        self.output = nn.Linear(heads * d_head, d_model, bias=False)

    def _heads(self, states: Tensor) -> Tensor:
        return states.unflatten(-1, (-1, self.d_head)).transpose(1, 2)  # (B, H, T, D)

    def project(
        self, read: Float[Tensor, "B S M"]
    ) -> tuple[Float[Tensor, "B H S D"], Float[Tensor, "B H S D"]]:
        """Keys and values of what is read: for cross-attention once per source, not per query."""
        return self._heads(self.key(read)), self._heads(self.value(read))

    def forward(
        self,
        hidden: Float[Tensor, "B T M"],
        mixing: Mixing,
        *,
        memory: tuple[Tensor, Tensor] | None = None,
        cache: KeyValues | None = None,
    ) -> Float[Tensor, "B T M"]:
        query = self._heads(self.query(hidden))
        key, value = self.project(hidden) if memory is None else memory
        if mixing.angles is not None:
            query, key = rotate(query, mixing.angles), rotate(key, mixing.angles)
        if cache is not None:
            key, value = cache(key, value)
        if self.training and self.dropout > 0.0:
            value = value * functional.dropout(torch.ones_like(value[..., :1]), self.dropout)
        mixed = attention(query, key, value, mixing.visibility, bias=mixing.bias, scale=self.scale)
        return self.output(mixed.transpose(1, 2).flatten(2))
