"""The machine's measured peak: what a model's flops per second are a share of (MFU).

Owns one measurement per process, a square matrix product in the run's own precision. A peak from a
data sheet would need a table of machines and still not know how many threads a process has.
"""

from __future__ import annotations

import functools
import time

import torch

SIDE = {"cpu": 768, "cuda": 8192}
TRIES = 4


@functools.cache
def peak_flops(device: str, *, dtype: torch.dtype, threads: int) -> float:
    """Flops per second of the best of a few products. threads: part of what was measured."""
    kind = torch.device(device).type
    side = SIDE.get(kind, 1024)
    left = torch.ones(side, side, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(TRIES):
        begun = time.perf_counter()
        torch.mm(left, left)
        if kind == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - begun)
    return 2.0 * side**3 / best
