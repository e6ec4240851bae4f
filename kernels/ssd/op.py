"""The state-space dual's Triton kernels as torch operators: shapes, launches, autograd.

What they compute is in `triton.py` and `triton_backward.py`; what may be asked of them is checked
by `kernels.ssd.ssd`. The backward computes sums and states anew: kept, they would outweigh the
inputs.
"""
# A kernel's launch takes its options beside its arguments, which no type checker knows.
# pyright: basic, reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import triton
from torch import Tensor

from kernels.ssd import triton as forward_pass
from kernels.ssd import triton_backward as backward_pass


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """Sizes of the launches: positions of a chunk, columns of a tile over either width, warps of a
    program, loads in flight.
    """

    chunk: int
    columns: int
    warps: int
    stages: int

    def block(self, width: int) -> int:
        """Columns of a tile over this width: a power of two, and what a matrix product needs."""
        return min(self.columns, max(16, triton.next_power_of_2(width)))


def forward_tiles(dtype: torch.dtype) -> Tiles:
    """Tiles of the outputs, and of the walks over the chunks in both passes."""
    if dtype == torch.float32:
        return Tiles(chunk=32, columns=32, warps=4, stages=1)
    return Tiles(chunk=64, columns=64, warps=4, stages=2)


def backward_tiles(dtype: torch.dtype) -> Tiles:
    """Tiles of the gradients, whose chunks are the walks'. Columns of 64 spill on every target."""
    if dtype == torch.float32:
        return Tiles(chunk=32, columns=32, warps=4, stages=1)
    return Tiles(chunk=64, columns=32, warps=4, stages=2)


class Weights(NamedTuple):
    """What `decays_kernel` gives. D directions: 2 where a prefix is longer than 1, else 1."""

    total: Tensor  # (B H, G, Q) float32
    enters: Tensor  # (D, B H, G, Q) float32
    reads: Tensor  # (D, B H, G, Q) float32
    keeps: Tensor  # (D, B H, G) float32


@torch.library.custom_op("archstudy::ssd", mutates_args=())
def forward(
    inputs: Tensor,  # (B, T, H, P)
    decay: Tensor,  # (B, T, H) float32
    write: Tensor,  # (B, T, H, N)
    read: Tensor,  # (B, T, H, N)
    start: Tensor,  # (B, T)
    end: Tensor,  # (B, T)
    initial_state: Tensor | None,  # (B, H, P, N) float32
    prefixed: bool,
) -> tuple[Tensor, Tensor]:
    """(outputs (B, T, H, P), final state (B, H, P, N) in float32). prefixed: whether some document
    has a prefix longer than 1.
    """
    return launch_forward(
        inputs, decay, write, read, start, end, initial_state, prefixed,
        forward_tiles(inputs.dtype),
    )  # fmt: skip


def launch_forward(
    inputs, decay, write, read, start, end, initial_state, prefixed: bool, tiles: Tiles
) -> tuple[Tensor, Tensor]:
    rows, length, heads, width = inputs.shape
    inputs, write, read = (_rows_contiguous(each) for each in (inputs, write, read))
    start, end = start.contiguous(), end.contiguous()
    out = inputs.new_empty(rows, length, heads, width)
    final = inputs.new_empty(rows, heads, width, write.shape[-1], dtype=torch.float32)
    if not out.numel():
        return out, final
    weights = launch_decays(
        decay, start, end, initial=initial_state is not None, prefixed=prefixed, tiles=tiles
    )
    states = launch_states(
        inputs, write, weights.enters, weights.keeps, initial_state, final, tiles, backward=False
    )
    chunks = weights.total.shape[1]
    forward_pass.outputs_kernel[(chunks, rows * heads)](
        inputs, write, read, start, end, weights.total, weights.reads, states, out,
        *inputs.stride()[:3], *write.stride()[:3], *read.stride()[:3], heads, length, chunks,
        **_shape(inputs, write, tiles), DIRECTIONS=1 + prefixed,
    )  # fmt: skip
    return out, final


@forward.register_fake
def _(inputs, decay, write, read, start, end, initial_state, prefixed):
    rows, _, heads, width = inputs.shape
    final = inputs.new_empty(rows, heads, width, write.shape[-1], dtype=torch.float32)
    return inputs.new_empty(inputs.shape), final


@torch.library.custom_op("archstudy::ssd_backward", mutates_args=())
def backward(
    grad_out: Tensor,  # (B, T, H, P)
    grad_final: Tensor,  # (B, H, P, N) float32
    inputs: Tensor,  # (B, T, H, P)
    decay: Tensor,  # (B, T, H) float32
    write: Tensor,  # (B, T, H, N)
    read: Tensor,  # (B, T, H, N)
    start: Tensor,  # (B, T)
    end: Tensor,  # (B, T)
    initial_state: Tensor | None,  # (B, H, P, N) float32
    prefixed: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of inputs, decay, write, read and the initial state, whether there is one or not:
    without one, it is that of a state of zeros.
    """
    return launch_backward(
        grad_out, grad_final, inputs, decay, write, read, start, end, initial_state, prefixed,
        forward_tiles(inputs.dtype), backward_tiles(inputs.dtype),
    )  # fmt: skip


def launch_backward(
    grad_out, grad_final, inputs, decay, write, read, start, end, initial_state, prefixed: bool,
    walking: Tiles, tiles: Tiles,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """walking: the tiles of the walks over chunks; of the same chunks."""
    assert walking.chunk == tiles.chunk
    rows, length, heads, width = inputs.shape
    grad_out, inputs, write, read = (
        _rows_contiguous(each) for each in (grad_out, inputs, write, read)
    )
    start, end = start.contiguous(), end.contiguous()
    grad_inputs, grad_write, grad_read = (
        torch.empty_like(each, memory_format=torch.contiguous_format)
        for each in (inputs, write, read)
    )
    grad_initial = inputs.new_empty(rows, heads, width, write.shape[-1], dtype=torch.float32)
    if not inputs.numel():
        return grad_inputs, torch.zeros_like(decay), grad_write, grad_read, grad_initial
    weights = launch_decays(
        decay, start, end, initial=initial_state is not None, prefixed=prefixed, tiles=tiles
    )
    final = torch.empty_like(grad_initial)
    states = launch_states(
        inputs, write, weights.enters, weights.keeps, initial_state, final, walking,
        backward=False,
    )  # fmt: skip
    grad_states = launch_states(
        grad_out, read, weights.reads, weights.keeps, grad_final, grad_initial, walking,
        backward=True,
    )  # fmt: skip
    chunks = weights.total.shape[1]
    grad_decay = torch.empty_like(weights.total)
    backward_pass.gradients_kernel[(chunks, rows * heads)](
        inputs, write, read, grad_out, start, end, *weights, states, grad_states,
        grad_inputs, grad_decay, grad_write, grad_read,
        *inputs.stride()[:3], *write.stride()[:3], *read.stride()[:3], *grad_out.stride()[:3],
        heads, length, chunks, **_shape(inputs, write, tiles), DIRECTIONS=1 + prefixed,
    )  # fmt: skip
    grad_decay = grad_decay.view(rows, heads, -1)[..., :length].transpose(1, 2).contiguous()
    return grad_inputs, grad_decay, grad_write, grad_read, grad_initial


@backward.register_fake
def _(grad_out, grad_final, inputs, decay, write, read, start, end, initial_state, prefixed):
    return (
        inputs.new_empty(inputs.shape),
        decay.new_empty(decay.shape),
        write.new_empty(write.shape),
        read.new_empty(read.shape),
        grad_final.new_empty(grad_final.shape),
    )


def launch_decays(decay, start, end, *, initial: bool, prefixed: bool, tiles: Tiles) -> Weights:
    rows, length, heads = decay.shape
    chunks = triton.cdiv(length, tiles.chunk)
    total = decay.new_empty(rows * heads, chunks, tiles.chunk)
    enters, reads = (decay.new_empty(1 + prefixed, *total.shape) for _ in range(2))
    keeps = decay.new_empty(1 + prefixed, rows * heads, chunks)
    forward_pass.decays_kernel[(chunks, rows * heads)](
        decay, start, end, total, enters, reads, keeps, *decay.stride(), heads, length, chunks,
        CHUNK=tiles.chunk, INITIAL=initial, PREFIXED=prefixed, num_warps=4,
    )  # fmt: skip
    return Weights(total, enters, reads, keeps)


def launch_states(
    left, right, weights, keeps, given, passed, tiles: Tiles, *, backward: bool
) -> Tensor:
    """The states that the chunks are given, (D, B H, G, P, N) in the dtype of what is multiplied;
    `passed` is written.
    """
    rows, length, heads, width = left.shape
    shape = _shape(left, right, tiles)
    states = left.new_empty(*keeps.shape, width, right.shape[-1])
    blocks = triton.cdiv(width, shape["BLOCK_P"]) * triton.cdiv(right.shape[-1], shape["BLOCK_N"])
    forward_pass.states_kernel[(blocks, rows * heads, keeps.shape[0])](
        left, right, weights, keeps, states, passed if given is None else given.contiguous(),
        passed, *left.stride()[:3], *right.stride()[:3], heads, length, keeps.shape[2],
        **shape, GIVEN=given is not None, BACKWARD=backward,
    )  # fmt: skip
    return states


def _shape(inputs: Tensor, write: Tensor, tiles: Tiles) -> dict[str, int]:
    width, state = inputs.shape[-1], write.shape[-1]
    return {
        "WIDTH": width,
        "STATE": state,
        "CHUNK": tiles.chunk,
        "BLOCK_P": tiles.block(width),
        "BLOCK_N": tiles.block(state),
        "num_warps": tiles.warps,
        "num_stages": tiles.stages,
    }


def _remember(ctx, inputs, output) -> None:
    *tensors, prefixed = inputs
    ctx.save_for_backward(*tensors)
    ctx.prefixed = prefixed


def _differentiate(ctx, grad_out, grad_final):
    *gradients, grad_initial = backward(grad_out, grad_final, *ctx.saved_tensors, ctx.prefixed)
    initial = None if ctx.saved_tensors[-1] is None else grad_initial
    return *gradients, None, None, initial, None


forward.register_autograd(_differentiate, setup_context=_remember)


def _rows_contiguous(tensor: Tensor) -> Tensor:
    """The kernels take any strides but that of the last axis."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()
