"""Projections without biases: dense, or block-diagonal over `kernels.blockdiag`.

A block-diagonal matrix mixes channels inside a block only. Where two of them follow each other with
`shuffled` between, they are an order-2 Monarch matrix (Dao et al. 2022), which mixes all channels
as soon as a block is as wide as there are blocks. Axes: K blocks, P inputs and Q outputs of one.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kernels.blockdiag import blockdiag


class BlockDiagonal(nn.Module):
    """The product with `blocks` blocks on a diagonal; their sizes have to divide."""

    def __init__(self, inputs: int, outputs: int, *, blocks: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(blocks, outputs // blocks, inputs // blocks))

    def forward(self, states: Float[Tensor, "*B KP"]) -> Float[Tensor, "*B KQ"]:
        return blockdiag(states, self.weight)


def projection(inputs: int, outputs: int, *, blocks: int) -> nn.Module:
    """A dense matrix where `blocks` is 0."""
    if blocks == 0:
        return nn.Linear(inputs, outputs, bias=False)
    return BlockDiagonal(inputs, outputs, blocks=blocks)


def shuffled(states: Float[Tensor, "*B D"], *, blocks: int) -> Float[Tensor, "*B D"]:
    """Channels dealt out so that each block's go to all blocks: a transpose of (blocks, channels of
    a block).
    """
    return states.unflatten(-1, (blocks, -1)).transpose(-1, -2).flatten(-2)
