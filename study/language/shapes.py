"""The tensors of a model by role and shape, without building it: what per-tensor state costs.

`study.language.cost.parameters` is their sum; `study.train.optimizers.role` gives the same roles to
the built model's tensors (tests compare both). No torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Literal, assert_never

from study.language.cost import NUM_BUCKETS, NUM_LATER_BUCKETS, reach
from study.nn.cost import FILTER_FEATURES, GATED_TAPS, STATE_TAPS, Reach
from study.runs.run import Model

Role = Literal["matrix", "head", "embedding", "positions", "norm"]
"""As in `study.train.optimizers`."""


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


def shapes(model: Model) -> tuple[Shape, ...]:
    """Every tensor of the model once."""
    return tuple(
        Shape(role=role, shape=shape, count=count) for role, shape, count in _tensors(model)
    )


Tensors = Iterator[tuple[Role, tuple[int, ...], int]]


def _tensors(model: Model) -> Tensors:
    width, layers = model.d_model, model.layers
    yield "embedding", (model.vocab_size, width), 1
    if not model.tied:
        yield "head", (model.vocab_size, width), 1
    yield from _layers(model, reach(model))
    yield "norm", (width,), 2 * layers + 1
    if model.architecture == "encoder_decoder":
        yield from _layers(model, "full")
        yield from _attention(model)
        yield "norm", (width,), 3 * layers + 1
    yield from _tables(model)


def _layers(model: Model, sees: Reach) -> Tensors:
    """Mixers and MLPs of one stack."""
    match model.mixer:
        case "attention":
            yield from _attention(model)
        case "monarch":
            yield from _long_convolution(model, sees)
        case "ssd":
            yield from _state_space(model)
        case _:
            assert_never(model.mixer)
    yield "matrix", _matrix(model.d_ff, model.d_model, model.blocks), 2 * model.layers
    yield "matrix", _matrix(model.d_model, model.d_ff, model.blocks), model.layers


def _matrix(outputs: int, inputs: int, blocks: int) -> tuple[int, ...]:
    return (blocks, outputs // blocks, inputs // blocks) if blocks else (outputs, inputs)


def _attention(model: Model) -> Tensors:
    inner = model.heads * model.d_head
    yield "matrix", (inner, model.d_model), 3 * model.layers
    yield "matrix", (model.d_model, inner), model.layers


def _long_convolution(model: Model, sees: Reach) -> Tensors:
    inner, layers, features = model.heads * model.d_head, model.layers, model.d_filter
    yield "matrix", _matrix(inner, model.d_model, model.blocks), 3 * layers
    yield "matrix", _matrix(model.d_model, inner, model.blocks), layers
    yield "norm", (3 * inner, GATED_TAPS), layers
    yield "norm", (inner,), layers
    filters = layers * (1 if sees == "causal" else 2)
    yield "positions", (features, FILTER_FEATURES), filters
    yield "positions", (features, features), 2 * filters
    yield "positions", (inner, features), filters
    yield "norm", (features,), 4 * filters
    if model.basis:
        yield "positions", (model.basis,) * 3, 4 * layers


def _state_space(model: Model) -> Tensors:
    inner, states = model.heads * model.d_head, model.heads * model.d_state
    yield "matrix", (inner, model.d_model), 2 * model.layers
    yield "matrix", (states, model.d_model), 2 * model.layers
    yield "matrix", (model.heads, model.d_model), model.layers
    yield "matrix", (model.d_model, inner), model.layers
    yield "norm", (inner + 2 * states, STATE_TAPS), model.layers
    yield "norm", (model.heads,), 3 * model.layers
    yield "norm", (inner,), model.layers


def _tables(model: Model) -> Tensors:
    alone = model.architecture != "encoder_decoder"
    match model.positions:
        case "rope" | "none":
            return
        case "t5_bias" if alone:
            yield "positions", (NUM_BUCKETS, model.heads), 1
            yield "positions", (NUM_LATER_BUCKETS, model.heads), 1
        case "t5_bias_paper" if alone:
            yield "positions", (NUM_BUCKETS, model.heads), model.layers
        case "t5_bias" | "t5_bias_paper":
            yield "positions", (NUM_BUCKETS, model.heads), 2
        case _:
            assert_never(model.positions)
