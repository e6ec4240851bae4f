"""Block-diagonal and order-2 Monarch products with every matrix written out. Slow, exact, any float
dtype.

A weight (K, Q, P) stands for the matrix with K blocks of Q x P on its diagonal. An order-2 Monarch
product (Dao et al. 2022, definition 3.1; rectangular in its appendix) is

    y = Pi2 D2 Pi1 D1 x,

D1 and D2 block-diagonal with factors (K, Q, P) and (L, S, R), K Q = L R. Pi1 takes place r L + l to
place l R + r, and Pi2 takes place l S + s to place s L + l.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from kernels.blockdiag.arguments import check_monarch, check_product


def dense(weight: Float[Tensor, "K Q P"]) -> Float[Tensor, "KQ KP"]:
    """The matrix that a weight stands for."""
    return torch.block_diag(*weight)


def permutation(rows: int, columns: int) -> Float[Tensor, "N N"]:
    """The matrix that takes place row * columns + column to column * rows + row: a transpose."""
    places = torch.arange(rows * columns).view(rows, columns).t().flatten()
    return torch.eye(rows * columns, dtype=torch.float64)[places]


def blockdiag_reference(
    inputs: Float[Tensor, "*B KP"], weight: Float[Tensor, "K Q P"]
) -> Float[Tensor, "*B KQ"]:
    check_product(inputs, weight, name="weight")
    return inputs @ dense(weight).t()


def monarch_matrix(
    first: Float[Tensor, "K Q P"], second: Float[Tensor, "L S R"]
) -> Float[Tensor, "LS KP"]:
    """The order-2 Monarch matrix itself."""
    check_monarch(first, second)
    blocks, outputs, read = second.shape
    meet = permutation(read, blocks).to(first)
    spread = permutation(blocks, outputs).to(first)
    return spread @ dense(second) @ meet @ dense(first)


def monarch_reference(
    inputs: Float[Tensor, "*B KP"], first: Float[Tensor, "K Q P"], second: Float[Tensor, "L S R"]
) -> Float[Tensor, "*B LS"]:
    check_product(inputs, first, name="first")
    return inputs @ monarch_matrix(first, second).t()


def gated_mlp_reference(
    inputs: Float[Tensor, "*B KP"],
    gate: Float[Tensor, "K F P"],
    up: Float[Tensor, "K F P"],
    down: Float[Tensor, "K P F"],
) -> Float[Tensor, "*B KP"]:
    hidden = functional.gelu(blockdiag_reference(inputs, gate), approximate="tanh")
    return blockdiag_reference(hidden * blockdiag_reference(inputs, up), down)
