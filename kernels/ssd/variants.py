"""The compilations of the state-space dual's kernels that are shipped, for `kernels.aot`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from kernels.aot import Variant, types_of
from kernels.ssd import triton as forward_pass
from kernels.ssd import triton_backward as backward_pass
from kernels.ssd.op import Tiles, backward_tiles, forward_tiles

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
FLOAT32 = (
    "decay", "total", "enters", "reads", "keeps", "weights", "given", "passed", "grad_decay"
)  # fmt: skip
INT32 = ("start", "end")
TENSORS = (
    "inputs", "write", "read", "out", "states", "left", "right", "grad_out", "grad_states",
    "grad_inputs", "grad_write", "grad_read",
)  # fmt: skip


def _types(kernel: Any, dtype: str) -> dict[str, str]:
    known: dict[str, str] = {}
    known |= dict.fromkeys(TENSORS, f"*{dtype}") | dict.fromkeys(FLOAT32, "*fp32")
    known |= dict.fromkeys(INT32, "*i32")
    return types_of(kernel, known)


def _variants() -> Iterator[Variant]:
    yield Variant(
        name="ssd decays",
        kernel=forward_pass.decays_kernel,
        types=_types(forward_pass.decays_kernel, "bf16"),
        constants={
            "CHUNK": forward_tiles(torch.bfloat16).chunk,
            "INITIAL": True,
            "PREFIXED": True,
        },
        warps=4,
        stages=1,
        products=False,
    )
    for width, state, dtype, prefixed in (
        (64, 64, "bf16", False),
        (64, 64, "bf16", True),
        (64, 64, "fp16", False),
        (64, 128, "bf16", False),
        (64, 128, "bf16", True),
        (80, 96, "bf16", False),
        (128, 64, "bf16", False),
        (128, 128, "bf16", False),
        (128, 128, "bf16", True),
        (256, 256, "bf16", False),
    ):
        yield from _passes(width, state, dtype, prefixed)


def _passes(width: int, state: int, dtype: str, prefixed: bool) -> Iterator[Variant]:
    forward, backward = forward_tiles(DTYPES[dtype]), backward_tiles(DTYPES[dtype])
    directions = {"DIRECTIONS": 1 + prefixed}
    kernels: list[tuple[Any, Tiles, dict[str, int]]] = [
        (forward_pass.outputs_kernel, forward, directions),
        (backward_pass.gradients_kernel, backward, directions),
    ]
    if not prefixed:  # walking does not know of prefixes
        kernels.append((forward_pass.states_kernel, forward, {"GIVEN": True, "BACKWARD": True}))
    for kernel, tiles, constants in kernels:
        yield Variant(
            name=(
                f"ssd {kernel.fn.__name__.removesuffix('_kernel')} {dtype}, {width} x {state}"
                f"{', prefixes' if prefixed else ''}"
            ),
            kernel=kernel,
            types=_types(kernel, dtype),
            constants={
                "WIDTH": width,
                "STATE": state,
                "CHUNK": tiles.chunk,
                "BLOCK_P": tiles.block(width),
                "BLOCK_N": tiles.block(state),
            }
            | constants,
            warps=tiles.warps,
            stages=tiles.stages,
            products=True,
        )


VARIANTS = tuple(_variants())
