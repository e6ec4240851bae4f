"""Attention over intervals on torch's own operations, for every device torch runs on.

The route depends on the interval *values* alone and is found once per `Visibility`, never per
layer: plain causal and full intervals without a bias need no mask, rows of which little is seen are
computed in tiles on a CPU (`cpu.py`), everything else takes one mask that is built once per batch.
So a prefix decoder whose prefixes are empty runs the very code, and gives the very bits, of a
causal one.

With a bias the scores are written out instead: torch's fused kernels give no gradient to a mask,
and its own fallback for that case is 1.4 times slower than these three operations (CPU, 128
tokens).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from kernels.attention.arguments import RelativeBias, check
from kernels.attention.cpu import attention_cpu
from kernels.attention.cpu_half import attention_half
from kernels.attention.cpu_tiles import Plan, plan_of
from kernels.backend import cast
from kernels.visibility import Visibility

_PREPARED = "_masked_for_sdpa"


def prepare_sdpa(visibility: Visibility, bias: RelativeBias | None) -> None:
    """Find the route and build what the layers share; see `kernels.attention.prepare`."""
    pattern, _ = visibility.pattern, visibility.has_empty
    if bias is not None:
        vars(bias)[_PREPARED] = (visibility, _masked_bias(bias, visibility))
    elif pattern == "intervals" and _tiled(visibility) is None:
        _ = visibility.softmax_mask


def attention_sdpa(
    query: Float[Tensor, "B H T D"],
    key: Float[Tensor, "B H S D"],
    value: Float[Tensor, "B H S E"],
    visibility: Visibility,
    *,
    bias: RelativeBias | None,
    scale: float,
) -> Float[Tensor, "B H T E"]:
    """Attention over intervals; see `kernels.attention.attention`."""
    check(query, key, value, visibility, bias)
    if key.shape[2] == 0:
        # Nothing to see at all: a product over no keys is zero and keeps the graph whole.
        return torch.matmul(torch.matmul(query, key.transpose(-1, -2)), value)
    plan = _tiled(visibility) if bias is None and query.shape[-1] == value.shape[-1] else None
    if plan is not None:
        query, key, value = cast(query, key, value)
        return attention_cpu(query, key, value, plan, scale=scale)
    if bias is not None:
        query = query if scale == 1.0 else query * scale
        scores = torch.matmul(query, key.transpose(-1, -2)) + _prepared(bias, visibility)
        out = torch.matmul(scores.softmax(-1), value)
    else:
        mask = visibility.softmax_mask[:, None] if visibility.pattern == "intervals" else None
        causal = visibility.pattern == "causal"
        query, key, value = cast(query, key, value)
        if _half_on_cpu(query, key, value):
            out = attention_half(query, key, value, mask, causal=causal, scale=scale)
        else:
            out = functional.scaled_dot_product_attention(
                query, key, value, attn_mask=mask, is_causal=causal, scale=scale
            )
    if visibility.has_empty:
        out = out.masked_fill((visibility.start == visibility.end)[:, None, :, None], 0.0)
    return out


def _half_on_cpu(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Whether a backward pass will come, in 16 bits and on a CPU."""
    narrow = query.device.type == "cpu" and query.dtype in (torch.bfloat16, torch.float16)
    return (
        narrow
        and any(each.requires_grad for each in (query, key, value))
        and (query.shape[-1] == value.shape[-1] and query.numel() > 0)
    )


def _tiled(visibility: Visibility) -> Plan | None:
    return plan_of(visibility) if visibility.pattern == "intervals" else None


def _prepared(bias: RelativeBias, visibility: Visibility) -> Float[Tensor, "R H T S"]:
    known = getattr(bias, _PREPARED, None)
    if known is not None and known[0] is visibility:
        return known[1]
    return _masked_bias(bias, visibility)


def _masked_bias(bias: RelativeBias, visibility: Visibility) -> Float[Tensor, "R H T S"]:
    """Bias where a query sees a key and -inf elsewhere; one row where all rows are alike."""
    if visibility.pattern == "full":
        return bias.dense()[None]
    rows = 1 if visibility.pattern == "causal" else visibility.start.shape[0]
    return bias.dense().masked_fill(~visibility.softmax_mask[:rows, None], -torch.inf)
