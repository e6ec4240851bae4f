"""What the long convolution takes, and what it refuses before anything is computed."""

from __future__ import annotations

from torch import Tensor

from kernels.backend import TRITON_DTYPES
from kernels.longconv.segments import segments
from kernels.visibility import Visibility


def check(inputs: Tensor, after: Tensor, before: Tensor | None, visibility: Visibility) -> None:
    """Refuse shapes, dtypes and devices that do not belong together, intervals that are not
    documents with prefixes, and filters that are too short.
    """
    rows, length, width = inputs.shape
    if tuple(visibility.start.shape) != (rows, length):
        raise ValueError(
            f"visibility of {tuple(visibility.start.shape)} queries; legal for these inputs: "
            f"{(rows, length)}"
        )
    known = segments(visibility)  # raises on a window or a lookahead
    if before is None and known.any_later:
        raise ValueError(
            "a prefix is visible and there is no filter for later keys; legal: before, "
            f"({width}, {known.longest}) or longer"
        )
    for name, taps in (("after", after), ("before", before)):
        if taps is None:
            continue
        if taps.ndim != 2 or taps.shape[0] != width or taps.shape[1] < known.longest:
            raise ValueError(
                f"{name} is {tuple(taps.shape)}; legal: {width} channels of at least "
                f"{known.longest} taps, the longest document"
            )
        if taps.dtype != after.dtype:
            raise ValueError(f"{name} is {taps.dtype}; legal: {after.dtype}, as after is")
        if taps.device != inputs.device:
            raise ValueError(f"{name} is on {taps.device}; legal: {inputs.device}, the inputs'")
    if visibility.start.device != inputs.device:
        raise ValueError(
            f"visibility is on {visibility.start.device}; legal: {inputs.device}, the inputs'"
        )


def check_triton(inputs: Tensor, after: Tensor) -> None:
    """Refuse what the Triton kernels do not compute."""
    legal = ", ".join(str(dtype).removeprefix("torch.") for dtype in TRITON_DTYPES)
    for name, tensor in (("inputs", inputs), ("after", after)):
        if tensor.dtype not in TRITON_DTYPES:
            raise ValueError(f"{name} is {tensor.dtype}; legal for the Triton kernels: {legal}")
