"""The equation of attention over intervals. Slow, exact, any float dtype.

With z_ij = scale * <q_i, k_j> + bias_{j - i} and V_i = [start_i, end_i):

    out_i = sum_{j in V_i} exp(z_ij) v_j / sum_{j in V_i} exp(z_ij),   out_i = 0 where V_i is empty.

This is the ground truth of the tests, in float64. It owns no speed.

Axes: B rows, H heads, T queries, S keys, D head width.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from kernels.attention.arguments import RelativeBias, check
from kernels.visibility import Visibility


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
