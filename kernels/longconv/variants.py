"""The compilations of the long convolution's kernels that are shipped, for `kernels.aot`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from kernels.aot import Variant, types_of
from kernels.longconv import triton as passes
from kernels.longconv import triton_correlation as correlation_passes
from kernels.longconv.op import SIZES, Tiles, factors, product_precision

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
FLOAT32 = ("scratch", "grad_scratch", "value_scratch", "matrix", "twiddle", "spectrum")
DATA = ("values", "grad")


def _variant(
    kernel: Any, dtype: str, out: str, size: int, tiles: Tiles, ending: str, **constants: Any
) -> Variant:
    """out: the type of what it writes to packed rows, or adds up. size: of its matrices."""
    known = dict.fromkeys(DATA, f"*{dtype}") | dict.fromkeys(FLOAT32, "*fp32")
    return Variant(
        name=f"{kernel.fn.__name__} {dtype}, {ending}",
        kernel=kernel,
        types=types_of(kernel, known | {"out": f"*{out}", "table": "*i64"}),
        constants=constants
        | {
            "BLOCK_M": min(tiles.rows, size),
            "BLOCK_K": min(tiles.depth, size),
            "BLOCK_D": tiles.channels,
            "PRECISION": product_precision(DTYPES[dtype]),
        },
        warps=tiles.warps,
        stages=tiles.stages,
        products=True,
    )


def _variants() -> Iterator[Variant]:
    """Of order 1 the shortest and the longest transform, of order 2 the shortest and the one with
    the longest second factor; gradients where segments overlap (they add, in float32).
    """
    first, held = SIZES.first, SIZES.held
    for dtype, size in (("bf16", 16), ("bf16", SIZES.whole), ("fp16", SIZES.whole)):
        ending = f"{size} places"
        for out, adjoint in ((dtype, False), ("fp32", True)):
            side = f"{ending}{', adjoint' if adjoint else ''}"
            yield _variant(
                passes.whole_kernel, dtype, out, size, held, side, ADJOINT=adjoint, ADD=adjoint,
                SIZE=size,
            )  # fmt: skip
        yield _variant(
            correlation_passes.whole_correlation_kernel, dtype, "fp32", size, held, ending,
            SIZE=size,
        )  # fmt: skip
    for dtype, size in (("bf16", 512), ("bf16", 32768), ("fp16", 32768)):
        outer, inner = factors(size)
        shape = {"OUTER": outer, "INNER": inner}
        ending = f"{size} places"
        yield _variant(passes.outer_kernel, dtype, dtype, outer, first, ending, KEPT=False, **shape)
        for out, adjoint in ((dtype, False), ("fp32", True)):
            side = f"{ending}{', adjoint' if adjoint else ''}"
            yield _variant(
                passes.outer_inverse_kernel, dtype, out, outer, first, side, KEPT=not adjoint,
                ADD=adjoint, **shape,
            )  # fmt: skip
        # what lies between the two has the scratch's type alone
        if dtype == "bf16":
            yield _variant(
                passes.inner_kernel, dtype, dtype, inner, held, ending, ADJOINT=False, **shape
            )
            yield _variant(
                correlation_passes.inner_correlation_kernel, dtype, "fp32", inner, held, ending,
                **shape,
            )  # fmt: skip


VARIANTS = tuple(_variants())
