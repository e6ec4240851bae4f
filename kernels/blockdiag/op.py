"""The block-diagonal product's Triton kernel as a torch operator, with its gradients."""

# A kernel's launch takes its options beside its arguments, which no type checker knows.
# pyright: basic, reportCallIssue=false, reportArgumentType=false
from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from kernels.blockdiag.triton import product_kernel


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """Sizes of one launch: rows, columns and depth of a tile, warps, loads in flight."""

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int


def tiles_for(dtype: torch.dtype) -> Tiles:
    if dtype == torch.float32:
        return Tiles(rows=32, columns=32, depth=32, warps=4, stages=2)
    return Tiles(rows=128, columns=64, depth=32, warps=4, stages=3)


def launch(left: Tensor, right: Tensor, out: Tensor, size: Tiles) -> Tensor:
    """out[b] = left[b] @ right[b] for (K, M, I) and (K, I, N), whatever their strides."""
    blocks, rows, inner = left.shape
    columns = right.shape[2]
    grid = (triton.cdiv(rows, size.rows), triton.cdiv(columns, size.columns), blocks)
    if out.numel():
        product_kernel[grid](
            left, right, out, *left.stride(), *right.stride(), *out.stride(), rows, columns, inner,
            BLOCK_M=size.rows, BLOCK_N=size.columns, BLOCK_K=size.depth,
            num_warps=size.warps, num_stages=size.stages,
        )  # fmt: skip
    return out


def _by_block(flat: Tensor, blocks: int) -> Tensor:
    """(M, K I) as (K, M, I), without a copy."""
    return flat.unflatten(1, (blocks, -1)).transpose(0, 1)


@torch.library.custom_op("archstudy::blockdiag", mutates_args=())
def product(inputs: Tensor, weight: Tensor) -> Tensor:
    """(M, K P), (K, Q, P) -> (M, K Q)."""
    out = inputs.new_empty(inputs.shape[0], weight.shape[0] * weight.shape[1])
    launch(
        _by_block(inputs, weight.shape[0]),
        weight.transpose(1, 2),
        _by_block(out, weight.shape[0]),
        tiles_for(inputs.dtype),
    )
    return out


@product.register_fake
def _(inputs, weight):
    return inputs.new_empty(inputs.shape[0], weight.shape[0] * weight.shape[1])


@torch.library.custom_op("archstudy::blockdiag_weight", mutates_args=())
def weight_gradient(grad: Tensor, inputs: Tensor, blocks: int) -> Tensor:
    """(M, K Q), (M, K P) -> (K, Q, P): each block's grad^T inputs."""
    out = inputs.new_empty(blocks, grad.shape[1] // blocks, inputs.shape[1] // blocks)
    return launch(
        _by_block(grad, blocks).transpose(1, 2),
        _by_block(inputs, blocks),
        out,
        tiles_for(inputs.dtype),
    )


@weight_gradient.register_fake
def _(grad, inputs, blocks):
    return inputs.new_empty(blocks, grad.shape[1] // blocks, inputs.shape[1] // blocks)


def _remember(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx, grad):
    inputs, weight = ctx.saved_tensors
    return (
        product(grad.contiguous(), weight.transpose(1, 2)),
        weight_gradient(grad.contiguous(), inputs, weight.shape[0]),
    )


product.register_autograd(_differentiate, setup_context=_remember)
