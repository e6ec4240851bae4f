"""What the state-space dual takes, and what it refuses before any kernel starts."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.backend import TRITON_DTYPES
from kernels.visibility import Visibility

LARGEST_WIDTH = 256


def check(
    inputs: Tensor,
    decay: Tensor,
    write: Tensor,
    read: Tensor,
    visibility: Visibility,
    initial_state: Tensor | None,
) -> None:
    """Refuse shapes, dtypes and devices that do not belong together, and intervals that no state
    can carry.
    """
    if inputs.ndim != 4 or inputs.shape[1] < 1:
        raise ValueError(f"inputs are {tuple(inputs.shape)}; legal: (B, T, H, P), T at least 1")
    rows, length, heads, width = inputs.shape
    if tuple(decay.shape) != (rows, length, heads):
        raise ValueError(f"decay is {tuple(decay.shape)}; legal: {(rows, length, heads)}")
    if write.shape != read.shape or write.shape[:3] != inputs.shape[:3] or write.ndim != 4:
        raise ValueError(
            f"write {tuple(write.shape)} and read {tuple(read.shape)}; legal: both "
            f"{(rows, length, heads)} and one state width"
        )
    if tuple(visibility.start.shape) != (rows, length) or visibility.num_keys != length:
        raise ValueError(
            f"visibility of {tuple(visibility.start.shape)} queries over {visibility.num_keys} "
            f"keys; legal for these tensors: {(rows, length)} over {length}"
        )
    wanted = (rows, heads, width, write.shape[-1])
    if initial_state is not None and tuple(initial_state.shape) != wanted:
        raise ValueError(f"initial_state is {tuple(initial_state.shape)}; legal: {wanted}")
    others = {"decay": decay, "write": write, "read": read, "visibility": visibility.start}
    others |= {} if initial_state is None else {"initial_state": initial_state}
    for name, tensor in others.items():
        if tensor.device != inputs.device:
            raise ValueError(f"{name} is on {tensor.device}; legal: {inputs.device}, the inputs'")
    _ = visibility.documents  # raises on a window or a lookahead


def check_triton(
    inputs: Tensor, decay: Tensor, write: Tensor, read: Tensor, initial_state: Tensor | None
) -> None:
    """Refuse what the Triton kernels do not compute."""
    legal = ", ".join(str(dtype).removeprefix("torch.") for dtype in TRITON_DTYPES)
    for name, tensor in (("inputs", inputs), ("write", write), ("read", read)):
        if tensor.dtype not in TRITON_DTYPES or tensor.dtype != inputs.dtype:
            raise ValueError(
                f"{name} is {tensor.dtype}, inputs {inputs.dtype}; legal for the Triton kernels: "
                f"{legal}, all three alike"
            )
        if not 1 <= tensor.shape[-1] <= LARGEST_WIDTH:
            raise ValueError(
                f"{name} has width {tensor.shape[-1]}; legal for the Triton kernels: "
                f"1 to {LARGEST_WIDTH}"
            )
    for name, tensor in (("decay", decay), ("initial_state", initial_state)):
        if tensor is not None and tensor.dtype != torch.float32:
            raise ValueError(
                f"{name} is {tensor.dtype}; legal for the Triton kernels: float32, since sums over "
                "a document lose their small terms in 16 bits"
            )
