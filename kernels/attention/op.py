"""Attention's Triton kernels as torch operators: shapes, launches, autograd.

What they compute is in `triton.py` and `triton_backward.py`; what may be asked of them is checked
by `kernels.attention.attention`.
"""
# A kernel's launch takes its options beside its arguments, which no type checker knows.
# pyright: basic, reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import triton
from jaxtyping import Float32
from torch import Tensor
from torch.nn import functional

from kernels.attention import triton as forward_pass
from kernels.attention import triton_backward as backward_pass


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """Sizes of one launch: queries and keys of a tile, warps of a program, loads in flight."""

    queries: int
    keys: int
    warps: int
    stages: int


Kernel = Literal["forward", "query", "key", "bias"]
"""The forward pass, and the gradients of queries, of keys and values, and of the bias."""
AMD_WARPS = 4
"""Warps of a program at most on AMD: one on each of a compute unit's four schedulers, since two
have half the registers each and spill.
"""


def block(width: int) -> int:
    """Columns of a tile that hold `width`: a power of two, and what a matrix product needs."""
    return max(16, triton.next_power_of_2(width))


def tiles_of(width: int, dtype: torch.dtype, *, biased: bool) -> dict[Kernel, Tiles]:
    """Tiles by kernel, for the larger of both widths: the largest that do not spill on sm_80 and
    sm_90, as `make aot` counts. Those of the bias gradient are square, since it walks along
    diagonals.
    """
    if dtype == torch.float32:
        return dict.fromkeys(get_args(Kernel), Tiles(queries=32, keys=32, warps=4, stages=1))
    bias = Tiles(queries=32, keys=32, warps=8, stages=1)
    match block(width):
        case 16 | 32 | 64:
            return {
                "forward": Tiles(queries=128, keys=64, warps=8 if biased else 4, stages=3),
                "query": Tiles(queries=64, keys=64, warps=4, stages=2),
                "key": Tiles(queries=64, keys=64, warps=8, stages=2),
                "bias": bias,
            }
        case 128:
            return {
                "forward": Tiles(queries=128, keys=64, warps=8, stages=2),
                "query": Tiles(queries=64, keys=64, warps=8, stages=1),
                "key": Tiles(queries=32, keys=64, warps=8, stages=1),
                "bias": bias,
            }
        case _:
            narrow = Tiles(queries=32, keys=32, warps=8, stages=1)
            return {
                "forward": Tiles(queries=64, keys=32, warps=8, stages=1),
                "query": narrow,
                "key": narrow,
                "bias": Tiles(queries=16, keys=16, warps=8, stages=1),
            }


def _tiles_for(query: Tensor, value: Tensor, bias: Tensor | None) -> dict[Kernel, Tiles]:
    width = max(query.shape[-1], value.shape[-1])
    return tiles_of(width, query.dtype, biased=bias is not None)


def _options(tiles: Tiles) -> dict[str, int]:
    warps = min(tiles.warps, AMD_WARPS) if torch.version.hip else tiles.warps
    return {"num_warps": warps, "num_stages": tiles.stages}


@torch.library.custom_op("archstudy::attention", mutates_args=())
def forward(
    query: Tensor,  # (B, H, T, D)
    key: Tensor,  # (B, H, S, D)
    value: Tensor,  # (B, H, S, E)
    start: Tensor,  # (B, T)
    end: Tensor,  # (B, T)
    bias: Tensor | None,  # (H, N)
    scale: float,
) -> tuple[Tensor, Tensor]:
    """(outputs (B, H, T, E), log2 of the softmax's denominators (B, H, T) in float32)."""
    return launch_forward(
        query, key, value, start, end, bias, scale, _tiles_for(query, value, bias)
    )  # fmt: skip


def launch_forward(query, key, value, start, end, bias, scale, tiles: dict[Kernel, Tiles]):
    tile = tiles["forward"]
    rows, heads, queries, width = query.shape
    keys, value_width = value.shape[2:]
    query, key, value = (_rows_contiguous(each) for each in (query, key, value))
    out = query.new_empty(rows, heads, queries, value_width)
    log_sum = query.new_empty(rows, heads, queries, dtype=torch.float32)
    if out.numel():
        forward_pass.forward_kernel[(triton.cdiv(queries, tile.queries), rows * heads)](
            query, key, value, start.contiguous(), end.contiguous(),
            query if bias is None else bias.contiguous(), out, log_sum,
            *query.stride()[:3], *key.stride()[:3], *value.stride()[:3], *out.stride()[:3],
            scale, heads, queries, keys, WIDTH=width, VALUE_WIDTH=value_width,
            BLOCK_M=tile.queries, BLOCK_N=tile.keys, BLOCK_D=block(width),
            BLOCK_E=block(value_width), BIASED=bias is not None, **_options(tile),
        )  # fmt: skip
    return out, log_sum


@forward.register_fake
def _(query, key, value, start, end, bias, scale):
    return (
        query.new_empty(*query.shape[:3], value.shape[-1]),
        query.new_empty(query.shape[:3], dtype=torch.float32),
    )


@torch.library.custom_op("archstudy::attention_backward", mutates_args=())
def backward(
    grad_out: Tensor,  # (B, H, T, E)
    query: Tensor,  # (B, H, T, D)
    key: Tensor,  # (B, H, S, D)
    value: Tensor,  # (B, H, S, E)
    start: Tensor,  # (B, T)
    end: Tensor,  # (B, T)
    bias: Tensor | None,  # (H, N)
    out: Tensor,  # (B, H, T, E)
    log_sum: Tensor,  # (B, H, T)
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of query, key, value and bias; the last is empty where there is no bias."""
    return launch_backward(
        grad_out, query, key, value, start, end, bias, out, log_sum, scale,
        _tiles_for(query, value, bias),
    )  # fmt: skip


def launch_backward(
    grad_out, query, key, value, start, end, bias, out, log_sum, scale, tiles: dict[Kernel, Tiles]
):
    rows, heads, queries, width = query.shape
    keys, value_width = value.shape[2:]
    grad_out, query, key, value = (_rows_contiguous(each) for each in (grad_out, query, key, value))
    start, end = start.contiguous(), end.contiguous()
    grad_query, grad_key, grad_value = (
        torch.empty_like(each, memory_format=torch.contiguous_format)
        for each in (query, key, value)
    )
    grad_bias = query.new_zeros(0) if bias is None else torch.zeros_like(bias)
    if not (out.numel() and key.numel()):
        return grad_query.zero_(), grad_key.zero_(), grad_value.zero_(), grad_bias
    delta = torch.empty_like(log_sum)
    known_bias = query if bias is None else bias.contiguous()
    strides = (
        *query.stride()[:3], *key.stride()[:3], *value.stride()[:3], *grad_out.stride()[:3],
    )  # fmt: skip
    widths = {
        "WIDTH": width,
        "VALUE_WIDTH": value_width,
        "BLOCK_D": block(width),
        "BLOCK_E": block(value_width),
    }

    def hulls_of(tile: Tiles) -> Tensor:
        count = triton.cdiv(queries, tile.queries)
        found = start.new_empty(rows, 4, count)
        backward_pass.hull_kernel[(count, rows)](
            start, end, found, queries, keys, count, BLOCK_M=tile.queries
        )
        return found

    tile = tiles["query"]
    query_tiles = triton.cdiv(queries, tile.queries)
    backward_pass.delta_kernel[(query_tiles, rows * heads)](
        out, grad_out, delta, *out.stride()[:3], *grad_out.stride()[:3], heads, queries,
        VALUE_WIDTH=value_width, BLOCK_M=tile.queries, BLOCK_E=block(value_width),
    )  # fmt: skip
    backward_pass.query_gradient_kernel[(query_tiles, rows * heads)](
        query, key, value, start, end, known_bias, grad_out, log_sum, delta, grad_query,
        *strides, scale, heads, queries, keys, BLOCK_M=tile.queries, BLOCK_N=tile.keys,
        BIASED=bias is not None, **widths, **_options(tile),
    )  # fmt: skip
    tile = tiles["key"]
    hulls, key_tiles = hulls_of(tile), triton.cdiv(keys, tile.keys)
    ranges = start.new_empty(rows, 4, key_tiles)
    backward_pass.range_kernel[(key_tiles, rows)](
        hulls, ranges, hulls.shape[2], key_tiles, keys, BLOCK_N=tile.keys, CHUNK=128
    )
    backward_pass.key_gradient_kernel[(key_tiles, rows * heads)](
        query, key, value, start, end, known_bias, grad_out, log_sum, delta, ranges,
        grad_key, grad_value, *strides, scale, heads, queries, keys,
        BLOCK_M=tile.queries, BLOCK_N=tile.keys, BIASED=bias is not None, **widths,
        **_options(tile),
    )  # fmt: skip
    if bias is not None:
        tile = tiles["bias"]
        hulls, key_tiles = hulls_of(tile), triton.cdiv(keys, tile.keys)
        diagonals = hulls.shape[2] + key_tiles - 1
        partial = query.new_empty(heads, diagonals, tile.queries, tile.keys, dtype=torch.float32)
        backward_pass.bias_gradient_kernel[(diagonals, heads)](
            query, key, value, start, end, known_bias, grad_out, log_sum, delta, hulls, partial,
            *strides, scale, rows, heads, queries, keys, hulls.shape[2], key_tiles,
            BLOCK=tile.queries, **widths, **_options(tile),
        )  # fmt: skip
        grad_bias = by_distance(partial, queries=queries, keys=keys).to(bias.dtype)
    return grad_query, grad_key, grad_value, grad_bias


@backward.register_fake
def _(grad_out, query, key, value, start, end, bias, out, log_sum, scale):
    return (
        query.new_empty(query.shape),
        key.new_empty(key.shape),
        value.new_empty(value.shape),
        query.new_empty(0) if bias is None else bias.new_empty(bias.shape),
    )


def by_distance(
    partial: Float32[Tensor, "H G M M"], *, queries: int, keys: int
) -> Float32[Tensor, "H N"]:
    """Sums along the diagonals of tiles: entry (row, column) of tile diagonal g is the distance
    (g - query tiles + 1) M + column - row. Returns one sum a distance, queries + keys - 1 of them.
    """
    size = partial.shape[-1]
    # Rows from the last to the first, each one place further right: a diagonal becomes a column.
    skewed = functional.pad(partial.flip(2), (0, size)).flatten(2)[..., :-size]
    sums = skewed.unflatten(2, (size, 2 * size - 1)).sum(2)  # (H, G, 2 M - 1), from 1 - M on
    sums = functional.pad(sums, (0, 1))
    whole = functional.pad(sums[..., :size].flatten(1), (0, size))
    whole = whole + functional.pad(sums[..., size:].flatten(1), (size, 0))
    first = triton.cdiv(queries, size) * size - queries
    return whole[:, first : first + queries + keys - 1].clone()


def _remember(ctx, inputs, output) -> None:
    query, key, value, start, end, bias, scale = inputs
    out, log_sum = output
    ctx.mark_non_differentiable(log_sum)
    ctx.save_for_backward(query, key, value, start, end, bias, out, log_sum)
    ctx.scale = scale


def _differentiate(ctx, grad_out, grad_log_sum):
    query, key, value, start, end, bias, out, log_sum = ctx.saved_tensors
    grad_query, grad_key, grad_value, grad_bias = backward(
        grad_out, query, key, value, start, end, bias, out, log_sum, ctx.scale
    )
    return (
        grad_query, grad_key, grad_value, None, None, None if bias is None else grad_bias, None
    )  # fmt: skip


forward.register_autograd(_differentiate, setup_context=_remember)


def _rows_contiguous(tensor: Tensor) -> Tensor:
    """The kernels take any strides but that of the last axis."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()
