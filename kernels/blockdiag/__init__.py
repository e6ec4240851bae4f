"""Block-diagonal products, order-2 Monarch products, and M2's block-diagonal gated MLP.

`arguments.py` says what is legal, `reference.py` states the equations, `triton.py` has the kernel,
which `op.py` launches; elsewhere torch's batched product does the same.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from kernels.backend import backend, cast
from kernels.blockdiag.arguments import check_monarch, check_product, check_triton
from kernels.blockdiag.reference import (
    blockdiag_reference,
    gated_mlp_reference,
    monarch_matrix,
    monarch_reference,
)

__all__ = [
    "blockdiag",
    "blockdiag_reference",
    "gated_mlp",
    "gated_mlp_reference",
    "monarch",
    "monarch_matrix",
    "monarch_reference",
]


def blockdiag(
    inputs: Float[Tensor, "*B KP"], weight: Float[Tensor, "K Q P"]
) -> Float[Tensor, "*B KQ"]:
    """The product with K blocks of Q x P on a diagonal. Raises ValueError on shapes that do not
    belong together.
    """
    check_product(inputs, weight, name="weight")
    if backend(inputs.device, inputs.dtype) == "torch":
        parts = inputs.unflatten(-1, (weight.shape[0], -1))
        return torch.einsum("...kp,kqp->...kq", parts, weight).flatten(-2)
    inputs, weight = cast(inputs, weight)
    check_triton(inputs, weight)
    # Imported where it is used: Triton exists on Linux only, and reads its settings on import.
    from kernels.blockdiag import op

    flat = inputs.reshape(-1, inputs.shape[-1])
    return op.product(flat, weight).view(*inputs.shape[:-1], weight.shape[0] * weight.shape[1])


def monarch(
    inputs: Float[Tensor, "*B KP"], first: Float[Tensor, "K Q P"], second: Float[Tensor, "L S R"]
) -> Float[Tensor, "*B LS"]:
    """The order-2 Monarch product, square or rectangular; see `reference.py`. Its permutations are
    transposes of a matrix of places.
    """
    check_product(inputs, first, name="first")
    check_monarch(first, second)
    between = blockdiag(inputs, first)
    read, blocks = second.shape[2], second.shape[0]
    met = between.unflatten(-1, (read, blocks)).transpose(-1, -2).flatten(-2)
    out = blockdiag(met, second)
    return out.unflatten(-1, (blocks, -1)).transpose(-1, -2).flatten(-2)


def gated_mlp(
    inputs: Float[Tensor, "*B KP"],
    gate: Float[Tensor, "K F P"],
    up: Float[Tensor, "K F P"],
    down: Float[Tensor, "K P F"],
) -> Float[Tensor, "*B KP"]:
    """down(gelu(gate x) * up x) with block-diagonal matrices (Fu et al. 2023), gelu in its tanh
    form.
    """
    hidden = functional.gelu(blockdiag(inputs, gate), approximate="tanh") * blockdiag(inputs, up)
    return blockdiag(hidden, down)
