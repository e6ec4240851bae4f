"""The long convolution over intervals: `longconv`, and `prepare` for a batch; the causal Monarch
matrix: `causal_monarch`.

`arguments.py` says what is legal, `reference.py` states the equation. `segments.py` regroups
documents by length, `transform.py` has the transform and the filters' part in it, `operator.py`
makes an operator of both: `spectral.py` on torch's own transforms, `op.py` on the Triton kernels
of `triton.py` and `triton_correlation.py`. `cases.py` holds the shapes that tests and benchmarks
share, `variants.py` what is compiled ahead; `causal.py` is the learnable causal Monarch matrix.
See README.md for what is promised.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from kernels.backend import backend, cast
from kernels.longconv import spectral
from kernels.longconv.arguments import check, check_triton
from kernels.longconv.causal import causal_monarch, causal_monarch_matrix
from kernels.longconv.reference import longconv_reference
from kernels.longconv.segments import segments
from kernels.visibility import Visibility

__all__ = ["causal_monarch", "causal_monarch_matrix", "longconv", "longconv_reference", "prepare"]


def longconv(
    inputs: Float[Tensor, "B T D"],
    after: Float[Tensor, "D L"],
    before: Float[Tensor, "D L"] | None,
    visibility: Visibility,
) -> Float[Tensor, "B T D"]:
    """Each channel's convolution over its document; see `reference.py`.

    after: the filter for keys up to the query. before: for later keys of a prefix; None where there
    are none. Both at least as long as the longest document, of one dtype, which need not be the
    inputs'. Queries that see nothing give zeros. Under autocast the inputs are cast, the filters
    are not. `kernels.backend` says which implementation answers. Raises ValueError on shapes,
    dtypes and devices that do not belong together, and on intervals that are not causal documents
    with prefixes.

    Transforms mix all places of a document, so what a query does not see there reaches it by
    rounding: README.md has the bound. Nothing passes from one document to another, and nothing from
    behind a prefix into it.
    """
    check(inputs, after, before, visibility)
    known = segments(visibility)
    (inputs,) = cast(inputs)
    if backend(inputs.device, inputs.dtype) == "torch":
        return spectral.forward(inputs, after, before, known.table, known.groups)
    check_triton(inputs, after)
    # Imported where it is used: Triton exists on Linux only, and reads its settings on import.
    from kernels.longconv import op

    return op.forward(inputs, after, before, known.table, known.groups)


def prepare(visibility: Visibility) -> None:
    """Regroup the documents now, and once for all layers of a batch.

    Never needed for the result. It keeps the look at interval values out of compiled regions.
    Raises ValueError on intervals that are not causal documents with prefixes.
    """
    segments(visibility)
