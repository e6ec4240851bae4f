"""A learnable causal Monarch matrix over positions: change of polynomial basis at O(N^1.5).

Fu et al. 2023 (section 4) read an order-2 Monarch matrix as the evaluation of basis polynomials and
ask of q_j a lowest degree j and a bounded highest one: then products of polynomials in that basis
are causal. With positions j = j1 b + j0 and

    q_j(Z) = l_{j1}(Z^b) r_{j1, j0}(Z),   l of lowest degree j1, r of degrees j0 to b - 1,

every monomial of q_j has a degree a = a1 b + a0 with a1 >= j1 and a0 >= j0, so a >= j. The matrix
of coefficients [a, j] is a Monarch matrix whose blocks are all lower triangular, hence lower
triangular itself: output i depends on inputs up to i only. Degrees stay below N, so that a
convolution of twice the length does not wrap around.

Axes: B rows, T positions, D channels, N = b * b places.
"""

from __future__ import annotations

from math import isqrt

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def causal_monarch(
    inputs: Float[Tensor, "*B T D"], first: Float[Tensor, "b b b"], second: Float[Tensor, "b b b"]
) -> Float[Tensor, "*B T D"]:
    """Multiply positions with the lower triangular Monarch matrix of two factors, of whose blocks
    only the lower triangles are read. first[j1, a0, j0] and second[a0, a1, j1]. T is at most b * b.
    """
    size = first.shape[0]
    length = inputs.shape[-2]
    for name, factor in (("first", first), ("second", second)):
        if tuple(factor.shape) != (size, size, size):
            raise ValueError(f"{name} is {tuple(factor.shape)}; legal: {(size, size, size)}")
    if length > size * size:
        raise ValueError(
            f"{length} positions for blocks of {size}; legal: up to {size * size}, or blocks of "
            f"{isqrt(length - 1) + 1}"
        )
    padded = functional.pad(inputs, (0, 0, 0, size * size - length))
    digits = padded.unflatten(-2, (size, size))  # (..., j1, j0, D)
    low = torch.einsum("kaj,...kjd->...kad", first.tril(), digits)  # (..., j1, a0, D)
    high = torch.einsum("aik,...kad->...iad", second.tril(), low)  # (..., a1, a0, D)
    return high.flatten(-3, -2)[..., :length, :]


def causal_monarch_matrix(
    first: Float[Tensor, "b b b"], second: Float[Tensor, "b b b"]
) -> Float[Tensor, "N N"]:
    """The matrix itself: entry [(a1, a0), (j1, j0)] = second[a0, a1, j1] first[j1, a0, j0]."""
    return torch.einsum("aik,kaj->iakj", second.tril(), first.tril()).flatten(2).flatten(0, 1)
