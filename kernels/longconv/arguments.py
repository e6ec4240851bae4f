"""What the long convolution takes, and what it refuses before anything is computed."""

from __future__ import annotations

from torch import Tensor

from kernels.visibility import Visibility


def check(inputs: Tensor, after: Tensor, before: Tensor | None, visibility: Visibility) -> None:
    """Refuse shapes and devices that do not belong together, intervals that are not documents with
    prefixes, and filters that are too short.
    """
    rows, length, width = inputs.shape
    if tuple(visibility.start.shape) != (rows, length):
        raise ValueError(
            f"visibility of {tuple(visibility.start.shape)} queries; legal for these inputs: "
            f"{(rows, length)}"
        )
    documents = visibility.documents  # raises on a window or a lookahead
    longest = int(documents.length.max()) if len(documents.length) else 0
    for name, taps in (("after", after), ("before", before)):
        if taps is None:
            if documents.any_prefix:
                raise ValueError(
                    "a prefix is visible and there is no filter for later keys; legal: before, "
                    f"({width}, {longest}) or longer"
                )
            continue
        if taps.ndim != 2 or taps.shape[0] != width or taps.shape[1] < longest:
            raise ValueError(
                f"{name} is {tuple(taps.shape)}; legal: {width} channels of at least {longest} "
                "taps, the longest document"
            )
        if taps.device != inputs.device:
            raise ValueError(f"{name} is on {taps.device}; legal: {inputs.device}, the inputs'")
