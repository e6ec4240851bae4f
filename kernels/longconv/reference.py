"""The equation of the long convolution over intervals, with its matrix written out. Slow, exact,
any float dtype.

With one filter for keys up to the query, f, and one for later keys, r, for every channel c:

    y_i = sum_{j in [start_i, min(end_i, i + 1))} f[i - j] v_j
        + sum_{j in [i + 1, end_i)} r[j - i - 1] v_j

The diagonal belongs to f alone, as in M2's bidirectional filter (Fu et al. 2023). Causal intervals
give its causal convolution; a prefix adds r inside itself.

Axes: B rows, T positions, D channels, L taps.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from kernels.longconv.arguments import check
from kernels.visibility import Visibility


def longconv_reference(
    inputs: Float[Tensor, "B T D"],
    after: Float[Tensor, "D L"],
    before: Float[Tensor, "D L"] | None,
    visibility: Visibility,
) -> Float[Tensor, "B T D"]:
    check(inputs, after, before, visibility)
    index = torch.arange(inputs.shape[1], device=inputs.device)
    distance = index[:, None] - index[None, :]  # i - j
    matrix = _taps(after, distance)
    if before is not None:
        matrix = matrix + _taps(before, -distance - 1)
    seen = matrix * visibility.dense()[:, None].to(matrix)  # (B, D, T, T)
    return torch.einsum("bdij,bjd->bid", seen, inputs)


def _taps(taps: Float[Tensor, "D L"], place: Tensor) -> Float[Tensor, "D T T"]:
    """taps[place], and 0 where there is no such tap."""
    inside = (place >= 0) & (place < taps.shape[1])
    return taps[:, place.clamp(0, taps.shape[1] - 1)] * inside
