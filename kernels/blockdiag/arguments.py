"""What block-diagonal products take, and what they refuse before any kernel starts."""

from __future__ import annotations

from torch import Tensor

from kernels.backend import TRITON_DTYPES


def check_product(inputs: Tensor, weight: Tensor, *, name: str) -> None:
    """Refuse a weight (K, Q, P) that does not fit inputs (..., K P)."""
    if weight.ndim != 3 or min(weight.shape) < 1:
        raise ValueError(
            f"{name} is {tuple(weight.shape)}; legal: (blocks, outputs, inputs), none 0"
        )
    blocks, _, columns = weight.shape
    if inputs.ndim < 1 or inputs.shape[-1] != blocks * columns:
        raise ValueError(
            f"inputs {tuple(inputs.shape)} for {name} {tuple(weight.shape)}; legal: a last axis of "
            f"{blocks} x {columns} = {blocks * columns}"
        )
    if weight.device != inputs.device:
        raise ValueError(f"{name} is on {weight.device}; legal: {inputs.device}, the inputs'")


def check_monarch(first: Tensor, second: Tensor) -> None:
    """Refuse two factors that do not meet."""
    between, read = first.shape[0] * first.shape[1], second.shape[0] * second.shape[2]
    if between != read:
        raise ValueError(
            f"first {tuple(first.shape)} gives {between} numbers and second {tuple(second.shape)} "
            f"reads {read}; legal: as many"
        )


def check_triton(inputs: Tensor, weight: Tensor) -> None:
    """Refuse what the Triton kernels do not compute."""
    legal = ", ".join(str(dtype).removeprefix("torch.") for dtype in TRITON_DTYPES)
    if inputs.dtype not in TRITON_DTYPES or weight.dtype != inputs.dtype:
        raise ValueError(
            f"inputs are {inputs.dtype}, weight {weight.dtype}; legal for the Triton kernels: "
            f"{legal}, both alike"
        )
