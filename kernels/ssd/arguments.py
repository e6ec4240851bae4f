"""What the state-space dual takes, and what it refuses before any kernel starts."""

from __future__ import annotations

from torch import Tensor

from kernels.visibility import Visibility


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
    for name, tensor in (("decay", decay), ("write", write), ("read", read)):
        if tensor.device != inputs.device:
            raise ValueError(f"{name} is on {tensor.device}; legal: {inputs.device}, the inputs'")
    _ = visibility.documents  # raises on a window or a lookahead
