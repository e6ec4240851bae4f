"""The compilations of attention's kernels that are shipped, for `kernels.aot`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from kernels.aot import Variant, types_of
from kernels.attention import triton as forward_pass
from kernels.attention import triton_backward as backward_pass
from kernels.attention.op import AMD_WARPS, Kernel, block, tiles_of

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
FLOAT32 = ("log_sum", "delta", "partial", "bias")
INT32 = ("start", "end", "hulls", "ranges")
TENSORS = ("query", "key", "value", "out", "grad_out", "grad_query", "grad_key", "grad_value")


def _types(kernel: Any, dtype: str) -> dict[str, str]:
    known: dict[str, str] = {}
    known |= dict.fromkeys(TENSORS, f"*{dtype}") | dict.fromkeys(FLOAT32, "*fp32")
    known |= dict.fromkeys(INT32, "*i32") | {"scale": "fp32"}
    return types_of(kernel, known)


def _variants() -> Iterator[Variant]:
    small = {
        backward_pass.delta_kernel: {"VALUE_WIDTH": 64, "BLOCK_M": 64, "BLOCK_E": 64},
        backward_pass.hull_kernel: {"BLOCK_M": 64},
        backward_pass.range_kernel: {"BLOCK_N": 64, "CHUNK": 128},
    }
    for kernel, constants in small.items():
        yield Variant(
            name=kernel.fn.__name__,
            kernel=kernel,
            types=_types(kernel, "bf16"),
            constants=constants,
            warps=4,
            stages=1,
            products=False,
        )
    for width, dtype, biased in (
        (64, "bf16", False),
        (64, "bf16", True),
        (64, "fp16", False),
        (80, "bf16", False),
        (96, "bf16", False),
        (128, "bf16", False),
        (128, "bf16", True),
        (256, "bf16", True),
    ):
        yield from _passes(width, dtype, biased)


def _passes(width: int, dtype: str, biased: bool) -> Iterator[Variant]:
    widths = {
        "WIDTH": width,
        "VALUE_WIDTH": width,
        "BLOCK_D": block(width),
        "BLOCK_E": block(width),
    }
    kernels: dict[Kernel, Any] = {
        "forward": forward_pass.forward_kernel,
        "query": backward_pass.query_gradient_kernel,
        "key": backward_pass.key_gradient_kernel,
    }
    if biased:
        kernels["bias"] = backward_pass.bias_gradient_kernel
    sizes = tiles_of(width, DTYPES[dtype], biased=biased)
    for name, kernel in kernels.items():
        tile = sizes[name]
        if name == "bias":
            blocks = {"BLOCK": tile.queries}
        else:
            blocks = {"BLOCK_M": tile.queries, "BLOCK_N": tile.keys, "BIASED": biased}
        yield Variant(
            name=f"{kernel.fn.__name__} {dtype}, width {width}{', biased' if biased else ''}",
            kernel=kernel,
            types=_types(kernel, dtype),
            constants=widths | blocks,
            warps=tile.warps,
            warps_amd=min(tile.warps, AMD_WARPS),
            stages=tile.stages,
            products=True,
        )


VARIANTS = tuple(_variants())
