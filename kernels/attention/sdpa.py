"""Attention over intervals on torch's own operations, for every device torch runs on.

The route depends on the interval *values* alone and is found once per `Visibility`, never per
layer: plain causal and full intervals without a bias need no mask, everything else takes one mask
that is built once per batch. So a prefix decoder whose prefixes are empty runs the very code, and
gives the very bits, of a causal one.

With a bias the scores are written out instead: torch's fused kernels give no gradient to a mask,
and its own fallback for that case is 1.4 times slower than these three operations (CPU, 128
tokens).
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from kernels.attention.reference import RelativeBias, check
from kernels.visibility import Visibility

_masks: WeakKeyDictionary[Visibility, Tensor] = WeakKeyDictionary()
_biased: WeakKeyDictionary[RelativeBias, WeakKeyDictionary[Visibility, Tensor]] = (
    WeakKeyDictionary()
)


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
        # Nothing to see at all; the sum keeps the graph whole, so that gradients are zeros.
        return query.new_zeros(*query.shape[:3], value.shape[3]) + 0.0 * query.sum()
    if bias is not None:
        out = _written_out(query, key, value, visibility, bias, scale)
    else:
        match visibility.pattern:
            case "causal":
                mask, is_causal = None, True
            case "full":
                mask, is_causal = None, False
            case "intervals":
                mask, is_causal = _mask(visibility)[:, None], False
        out = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=is_causal, scale=scale
        )
    if visibility.has_empty:
        out = out.masked_fill((visibility.start == visibility.end)[:, None, :, None], 0.0)
    return out


def _written_out(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    visibility: Visibility,
    bias: RelativeBias,
    scale: float,
) -> Tensor:
    if scale != 1.0:
        query = query * scale
    scores = torch.matmul(query, key.transpose(-1, -2)) + _biased_mask(bias, visibility)
    return torch.matmul(scores.softmax(-1), value)


def _mask(visibility: Visibility) -> Bool[Tensor, "B T S"]:
    """True where a query sees a key. A query without keys is let see all of them, since a softmax
    over nothing is not a number; its output, and so its gradient, is zeroed afterwards.
    """
    mask = _masks.get(visibility)
    if mask is None:
        mask = visibility.dense()
        if visibility.has_empty:
            mask = mask | (visibility.start == visibility.end)[..., None]
        _masks[visibility] = mask
    return mask


def _biased_mask(bias: RelativeBias, visibility: Visibility) -> Tensor:
    """Bias where a query sees a key and -inf elsewhere, (B or 1, H, T, S); shared by the layers
    that share a bias.
    """
    known = _biased.setdefault(bias, WeakKeyDictionary())
    added = known.get(visibility)
    if added is None:
        if visibility.pattern == "full":
            added = bias.dense[None]
        else:
            # Causal intervals are alike in all rows, so one row's mask serves them.
            rows = 1 if visibility.pattern == "causal" else visibility.start.shape[0]
            added = bias.dense.masked_fill(~_mask(visibility)[:rows, None], -torch.inf)
        known[visibility] = added
    return added
