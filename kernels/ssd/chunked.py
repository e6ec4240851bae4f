"""The state-space dual in chunks, on torch's operations: linear in length, matrix products inside.

A chunk's outputs have three parts: pairs inside the chunk; what the state before it holds, for
queries whose document began earlier (Dao and Gu 2024, section 6); and the rest of a prefix that
reaches beyond the chunk, the same for all of the prefix's queries, since no decay lies between. The
last is a second, undecayed state that is passed from right to left.

Axes: B rows, G chunks, Q positions of a chunk, H heads, P head width, N state width.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from kernels.ssd.reference import effective_decay
from kernels.visibility import Visibility

CHUNK = 64
"""Positions of a chunk: about the state's width, where pairs and states cost alike."""


def ssd_chunked(
    inputs: Float[Tensor, "B T H P"],
    decay: Float[Tensor, "B T H"],
    write: Float[Tensor, "B T H N"],
    read: Float[Tensor, "B T H N"],
    visibility: Visibility,
    *,
    initial_state: Float[Tensor, "B H P N"] | None,
    chunk: int = CHUNK,
) -> tuple[Float[Tensor, "B T H P"], Float[Tensor, "B H P N"]]:
    """See `kernels.ssd.ssd`. chunk: positions of a chunk; changes results by rounding only."""
    length = inputs.shape[1]
    a = effective_decay(decay, visibility)
    # What sees nothing may lie anywhere, even beyond a chunk's end.
    start, end = visibility.start, visibility.end.masked_fill(visibility.end == visibility.start, 0)
    short = -length % chunk
    if short:
        # Positions that see nothing, are seen by nothing and decay nothing.
        inputs, a, write, read = (
            functional.pad(each, (0, 0) * (each.ndim - 2) + (0, short))
            for each in (inputs, a, write, read)
        )
        start, end = (functional.pad(each, (0, short)) for each in (start, end))
    x, a, b, c, start, end = (
        each.unflatten(1, (-1, chunk)) for each in (inputs, a, write, read, start, end)
    )
    place = torch.arange(x.shape[1] * chunk, device=x.device).unflatten(0, (-1, chunk))  # (G, Q)
    total = _sums(a, start, end, place)
    outputs = _inside(x, total, b, c, start, end, place)
    before, state = _from_the_left(x, total, b, start, end, place, initial_state, length)
    came = (end > start) & (start < place[:, :1])  # (B, G, Q): the document began before the chunk
    if initial_state is not None:
        came = came | ((end > start) & (start == 0) & (place[:, :1] == 0))
    reach = total.exp() * came[..., None]
    outputs = outputs + torch.einsum("bgqhn,bghpn->bgqhp", c, before) * reach[..., None]
    if visibility.documents.any_prefix:
        after = _from_the_right(x, b, end, place)
        goes = (end > place[:, -1:] + 1).to(x.dtype)[..., None, None]
        outputs = outputs + torch.einsum("bgqhn,bghpn->bgqhp", c, after) * goes
    return outputs.flatten(1, 2)[:, :length], state


def _sums(a, start, end, place) -> Float[Tensor, "B G Q H"]:
    """a summed from the chunk's or the document's first position to each, whichever is later.

    A product with a triangle of ones, not `cumsum`: a sum that runs on through another document
    rounds with that document's numbers, and its difference would let them through.
    """
    query, key = place[:, :, None], place[:, None, :]  # (G, Q, 1), (G, 1, Q)
    inside = (key <= query) & (key >= start[..., None]) & (end > start)[..., None]  # (B, G, Q, Q)
    return torch.einsum("bgik,bgkh->bgih", inside.to(a.dtype), a)


def _inside(x, total, b, c, start, end, place) -> Float[Tensor, "B G Q H P"]:
    keys = place[:, None, :]  # (G, 1, Q)
    visible = (keys >= start[..., None]) & (keys < end[..., None])  # (B, G, Q, Q)
    by_head = total.transpose(2, 3)
    exponent = by_head[..., :, None] - by_head[..., None, :]  # (B, G, H, Q, Q)
    weight = exponent.masked_fill(~visible[:, :, None], -torch.inf).exp()
    scores = torch.einsum("bgihn,bgjhn->bghij", c, b) * weight
    return torch.einsum("bghij,bgjhp->bgihp", scores, x)


def _from_the_left(
    x, total, b, start, end, place, initial_state, length
) -> tuple[Float[Tensor, "B G H P N"], Float[Tensor, "B H P N"]]:
    """The decayed state before each chunk, and the one after the last position."""
    at_end = torch.arange(place.shape[0], device=x.device) == place.shape[0] - 1
    # A document ends where its last position is; in the last, padded chunk that is `length - 1`.
    final = torch.where(at_end, (length - 1) % place.shape[1], place.shape[1] - 1)  # (G,)
    index = final[None, :, None].expand(start.shape[0], -1, 1)
    start_last, end_last = start.gather(2, index), end.gather(2, index)  # (B, G, 1)
    ends = (end_last > start_last) & (place >= start_last) & (end > start)  # (B, G, Q)
    last = total.gather(2, index[..., None].expand(*index.shape, total.shape[-1]))  # (B, G, 1, H)
    # -inf before exp: what another document's sums differ by may be large.
    weight = (last - total).masked_fill(~ends[..., None], -torch.inf).exp()
    own = torch.einsum("bgqhp,bgqhn->bghpn", x * weight[..., None], b)
    spans = (end_last > start_last) & (start_last < place[:, :1])
    if initial_state is not None:
        spans = spans | ((end_last > start_last) & (start_last == 0) & (place[:, :1] == 0))
    keep = (last[:, :, 0].exp() * spans)[..., None, None]  # (B, G, H, 1, 1)
    state = torch.zeros_like(own[:, 0]) if initial_state is None else initial_state
    return _passed(own, keep, state)


def _from_the_right(x, b, end, place) -> Float[Tensor, "B G H P N"]:
    """The undecayed sum of what lies after each chunk of the prefix that reaches beyond it."""
    reaches = end[:, :, -1]  # (B, G): up to where the chunk's last query sees
    reaches = functional.pad(reaches, (1, 0))[:, :-1]  # of the chunk before
    inside = (place < reaches[..., None]).to(x.dtype)[..., None, None]  # (B, G, Q, 1, 1)
    own = torch.einsum("bgqhp,bgqhn->bghpn", x * inside, b)
    keep = (reaches > place[:, -1] + 1).to(x.dtype)[..., None, None, None]
    after, _ = _passed(own.flip(1), keep.flip(1), torch.zeros_like(own[:, 0]))
    return after.flip(1)


def _passed(own, keep, state) -> tuple[Float[Tensor, "B G H P N"], Float[Tensor, "B H P N"]]:
    """The state that each chunk is given, and the one after the last."""
    states = []
    # `unbind`, not an index: the gradient of own[:, g] fills all of own, for every g.
    for added, kept in zip(own.unbind(1), keep.unbind(1), strict=True):
        states.append(state)
        state = added + kept * state
    return torch.stack(states, 1), state
