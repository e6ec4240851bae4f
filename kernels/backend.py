"""Which implementation computes an op: chosen once in a process, and said in the log.

`torch` is torch's own operations, on any device; `triton` the kernels of this package, for GPUs
(and for Triton's interpreter). `auto` is the rule that picks one of them by device. Results differ
by rounding only, so a choice is execution and never part of a run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch
from torch import Tensor

Backend = Literal["torch", "triton"]
Choice = Literal["auto", "torch", "triton"]
TRITON_DTYPES = (torch.float16, torch.bfloat16, torch.float32)

_asked: Choice = "auto"


def use(choice: Choice) -> None:
    """Choose for the whole process."""
    global _asked
    if choice not in ("auto", "torch", "triton"):
        raise ValueError(f"kernels {choice!r}; legal: auto, torch, triton")
    _asked = choice


@contextmanager
def using(choice: Choice) -> Iterator[None]:
    """Choose inside the block, and have it as before afterwards."""
    before = _asked
    use(choice)
    try:
        yield
    finally:
        use(before)


def backend(device: torch.device, dtype: torch.dtype) -> Backend:
    """What the process's choice means for tensors like these. `auto` is Triton on a GPU, for the
    dtypes that its kernels have; torch elsewhere, so in float64 too.
    """
    if _asked != "auto":
        return _asked
    return "triton" if device.type == "cuda" and dtype in TRITON_DTYPES else "torch"


def cast(*tensors: Tensor) -> list[Tensor]:
    """The tensors in autocast's dtype where that is on: it does not know operators of this
    project's.
    """
    kind = tensors[0].device.type
    if kind == "meta" or not torch.is_autocast_enabled(kind):
        return list(tensors)
    return [each.to(torch.get_autocast_dtype(kind)) for each in tensors]


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Autocast is off inside the block. The meta device, where costs are counted, has none."""
    if device.type == "meta":
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
