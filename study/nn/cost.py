"""What each mixer costs, by formula: parameters of a layer, FLOPs of a row. `study.language.cost`
adds the rest of the model. No torch.

The kernels' chunk stands here again, since they need torch.

How many logits exist at once, the rows of a block of the loss, stands here too, since what plans
memory needs it as well as `study.nn.loss`, which computes.
"""

from __future__ import annotations

from math import log2
from typing import Literal, assert_never

from study.nn.constants import FILTER_FEATURES, GATED_TAPS, STATE_TAPS
from study.nn.shape import StackShape

CHUNK = 64  # kernels.ssd

Reach = Literal["causal", "prefix", "full"]
"""What a row's queries see of later keys: nothing, those of a prefix, or all."""


def attention_parameters(model: StackShape) -> int:
    return 4 * model.d_model * model.heads * model.d_head


def mixer_parameters(model: StackShape, reach: Reach) -> int:
    """Of one layer's self-mixer."""
    inner = model.heads * model.d_head
    match model.mixer:
        case "attention":
            return attention_parameters(model)
        case "monarch":
            filters = (1 if reach == "causal" else 2) * _filter_parameters(model)
            bases = 4 * model.basis**3
            return _gated_products(model) + GATED_TAPS * 3 * inner + inner + filters + bases
        case "ssd":
            states = model.heads * model.d_state
            vectors = 3 * model.heads + inner
            return _state_space_products(model) + STATE_TAPS * (inner + 2 * states) + vectors
        case _:
            assert_never(model.mixer)


def mixer_flops(model: StackShape, length: int, reach: Reach) -> int:
    """Of one layer's self-mixer over one row, forward."""
    inner = model.heads * model.d_head
    match model.mixer:
        case "attention":
            return 2 * length * attention_parameters(model) + 4 * length * length * inner
        case "monarch":
            # There and back; a prefix, counted as long as its row, is a convolution of its own.
            # So is everything later where the causal part has bases of its own.
            transforms = 4 if reach == "prefix" or (model.basis and reach == "full") else 2
            products = 2 * length * _gated_products(model)
            bases = 2 * inner * _basis_flops(model.basis, length)
            return products + bases + transforms * inner * _transform_flops(length)
        case "ssd":
            # kernels/ssd/README.md: pairs inside a chunk, then a state that is written and read,
            # twice where a prefix is passed from right to left. A row of one chunk takes less.
            chunked = -(-length // CHUNK) * CHUNK
            pairs = CHUNK * (model.d_state + model.d_head)
            states = (2 if reach == "causal" else 4) * model.d_head * model.d_state
            products = 2 * length * _state_space_products(model)
            return products + 2 * chunked * model.heads * (pairs + states)
        case _:
            assert_never(model.mixer)


def filter_flops(model: StackShape, length: int, reach: Reach) -> int:
    """Of the filters of one layer's mixer: once a forward pass, however many rows it has."""
    if model.mixer != "monarch":
        return 0
    width, inner = model.d_filter, model.heads * model.d_head
    network = 2 * length * width * (FILTER_FEATURES + 2 * width + inner)
    return (1 if reach == "causal" else 2) * (network + inner * _transform_flops(length))


def _gated_products(model: StackShape) -> int:
    """Numbers of a long convolution's block-diagonal projections: value, two gates, output."""
    return 4 * model.d_model * model.heads * model.d_head // model.blocks


def _basis_flops(block: int, length: int) -> int:
    """One channel's change of basis over a row: its digits, low and high."""
    high = -(-length // block) if block else 0
    return 2 * high * block * (block + high)


def _filter_parameters(model: StackShape) -> int:
    width = model.d_filter
    network = (FILTER_FEATURES + 1) * width + 2 * (width + 1) * width
    return network + width + width * model.heads * model.d_head


def _state_space_products(model: StackShape) -> int:
    """Numbers of a state-space mixer's projections: value, gate, output; write, read; step."""
    return model.d_model * model.heads * (3 * model.d_head + 2 * model.d_state + 1)


def _transform_flops(length: int) -> int:
    """A complex Fourier transform as long as the row: 5 L log2 L (Cooley and Tukey's count)."""
    return int(5 * length * log2(max(2, length)))


NUMBERS = {"cpu": 2**21, "cuda": 2**27}
"""Logits of a block: on a CPU what two cores' caches hold, on a GPU what keeps it busy."""


def rows_of_block(vocabulary: int, *, device: str) -> int:
    """At least one, however large the vocabulary."""
    return max(1, NUMBERS[device] // vocabulary)
