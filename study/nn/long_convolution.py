"""The mixer `monarch`: M2's gated long convolution (Fu et al. 2023, section 4) over
`kernels.longconv`.

    v, g, h = projections of the hidden states, each passed through a short causal filter
    y = longconv(g v, after, before) + skip g v
    out = output(shuffle(h y))

`after` filters what lies up to the query. `before` filters later keys, of a prefix or an encoder,
and exists only where some query sees such keys. M2's dense projections would leave a layer
quadratic in width, so they are block-diagonal here; the shuffle between makes them, together, an
order-2 Monarch matrix over channels, since the MLP of this mixer is block-diagonal too.

With `Model.basis`, the causal part is M2's product of polynomials in learned bases: C' applied to
longconv(C g v, after), where C and C' are causal Monarch matrices over each document's positions
(`kernels.longconv.causal`) that begin as the identity. What a prefix sees of later keys stays in
monomials.

There is no cross form: a decoder that reads a source keeps cross-attention, which is dense. M2's
second filter on the layer's input is left to the residual stream. Axes: B rows, T positions, M
model width, D channels.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from kernels.longconv import causal_monarch, longconv
from kernels.visibility import Visibility
from study.nn.attention import Mixing
from study.nn.block_diagonal import BlockDiagonal, shuffled
from study.nn.constants import GATED_TAPS
from study.nn.filters import ImplicitFilter, short_filter
from study.nn.shape import StackShape


class CausalBasis(nn.Module):
    """A learned causal Monarch matrix over positions, in blocks of `size`."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.low_digits = nn.Parameter(torch.empty(size, size, size))
        self.high_digits = nn.Parameter(torch.empty(size, size, size))

    def forward(
        self, states: Float[Tensor, "B T D"], visibility: Visibility
    ) -> Float[Tensor, "B T D"]:
        return causal_monarch(states, self.low_digits, self.high_digits, visibility)


class LongConvolution(nn.Module):
    """One gated long convolution. filters: `after` alone, or `before` as well. dropout: of whole
    values, as in `study.nn.attention.Attention`.
    """

    rounding = 4096.0
    """Inside a document a transform lets unseen keys through by rounding: to the logits at most so
    many times eps times the change (`study.language.model.isolation`; 275 measured through six new
    layers).
    """

    def __init__(self, model: StackShape, *, filters: tuple[str, ...], dropout: float) -> None:
        super().__init__()
        channels = model.heads * model.d_head
        self.heads, self.blocks = model.heads, model.blocks
        self.dropout = dropout
        self.value = BlockDiagonal(model.d_model, channels, blocks=model.blocks)
        self.value_gate = BlockDiagonal(model.d_model, channels, blocks=model.blocks)
        self.output_gate = BlockDiagonal(model.d_model, channels, blocks=model.blocks)
        self.output = BlockDiagonal(channels, model.d_model, blocks=model.blocks)
        self.short = nn.Parameter(torch.empty(3 * channels, GATED_TAPS))
        self.skip = nn.Parameter(torch.empty(channels))
        self.after = ImplicitFilter(channels, width=model.d_filter, span=model.span)
        self.before = (
            ImplicitFilter(channels, width=model.d_filter, span=model.span)
            if "before" in filters
            else None
        )
        self.into_basis = CausalBasis(model.basis) if model.basis else None
        self.out_of_basis = CausalBasis(model.basis) if model.basis else None

    def forward(self, hidden: Float[Tensor, "B T M"], mixing: Mixing) -> Float[Tensor, "B T M"]:
        drawn = [self.value(hidden), self.value_gate(hidden), self.output_gate(hidden)]
        mixed = short_filter(torch.cat(drawn, -1), self.short, mixing.visibility)
        value, value_gate, output_gate = mixed.chunk(3, -1)
        value = value * value_gate
        if self.training and self.dropout > 0.0:
            by_head = value.unflatten(-1, (self.heads, -1))
            kept = functional.dropout(torch.ones_like(by_head[..., :1]), self.dropout)
            value = (by_head * kept).flatten(-2)
        states = self._convolved(value, mixing.visibility)
        states = (states + self.skip * value) * output_gate
        return self.output(shuffled(states, blocks=self.blocks))

    def _convolved(
        self, value: Float[Tensor, "B T D"], visibility: Visibility
    ) -> Float[Tensor, "B T D"]:
        length = value.shape[1]
        after = self.after(length)
        before = None if self.before is None else self.before(length)
        if self.into_basis is None or self.out_of_basis is None:
            return longconv(value, after, before, visibility)
        inside = self.into_basis(value, visibility)
        mixed = longconv(inside, after, None, visibility.causal_part)
        mixed = self.out_of_basis(mixed, visibility)
        if before is None:
            return mixed
        return mixed + longconv(value, torch.zeros_like(after), before, visibility)
