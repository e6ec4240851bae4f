"""Attention's problems, and torch's own ways to compute them: SDPA with a dense mask, its causal
flash path where that applies, FlexAttention.

Axes: B rows, H heads, T positions, D head width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

from bench.contest import Problem, Side, Work
from kernels import full_size
from kernels.attention import attention
from kernels.visibility import Visibility


def problem(
    pattern: full_size.Pattern, *, rows: int, length: int, dtype: torch.dtype, device: torch.device
) -> Problem:
    heads, width = full_size.HEADS, full_size.D_HEAD
    generator = torch.Generator(device).manual_seed(length)
    shape = (rows, heads, length, width)
    leaves = tuple(
        torch.randn(shape, generator=generator, device=device).to(dtype).requires_grad_()
        for _ in range(3)
    )
    known = full_size.visibility(pattern, rows=rows, length=length)
    seen, scale = known.to(device), width**-0.5
    # Two products of 2 D FLOPs for each visible pair; backward five.
    flops = 4.0 * width * heads * known.visible_pairs()
    tensor = leaves[0].numel() * leaves[0].element_size()

    def ours(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return attention(query, key, value, seen, bias=None, scale=scale)

    return Problem(
        op="attention",
        pattern=pattern,
        length=length,
        size=f"B {rows}, H {heads}, D {width}",
        dtype=dtype,
        work={
            "forward": Work(flops=flops, moved=4 * tensor),
            # forward, and then q, k, v, out, grad in; three gradients out
            "forward and backward": Work(flops=3.5 * flops, moved=12 * tensor),
        },
        ours=Side(name="ours", leaves=leaves, run=ours),
        peers=(
            _dense(leaves, seen, scale),
            _causal_flash(leaves, pattern, scale),
            *_flex(leaves, seen, scale),
        ),
    )


def _dense(leaves: tuple[Tensor, ...], seen: Visibility, scale: float) -> Side:
    mask = seen.dense()[:, None]

    def run(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)

    return Side(name="SDPA, dense mask", leaves=leaves, run=run)


def _causal_flash(leaves: tuple[Tensor, ...], pattern: str, scale: float) -> Side:
    name = "SDPA, causal flash"
    if pattern != "causal":
        return Side(name=name, absent="no such form")
    if leaves[0].device.type == "cuda" and leaves[0].dtype == torch.float32:
        return Side(name=name, absent="no float32")

    def run(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            return scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale)

    return Side(name=name, leaves=leaves, run=run)


def _flex(leaves: tuple[Tensor, ...], seen: Visibility, scale: float) -> tuple[Side, ...]:
    """With a block mask that is there, with the mask's making counted, and the making alone: a
    batch of packed rows needs a new mask, which its layers share.
    """
    rows, length = seen.start.shape
    device = leaves[0].device

    def sees(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key >= seen.start[row, query]) & (key < seen.end[row, query])

    # Compiled, as its documentation asks for; it has no compiled backward on a CPU.
    compiled = device.type == "cuda"
    attend = torch.compile(flex_attention, dynamic=False) if compiled else flex_attention
    make = torch.compile(create_block_mask, dynamic=False) if compiled else create_block_mask

    def mask():
        return make(sees, rows, None, length, length, device=device)

    # Made when it is first used, so that a failure of FlexAttention's is its row's.
    made = []

    def run(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if not made:
            made.append(mask())
        return attend(query, key, value, block_mask=made[0], scale=scale)

    def run_all(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return attend(query, key, value, block_mask=mask(), scale=scale)

    name = "FlexAttention"
    return (
        Side(name=f"{name}, mask counted", leaves=leaves, run=run_all),
        Side(name=f"{name}, mask there", leaves=leaves, run=run),
        Side(name=f"{name}'s mask", run=mask, part=True),
    )
