"""Attention in 16 bits on a CPU: torch's flash kernel forward, and a backward pass of its own.

torch 2.13's flash kernel for CPUs goes backward in 16 bits at half the speed of float32 (12.4 ms
against 6.5 for 16 rows, 4 heads of 32, 256 tokens on two cores with AMX). So here it goes backward
in float32. In a compiled region the equation of Dao et al. 2022 is written out by tiles of queries
instead: its five products are 16 bits wide and what lies between them is one fused loop (5.8 ms).

Axes: B rows, H heads, T queries, S keys, D head width.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

TILE = 128
"""Queries of a tile in a compiled region; a causal one leaves out the keys after its last query."""

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def _added(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to the scores: 0 where a key is seen and -inf elsewhere."""
    return torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, -torch.inf)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        causal: bool,
        scale: float,
    ) -> Tensor:
        mask = None if mask is None else _added(mask, query.dtype)
        out, log_sum = _flash(query, key, value, 0.0, causal, attn_mask=mask, scale=scale)
        ctx.save_for_backward(query, key, value, mask, out, log_sum)
        ctx.causal, ctx.scale = causal, scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, mask, out, log_sum = ctx.saved_tensors
        if torch.compiler.is_compiling():
            found = _by_tiles(
                grads[0], query, key, value, mask, out, log_sum, ctx.causal, ctx.scale
            )
        else:
            wide = [each.float() for each in (grads[0], query, key, value, out)]
            found = _flash_backward(
                *wide, log_sum, 0.0, ctx.causal,
                attn_mask=None if mask is None else mask.float(), scale=ctx.scale,
            )  # fmt: skip
        return *(each.to(query.dtype) for each in found), None, None, None


def _by_tiles(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    out: Tensor,
    log_sum: Tensor,
    causal: bool,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query (in its own type), key and value (in float32)."""
    queries, keys = query.shape[2], key.shape[2]
    grad_key, grad_value = (torch.zeros_like(each, dtype=torch.float32) for each in (key, value))
    by_query = []
    for low in range(0, queries, TILE):
        high = min(low + TILE, queries)
        seen = min(high, keys) if causal else keys
        asking, some_grad = query[:, :, low:high], grad[:, :, low:high]
        asked, answers = key[:, :, :seen], value[:, :, :seen]
        scores = torch.matmul(asking, asked.transpose(-1, -2)).float() * scale
        if causal:
            place = torch.arange(low, high, device=query.device)[:, None]
            later = torch.arange(seen, device=query.device) > place
            scores = scores.masked_fill(later, -torch.inf)
        if mask is not None:
            scores = scores + mask[:, :, low:high]
        weights = (scores - log_sum[:, :, low:high, None]).exp()
        delta = (some_grad.float() * out[:, :, low:high].float()).sum(-1, keepdim=True)
        by_weight = torch.matmul(some_grad, answers.transpose(-1, -2)).float()
        by_score = ((by_weight - delta) * weights * scale).to(query.dtype)
        narrow = weights.to(query.dtype)
        by_query.append(torch.matmul(by_score, asked))
        grad_key[:, :, :seen] += torch.matmul(by_score.transpose(-1, -2), asking)
        grad_value[:, :, :seen] += torch.matmul(narrow.transpose(-1, -2), some_grad)
    return torch.cat(by_query, dim=2), grad_key, grad_value


def attention_half(
    query: Float[Tensor, "B H T D"],
    key: Float[Tensor, "B H S D"],
    value: Float[Tensor, "B H S D"],
    mask: Bool[Tensor, "B 1 T S"] | None,
    *,
    causal: bool,
    scale: float,
) -> Float[Tensor, "B H T D"]:
    """softmax(scale * query key) value over the keys that the mask shows, for float16 and bfloat16
    on a CPU. mask: true where a key is seen, which is at least one of each query.
    """
    # the stubs do not know what a Function gives
    return _Attention.apply(query, key, value, mask, causal, scale)  # type: ignore[return-value]
