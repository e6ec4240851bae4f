"""Attention over intervals: `attention`, the bias that it takes, and `prepare` for a batch.

`arguments.py` says what is legal, `reference.py` states the equation; `sdpa.py` computes it on
torch's operations, `triton.py` and `triton_backward.py` as kernels, which `op.py` launches;
`cases.py` holds the shapes that tests and benchmarks share, `variants.py` what is compiled ahead.
See README.md for what is promised.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from kernels.attention.arguments import RelativeBias, check, check_triton
from kernels.attention.reference import attention_reference
from kernels.attention.sdpa import attention_sdpa, prepare_sdpa
from kernels.backend import backend, cast
from kernels.visibility import Visibility

__all__ = ["RelativeBias", "attention", "attention_reference", "prepare"]


def attention(
    query: Float[Tensor, "B H T D"],
    key: Float[Tensor, "B H S D"],
    value: Float[Tensor, "B H S E"],
    visibility: Visibility,
    *,
    bias: RelativeBias | None,
    scale: float,
) -> Float[Tensor, "B H T E"]:
    """softmax over the visible keys of scale * <query, key> + bias, times value.

    A query with an empty interval gives zeros and passes zero gradients. Keys outside a query's
    interval never reach its output, bit for bit. Equal intervals give equal bits, however the
    `Visibility` was made. `kernels.backend` says which implementation answers. Raises ValueError on
    shapes, dtypes and devices that do not belong together.
    """
    check(query, key, value, visibility, bias)
    if backend(query.device, query.dtype) == "torch":
        return attention_sdpa(query, key, value, visibility, bias=bias, scale=scale)
    query, key, value = cast(query, key, value)
    check_triton(query, key, value)
    # Imported where it is used: Triton exists on Linux only, and reads its settings on import.
    from kernels.attention import op

    values = None if bias is None else bias.values
    return op.forward(query, key, value, visibility.start, visibility.end, values, scale)[0]


def prepare(visibility: Visibility, bias: RelativeBias | None) -> None:
    """Do now, and once for all layers of a batch, what depends on intervals and bias alone.

    Never needed for the result. It keeps the look at interval values out of compiled regions.
    """
    if backend(visibility.start.device, torch.float32) == "torch":
        prepare_sdpa(visibility, bias)
