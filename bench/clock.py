"""Time of work, and sides that take turns, so that what else the machine does falls on all of them.

Times in seconds, memory in bytes. On a GPU by events, after memory as large as any second-level
cache has been overwritten, so that no call finds its inputs there; elsewhere by the wall clock.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch

REPEATS = 5
"""Calls on a GPU, whose median is the time."""
CACHE = 256 * 2**20

Turn = Callable[[], float]
"""Does a side's work once and returns what was measured, a rate or a time."""


def take_turns(
    sides: Mapping[str, Turn], *, rounds: int, untimed: int = 1
) -> dict[str, tuple[float, ...]]:
    """What each side measured, a value a round. The order changes from round to round (A B, B A,
    ...), and each side's first calls do not count.
    """
    for _ in range(untimed):
        for turn in sides.values():
            turn()
    found: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in sides if number % 2 == 0 else reversed(list(sides)):
            found[name].append(sides[name]())
    return {name: tuple(values) for name, values in found.items()}


def seconds(work: Callable[[], object], *, times: int = 1) -> float:
    """Of one call by the wall clock, on average."""
    begun = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - begun) / times


def seconds_on(device: torch.device, work: Callable[[], object]) -> float:
    """Of one call that may leave its work to a GPU."""
    if device.type != "cuda":
        return seconds(work)
    flushed = torch.empty(CACHE, dtype=torch.int8, device=device)
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(REPEATS)]
    for begin, end in events:
        flushed.zero_()
        begin.record()
        work()
        end.record()
    torch.cuda.synchronize(device)
    return statistics.median(begin.elapsed_time(end) / 1e3 for begin, end in events)


def peak_memory(work: Callable[[], object], device: torch.device) -> int | None:
    """Bytes that a call takes at most beyond what was there before; None where torch cannot say."""
    if device.type != "cuda":
        return None
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    work()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before
