"""A stack of pre-norm layers: RMSNorm, a mixer, optional cross-attention, a gated MLP.

One module for encoders and decoders: who sees whom is data, and where the position tables sit is
the position scheme's business. The layout of the residual stream and of dropout is T5's.
Axes: B rows, T queries, S keys, M model width, F inner width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from kernels import longconv
from kernels.attention import prepare
from kernels.visibility import Visibility
from study.nn.attention import Attention, KeyValues, Mixing
from study.nn.block_diagonal import projection
from study.nn.constants import NORM_EPSILON
from study.nn.long_convolution import LongConvolution
from study.nn.positions import (
    BidirectionalTable,
    CausalAndLaterTable,
    CausalTable,
    relative_bias,
    rotation,
)
from study.nn.shape import StackShape
from study.nn.state_space import StatePassing, StateSpace

Side = Literal["decoder_only", "encoder", "decoder"]
Method = TypeVar("Method", bound=Callable)


def _eager(method: Method) -> Method:
    """Keep a method out of compiled regions: it looks at values, once per batch. The layers that
    follow are then one graph.
    """
    return torch.compiler.disable(method)  # type: ignore[return-value]


class RMSNorm(nn.Module):
    """x / sqrt(mean(x ** 2) + eps) * weight, in float32 at least (Zhang and Sennrich 2019)."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(d_model))

    def forward(self, hidden: Float[Tensor, "*B M"]) -> Float[Tensor, "*B M"]:
        wide = hidden if hidden.dtype in (torch.float32, torch.float64) else hidden.float()
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + NORM_EPSILON)
        return (wide * scale).to(self.weight.dtype) * self.weight


def _gelu(states: Tensor) -> Tensor:
    """gelu's tanh form. In a compiled region it is written as the sigmoid that it equals: compiled,
    a tanh takes a CPU twice as long.
    """
    if not torch.compiler.is_compiling():
        return functional.gelu(states, approximate="tanh")
    wide = states if states.dtype == torch.float64 else states.float()
    # 0.5 (1 + tanh(z)) = sigmoid(2 z), with z = sqrt(2 / pi) (x + 0.044715 x ** 3)
    twice = 2.0 * math.sqrt(2.0 / math.pi) * (wide + 0.044715 * wide * wide * wide)
    return (wide * twice.sigmoid()).to(states.dtype)


class GatedMLP(nn.Module):
    """down(gelu(gate(x)) * up(x)), with T5 1.1's tanh form of gelu (Shazeer 2020). blocks: of M2's
    block-diagonal form (Fu et al. 2023); 0 is dense.
    """

    def __init__(self, d_model: int, d_ff: int, *, blocks: int, dropout: float) -> None:
        super().__init__()
        self.gate = projection(d_model, d_ff, blocks=blocks)
        self.up = projection(d_model, d_ff, blocks=blocks)
        self.down = projection(d_ff, d_model, blocks=blocks)
        self.dropout = dropout

    def forward(self, hidden: Float[Tensor, "*B M"]) -> Float[Tensor, "*B M"]:
        inner = _gelu(self.gate(hidden)) * self.up(hidden)
        return self.down(_drop(inner, self.dropout, self.training))


def _drop(states: Tensor, probability: float, training: bool) -> Tensor:
    """Dropout that costs nothing where there is none."""
    return functional.dropout(states, probability) if training and probability > 0.0 else states


@dataclass(frozen=True, kw_only=True, eq=False)
class Crossing:
    """What a decoder's cross-attentions share in one forward pass: which target sees which part of
    the source, and per layer the source's keys and values.
    """

    mixing: Mixing
    memory: Sequence[tuple[Tensor, Tensor]]


class Layer(nn.Module):
    """One pre-norm layer of a stack."""

    def __init__(self, model: StackShape, side: Side, *, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.attention_norm = RMSNorm(model.d_model)
        self.attention = _attention(model, dropout) if model.mixer == "attention" else None
        self.state_space = StateSpace(model, dropout=dropout) if model.mixer == "ssd" else None
        self.long_convolution = (
            LongConvolution(model, filters=_filters(model, side), dropout=dropout)
            if model.mixer == "monarch"
            else None
        )
        self.cross = _attention(model, dropout) if side == "decoder" else None
        self.cross_norm = RMSNorm(model.d_model) if side == "decoder" else None
        self.mlp_norm = RMSNorm(model.d_model)
        self.mlp = GatedMLP(model.d_model, model.d_ff, blocks=model.blocks, dropout=dropout)
        own_table = model.positions == "t5_bias_paper" and side == "decoder_only"
        self.positions = CausalTable(model.heads) if own_table else None

    def forward(
        self,
        hidden: Float[Tensor, "B T M"],
        mixing: Mixing,
        *,
        crossing: Mixing | None,
        memory: tuple[Tensor, Tensor] | None,
        cache: KeyValues | StatePassing | None,
    ) -> Float[Tensor, "B T M"]:
        if self.positions is not None:
            visibility = mixing.visibility
            bias = relative_bias(
                self.positions,
                queries=visibility.start.shape[1],
                keys=visibility.num_keys,
                past=mixing.past,
            )
            mixing = replace(mixing, bias=bias)
        mixed = self._mix(self.attention_norm(hidden), mixing, cache)
        hidden = hidden + _drop(mixed, self.dropout, self.training)
        if self.cross is not None and self.cross_norm is not None and crossing is not None:
            read = self.cross(self.cross_norm(hidden), crossing, memory=memory)
            hidden = hidden + _drop(read, self.dropout, self.training)
        return hidden + _drop(self.mlp(self.mlp_norm(hidden)), self.dropout, self.training)

    def _mix(
        self, hidden: Tensor, mixing: Mixing, cache: KeyValues | StatePassing | None
    ) -> Tensor:
        passing = cache if isinstance(cache, StatePassing) else None
        if self.attention is not None and passing is None:
            return self.attention(hidden, mixing, cache=cache)  # type: ignore[arg-type]
        if self.state_space is not None and passing is cache:
            return self.state_space(hidden, mixing, passing=passing)
        if cache is not None:
            raise ValueError("a key-value cache, and the mixer has none; legal: use_cache=False")
        assert self.long_convolution is not None
        return self.long_convolution(hidden, mixing)


def _attention(model: StackShape, dropout: float) -> Attention:
    # T5 folds the scale into the query's initialisation (Raffel et al. 2020, footnote 5).
    scale = 1.0 if model.positions in ("t5_bias", "t5_bias_paper") else model.d_head**-0.5
    return Attention(
        model.d_model, heads=model.heads, d_head=model.d_head, scale=scale, dropout=dropout
    )


def _filters(model: StackShape, side: Side) -> tuple[str, ...]:
    """A long convolution's filters: a stack that never shows a later key has no filter for them."""
    causal = side == "decoder" or model.architecture == "causal_decoder"
    return ("after",) if causal else ("after", "before")


def _stack_table(model: StackShape, side: Side) -> nn.Module | None:
    """The position table that all layers of a stack share, where the scheme has one."""
    match model.positions, side:
        case ("rope" | "none", _) | ("t5_bias_paper", "decoder_only"):
            return None
        case _, "encoder":
            return BidirectionalTable(model.heads)
        case _, "decoder":
            # T5's own: the decoder of an encoder-decoder never sees a later key.
            return CausalTable(model.heads)
        case _:
            return CausalAndLaterTable(model.heads)


class Stack(nn.Module):
    """Embedded tokens to final, normed states."""

    main_input_name = "input_ids"  # what generate() asks an encoder for

    def __init__(self, model: StackShape, side: Side, *, dropout: float) -> None:
        super().__init__()
        self.model = model
        self.dropout = dropout
        self.positions = _stack_table(model, side)
        self.layers = nn.ModuleList(
            Layer(model, side, dropout=dropout) for _ in range(model.layers)
        )
        self.norm = RMSNorm(model.d_model)
        self.recompute: Literal["none", "layers"] = "none"

    @_eager
    def mixing(
        self, positions: Int[Tensor, "B T"], visibility: Visibility, *, past: int = 0
    ) -> Mixing:
        """What the layers share in one forward pass: angles or a bias, and the core's route."""
        angles = bias = None
        if self.model.positions == "rope":
            angles = rotation(positions, d_head=self.model.d_head, dtype=self.norm.weight.dtype)
        elif self.positions is not None:
            bias = relative_bias(
                self.positions,
                queries=visibility.start.shape[1],
                keys=visibility.num_keys,
                past=past,
            )
        match self.model.mixer:
            case "attention":
                prepare(visibility, bias)
            case "monarch":
                longconv.prepare(visibility)
                if self.model.basis:
                    longconv.prepare(visibility.causal_part)
            case "ssd":
                _ = visibility.documents.any_prefix
        return Mixing(visibility=visibility, angles=angles, bias=bias, past=past)

    @_eager
    def crossing(self, visibility: Visibility) -> Mixing:
        """The same for cross-attention, which has no positions."""
        prepare(visibility, None)
        return Mixing(visibility=visibility)

    def memory(self, source: Float[Tensor, "B S M"]) -> list[tuple[Tensor, Tensor]]:
        """Every layer's keys and values of an encoded source."""
        return [layer.cross.project(source) for layer in self.layers]  # type: ignore[union-attr]

    def forward(
        self,
        embedded: Float[Tensor, "B T M"],
        mixing: Mixing,
        *,
        crossing: Crossing | None = None,
        caches: Sequence[KeyValues | StatePassing] | None = None,
    ) -> Float[Tensor, "B T M"]:
        hidden = _drop(embedded, self.dropout, self.training)
        across = None if crossing is None else crossing.mixing
        for index, layer in enumerate(self.layers):
            hidden = self._call(
                layer,
                hidden,
                mixing,
                crossing=across,
                memory=None if crossing is None else crossing.memory[index],
                cache=None if caches is None else caches[index],
            )
        return _drop(self.norm(hidden), self.dropout, self.training)

    def _call(self, layer: nn.Module, *arguments: Any, **named: Any) -> Tensor:
        if self.recompute == "none" or not self.training:
            return layer(*arguments, **named)
        # ZeRO 3 counts on the early stop, torch's default: a layer whose recomputation ended in
        # order would give its weights back before its own backward pass.
        return checkpoint(layer, *arguments, use_reentrant=False, early_stop=True, **named)


def recompute_layers(model: nn.Module) -> None:
    """Activation checkpointing: keep each layer's input alone, and compute the rest again in the
    backward pass, with the same dropout.
    """
    for module in model.modules():
        if isinstance(module, Stack):
            module.recompute = "layers"
