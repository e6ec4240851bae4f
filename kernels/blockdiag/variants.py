"""The compilations of the block-diagonal product that are shipped, for `kernels.aot`."""

from __future__ import annotations

import torch

from kernels.aot import Variant
from kernels.blockdiag.op import tiles_for
from kernels.blockdiag.triton import product_kernel

STRIDES = ("block", "row", "inner", "block", "inner", "column", "block", "row", "column")


def _variant(name: str, dtype: torch.dtype) -> Variant:
    """Inputs as the forward pass has them: unit strides of the inner axis."""
    size = tiles_for(dtype)
    arguments = ["left", "right", "out"]
    sides = ("left",) * 3 + ("right",) * 3 + ("out",) * 3
    arguments += [f"{side}_{axis}" for side, axis in zip(sides, STRIDES, strict=True)]
    arguments += ["rows", "columns", "inner"]
    ones = {"left_inner": 1, "right_inner": 1, "out_column": 1}
    types = {each: "i32" for each in arguments if each not in ones}
    types |= dict.fromkeys(("left", "right", "out"), f"*{name}")
    return Variant(
        name=f"product_kernel {name}",
        kernel=product_kernel,
        types=types,
        constants=ones | {"BLOCK_M": size.rows, "BLOCK_N": size.columns, "BLOCK_K": size.depth},
        warps=size.warps,
        stages=size.stages,
        products=True,
    )


VARIANTS = (_variant("bf16", torch.bfloat16), _variant("fp16", torch.float16))
