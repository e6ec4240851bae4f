"""Time of one call: sides take turns, the first calls do not count, medians with their spread.

On a GPU by events, after memory as large as any second-level cache has been overwritten, so that
no call finds its inputs there; elsewhere by the wall clock. Times in seconds, memory in bytes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

ROUNDS = 7
REPEATS = 5
"""Calls of a round, whose median is the round's time."""
CACHE = 256 * 2**20


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Median, least and largest of the rounds' times."""

    median: float
    least: float
    largest: float
    rounds: int


def alternating(
    sides: Mapping[str, Callable[[], object]], device: torch.device, *, rounds: int = ROUNDS
) -> dict[str, Timing]:
    """Time of each side. Whoever calls has run every side before, so nothing compiles here."""
    for run in sides.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in sides}
    measure = _by_events if device.type == "cuda" else _by_clock
    for _ in range(rounds):
        for name, run in sides.items():
            times[name].append(statistics.median(measure(run, device)))
    return {
        name: Timing(
            median=statistics.median(found),
            least=min(found),
            largest=max(found),
            rounds=len(found),
        )
        for name, found in times.items()
    }


def _by_events(run: Callable[[], object], device: torch.device) -> list[float]:
    flushed = torch.empty(CACHE, dtype=torch.int8, device=device)
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(REPEATS)]
    for begin, end in events:
        flushed.zero_()
        begin.record()
        run()
        end.record()
    torch.cuda.synchronize(device)
    return [begin.elapsed_time(end) / 1e3 for begin, end in events]


def _by_clock(run: Callable[[], object], device: torch.device) -> list[float]:
    begin = time.perf_counter()
    run()
    return [time.perf_counter() - begin]


def peak_memory(run: Callable[[], object], device: torch.device) -> int | None:
    """Bytes that a call takes at most beyond what was there before; None where torch cannot say."""
    if device.type != "cuda":
        return None
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before
