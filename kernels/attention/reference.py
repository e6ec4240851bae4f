"""The equation of attention over intervals, and the relative bias that it takes. Slow, exact, any
float dtype.

With z_ij = scale * <q_i, k_j> + bias_{j - i} and V_i = [start_i, end_i):

    out_i = sum_{j in V_i} exp(z_ij) v_j / sum_{j in V_i} exp(z_ij),   out_i = 0 where V_i is empty.

This is the ground truth of the tests, in float64. It owns no speed.

Axes: B rows, H heads, T queries, S keys, D head width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from kernels.visibility import Visibility


@dataclass(frozen=True, eq=False)
class RelativeBias:
    """A bias that depends on the head and on key index minus query index alone (Shaw et al. 2018;
    Raffel et al. 2020).

    values: column c holds the bias at key index - query index = c - (queries - 1), so there are
    queries + keys - 1 columns. Buckets, and the shift of a cached prefix, are the caller's:
    `study.positions` resolves them before it builds this.
    """

    values: Float[Tensor, "H N"]
    queries: int

    @property
    def keys(self) -> int:
        return self.values.shape[1] - self.queries + 1

    def dense(self) -> Float[Tensor, "H T S"]:
        """The bias as a matrix. Row i reads the columns from queries - 1 - i on: a window that
        slides backwards.
        """
        return self.values.unfold(1, self.keys, 1).flip(1)


def check(
    query: Tensor, key: Tensor, value: Tensor, visibility: Visibility, bias: RelativeBias | None
) -> None:
    """Refuse shapes that do not belong together; values are the visibility's own business."""
    rows, heads, queries, width = query.shape
    keys = key.shape[2]
    if key.shape != (rows, heads, keys, width) or value.shape[:3] != key.shape[:3]:
        raise ValueError(
            f"query {tuple(query.shape)}, key {tuple(key.shape)} and value {tuple(value.shape)}: "
            "legal: (B, H, T, D), (B, H, S, D) and (B, H, S, E) with equal B, H and D"
        )
    if tuple(visibility.start.shape) != (rows, queries) or visibility.num_keys != keys:
        raise ValueError(
            f"visibility of {tuple(visibility.start.shape)} queries over {visibility.num_keys} "
            f"keys; legal for these tensors: {(rows, queries)} over {keys}"
        )
    if bias is not None and (bias.queries, bias.keys, bias.values.shape[0]) != (
        queries,
        keys,
        heads,
    ):
        raise ValueError(
            f"bias of {bias.values.shape[0]} heads, {bias.queries} queries and {bias.keys} keys; "
            f"legal for these tensors: {heads}, {queries} and {keys}"
        )


def attention_reference(
    query: Float[Tensor, "B H T D"],
    key: Float[Tensor, "B H S D"],
    value: Float[Tensor, "B H S E"],
    visibility: Visibility,
    *,
    bias: RelativeBias | None,
    scale: float,
) -> Float[Tensor, "B H T E"]:
    """The module's equation, written down term by term."""
    check(query, key, value, visibility, bias)
    scores = scale * torch.einsum("bhtd,bhsd->bhts", query, key)
    if bias is not None:
        scores = scores + bias.dense()
    seen = visibility.dense()[:, None]  # (B, 1, T, S)
    # The largest *visible* score is taken off, so that exp can neither overflow nor be 0/0.
    peak = scores.masked_fill(~seen, -torch.inf).amax(-1, keepdim=True) if key.shape[2] else None
    if peak is not None:
        peak = peak.masked_fill(peak == -torch.inf, 0.0).detach()
        scores = scores - peak
    weights = torch.where(seen, scores.masked_fill(~seen, 0.0).exp(), 0.0)
    total = weights.sum(-1, keepdim=True)
    weights = weights / torch.where(total > 0, total, 1.0)
    return torch.einsum("bhts,bhse->bhte", weights, value)
