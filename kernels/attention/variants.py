"""The compilations of attention's kernels that are shipped, for `kernels.aot`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import torch
import triton.language as tl

from kernels.aot import Variant
from kernels.attention import triton as forward_pass
from kernels.attention import triton_backward as backward_pass
from kernels.attention.op import backward_tiles, block, forward_tiles

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
FLOAT32 = ("log_sum", "delta", "partial", "bias")
INT32 = ("start", "end", "hulls", "ranges")
TENSORS = ("query", "key", "value", "out", "grad_out", "grad_query", "grad_key", "grad_value")


def types_of(kernel: Any, dtype: str) -> dict[str, str]:
    """Triton's type of each run-time argument, by its name."""
    found = {}
    for name, parameter in inspect.signature(kernel.fn).parameters.items():
        if parameter.annotation in (tl.constexpr, "tl.constexpr"):
            continue
        if name in TENSORS:
            found[name] = f"*{dtype}"
        elif name in FLOAT32:
            found[name] = "*fp32"
        elif name in INT32:
            found[name] = "*i32"
        else:
            found[name] = "fp32" if name == "scale" else "i32"
    return found


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
            types=types_of(kernel, "bf16"),
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
        (128, "bf16", False),
        (256, "bf16", False),
    ):
        yield from _passes(width, dtype, biased)


def _passes(width: int, dtype: str, biased: bool) -> Iterator[Variant]:
    kernels = [
        (forward_pass.forward_kernel, forward_tiles(width, DTYPES[dtype])),
        (backward_pass.query_gradient_kernel, backward_tiles(width, DTYPES[dtype])),
        (backward_pass.key_gradient_kernel, backward_tiles(width, DTYPES[dtype])),
    ]
    widths = {
        "WIDTH": width,
        "VALUE_WIDTH": width,
        "BLOCK_D": block(width),
        "BLOCK_E": block(width),
    }
    ending = f"{dtype}, width {width}{', biased' if biased else ''}"
    for kernel, tiles in kernels:
        yield Variant(
            name=f"{kernel.fn.__name__} {ending}",
            kernel=kernel,
            types=types_of(kernel, dtype),
            constants=widths | {"BLOCK_M": tiles.queries, "BLOCK_N": tiles.keys, "BIASED": biased},
            warps=tiles.warps,
            stages=tiles.stages,
            products=True,
        )
    if biased:
        kernel, tiles = backward_pass.bias_gradient_kernel, backward_tiles(width, DTYPES[dtype])
        yield Variant(
            name=f"{kernel.fn.__name__} {ending}",
            kernel=kernel,
            types=types_of(kernel, dtype),
            constants=widths | {"BLOCK": tiles.queries},
            warps=tiles.warps,
            stages=tiles.stages,
            products=True,
        )


VARIANTS = tuple(_variants())
