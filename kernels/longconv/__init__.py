"""The long convolution over intervals: `longconv`; and the causal Monarch matrix: `causal_monarch`.

`arguments.py` says what is legal, `reference.py` states the equation, `spectral.py` computes it by
Fourier transforms on torch's operations, `causal.py` has the learnable causal Monarch matrix. See
README.md for what is promised.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from kernels.longconv.arguments import check
from kernels.longconv.causal import causal_monarch, causal_monarch_matrix
from kernels.longconv.reference import longconv_reference
from kernels.longconv.spectral import longconv_spectral
from kernels.visibility import Visibility

__all__ = ["causal_monarch", "causal_monarch_matrix", "longconv", "longconv_reference"]


def longconv(
    inputs: Float[Tensor, "B T D"],
    after: Float[Tensor, "D L"],
    before: Float[Tensor, "D L"] | None,
    visibility: Visibility,
) -> Float[Tensor, "B T D"]:
    """Each channel's convolution over its document; see `reference.py`.

    after: the filter for keys up to the query. before: for later keys of a prefix; None where there
    are none. Both at least as long as the longest document. Queries that see nothing give zeros.
    Raises ValueError on shapes that do not belong together, and on intervals that are not causal
    documents with prefixes.

    Transforms mix all of a document's places, so what a query does not see reaches it by rounding:
    README.md has the bound. Nothing passes from one document to another.
    """
    check(inputs, after, before, visibility)
    return longconv_spectral(inputs, after, before, visibility)
