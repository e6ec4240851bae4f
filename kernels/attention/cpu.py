"""Attention over intervals on a CPU, without a mask of all pairs: the work is what is seen.

`cpu_tiles.py` says which queries meet which keys, and in which calls. Each call gathers its tiles
and runs torch's CPU flash kernel, without a mask for causal documents; the softmaxes of a tile's
inner and edge keys are merged by their denominators (Dao et al. 2022). Given the whole softmax's
output and denominator, a call's backward gives that call's share.

Axes: B rows, H heads, T queries, S keys, D head width.
"""

# No postponed annotations: torch reads the operators' types, and a wrapper (a type checker's) would
# have it look for their names in the wrong module.
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from kernels.attention.cpu_tiles import Plan

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def _by_place(tensor: Tensor) -> Tensor:
    """(B, H, T, D) as (B T, H D)."""
    return tensor.transpose(1, 2).flatten(0, 1).flatten(1)


def _by_head(flat: Tensor, shape: torch.Size) -> Tensor:
    """(B T, H D) as (B, H, T, D)."""
    rows, heads, length, width = shape
    return flat.view(rows, length, heads, width).transpose(1, 2)


def _calls(
    groups: Tensor, queries: Tensor, keys: Tensor, seen: Tensor, dtype: torch.dtype
) -> Iterator[tuple[Tensor, Tensor, Tensor | None, tuple[int, int, int], bool]]:
    """(places of queries, places of keys, mask to add or None for causal documents, (tiles,
    queries, keys), second) of each.
    """
    sizes = groups.tolist()
    by_query = queries.split([tiles * height for tiles, height, *_ in sizes])
    by_key = keys.split([tiles * width for tiles, _, width, *_ in sizes])
    masks = seen.split([tiles * masked * width for tiles, _, width, masked, _ in sizes])
    for size, asking, asked, sight in zip(sizes, by_query, by_key, masks, strict=True):
        tiles, height, width, masked, second = size
        mask = None
        if masked:
            mask = torch.zeros(tiles, 1, masked, width, dtype=dtype)
            mask.masked_fill_(~sight.view(mask.shape), -torch.inf)
        yield asking, asked, mask, (tiles, height, width), bool(second)


def _tiled(flat: Tensor, places: Tensor, tiles: int, heads: int) -> Tensor:
    """(B T, H D) at (G M) places as (G, H, M, D)."""
    taken = flat.index_select(0, places)
    return taken.view(tiles, -1, heads, flat.shape[1] // heads).transpose(1, 2)


def _flat(tiled: Tensor) -> Tensor:
    """(G, H, M, D) as (G M, H D)."""
    return tiled.transpose(1, 2).flatten(0, 1).flatten(1)


@torch.library.custom_op("archstudy::attention_cpu", mutates_args=())
def forward(
    query: Tensor,  # (B, H, T, D)
    key: Tensor,  # (B, H, S, D)
    value: Tensor,  # (B, H, S, D)
    groups: Tensor,
    queries: Tensor,
    keys: Tensor,
    seen: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """(outputs, log of the softmax's denominators (B T, H)); 0 and -inf where nothing is seen."""
    heads, width = query.shape[1], query.shape[3]
    q, k, v = (_by_place(each) for each in (query, key, value))
    # One place more: what fills up a tile of queries goes there.
    out = q.new_zeros(q.shape[0] + 1, heads, width)
    wide = torch.promote_types(query.dtype, torch.float32)
    log_sum = q.new_full((q.shape[0] + 1, heads), -torch.inf, dtype=wide)
    for asking, asked, mask, (tiles, *_), second in _calls(
        groups, queries, keys, seen, query.dtype
    ):
        real = asking.clamp(max=q.shape[0] - 1)
        found, found_sum = _flash(
            _tiled(q, real, tiles, heads), _tiled(k, asked, tiles, heads),
            _tiled(v, asked, tiles, heads), 0.0, mask is None, attn_mask=mask, scale=scale,
        )  # fmt: skip
        found = found.transpose(1, 2).reshape(-1, heads, width)
        found_sum = found_sum.transpose(1, 2).reshape(-1, heads)
        if second:
            before = log_sum.index_select(0, asking)
            together = torch.logaddexp(before, found_sum)
            kept, new = ((each - together).exp()[..., None] for each in (before, found_sum))
            found = (out.index_select(0, asking) * kept + found * new).to(out.dtype)
            found_sum = together
        out[asking], log_sum[asking] = found, found_sum
    return _by_head(out[:-1], query.shape), log_sum[:-1]


@forward.register_fake
def _(query, key, value, groups, queries, keys, seen, scale):
    rows, heads, length, width = query.shape
    wide = torch.promote_types(query.dtype, torch.float32)
    return (
        query.new_empty(rows, length, heads, width).transpose(1, 2),
        query.new_empty(rows * length, heads, dtype=wide),
    )


@torch.library.custom_op("archstudy::attention_cpu_backward", mutates_args=())
def backward(
    grad_out: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    groups: Tensor,
    queries: Tensor,
    keys: Tensor,
    seen: Tensor,
    out: Tensor,
    log_sum: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    heads = query.shape[1]
    # In 16 bits the flash kernel goes backward at half the speed (cpu_half.py).
    wide = torch.promote_types(query.dtype, torch.float32)
    q, k, v, o, g = (_by_place(each).to(wide) for each in (query, key, value, out, grad_out))
    grad_query, grad_key, grad_value = (torch.zeros_like(each) for each in (q, k, v))
    for asking, asked, mask, (tiles, *_), _ in _calls(groups, queries, keys, seen, wide):
        # What fills up a tile of queries repeats its own last one, with a denominator that makes
        # its weights 0: another document's could be no number, and neither is 0 times that.
        filling = asking == q.shape[0]
        real = asking.masked_fill(filling, -1).view(tiles, -1).cummax(1).values.flatten()
        sums = log_sum.index_select(0, real).masked_fill_(filling[:, None], torch.inf)
        found = _flash_backward(
            _tiled(g, real, tiles, heads), _tiled(q, real, tiles, heads),
            _tiled(k, asked, tiles, heads), _tiled(v, asked, tiles, heads),
            _tiled(o, real, tiles, heads), sums.view(tiles, -1, heads).transpose(1, 2),
            0.0, mask is None, attn_mask=mask, scale=scale,
        )  # fmt: skip
        for total, places, part in zip(
            (grad_query, grad_key, grad_value), (real, asked, asked), found, strict=True
        ):
            total.index_add_(0, places, _flat(part))
    grads = zip((grad_query, grad_key, grad_value), (query, key, value), strict=True)
    first, second, third = (_by_head(total.to(each.dtype), each.shape) for total, each in grads)
    return first, second, third


@backward.register_fake
def _(grad_out, query, key, value, groups, queries, keys, seen, out, log_sum, scale):
    return tuple(
        each.new_empty(each.transpose(1, 2).shape).transpose(1, 2) for each in (query, key, value)
    )


def _remember(ctx, inputs, output) -> None:
    *saved, scale = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(*saved, *output)
    ctx.scale = scale


def _differentiate(ctx, grad_out, grad_log_sum):
    grads = backward(grad_out, *ctx.saved_tensors, ctx.scale)
    return *grads, None, None, None, None, None


forward.register_autograd(_differentiate, setup_context=_remember)


def attention_cpu(
    query: Float[Tensor, "B H T D"],
    key: Float[Tensor, "B H S D"],
    value: Float[Tensor, "B H S D"],
    plan: Plan,
    *,
    scale: float,
) -> Float[Tensor, "B H T D"]:
    """Attention over the intervals that the plan is of, without a bias; see
    `kernels.attention.attention`.
    """
    return forward(query, key, value, plan.groups, plan.queries, plan.keys, plan.seen, scale)[0]
