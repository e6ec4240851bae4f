"""Attention over intervals: `attention`, the bias that it takes, and `prepare` for a batch.

`reference.py` states the equation, `sdpa.py` computes it on torch's operations, `cases.py` holds
the shapes that tests and benchmarks share. See README.md for what is promised.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from kernels.attention.reference import RelativeBias, attention_reference
from kernels.attention.sdpa import attention_sdpa, prepare_sdpa
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
    `Visibility` was made. Raises ValueError on shapes that do not belong together.
    """
    return attention_sdpa(query, key, value, visibility, bias=bias, scale=scale)


def prepare(visibility: Visibility, bias: RelativeBias | None) -> None:
    """Do now, and once for all layers of a batch, what depends on intervals and bias alone.

    Never needed for the result. It keeps the look at interval values out of compiled regions.
    """
    prepare_sdpa(visibility, bias)
