"""How peak memory grows: with the length of a row, the number of requests, the number of runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bench.row import Bench, Figure, Finding
from bench.rows.peaks import apart

LENGTHS = (2048, 4096, 8192)
REQUESTS = (1024, 8192)
RUNS = (2_500, 5_000, 10_000)


def _slope(kind: str, sizes: tuple[int, ...], bench: Bench) -> Finding:
    slopes, found = [], []
    for _ in range(bench.rounds):
        peaks = [apart(kind, size) for size in sizes]
        found.append(peaks)
        slopes.append(float(np.polyfit(np.log(sizes), np.log(peaks), 1)[0]))
    middle = np.median(np.array(found), axis=0) / 2**20
    said = ", ".join(f"{size:,}: {peak:,.0f}" for size, peak in zip(sizes, middle, strict=True))
    return Finding(figure=Figure(values=tuple(slopes), unit="x"), notes=(f"MiB at {said}",))


def training(bench: Bench, *, mixer: str) -> Finding:
    """Exponent of what a layer's forward and backward pass adds, by length."""
    return _slope(mixer, LENGTHS, bench)


def planning(bench: Bench) -> Finding:
    """Exponent of what the runs of a sweep take, by their number."""
    return _slope("planning", RUNS, bench)


def evaluation(bench: Bench) -> Finding:
    """MiB that eight times the requests add, of which the requests themselves are some."""
    few, many = REQUESTS

    def more() -> float:
        return max(0, apart("evaluation", many) - apart("evaluation", few)) / 2**20

    found = bench.alone(more, unit="MiB", untimed=0)
    return replace(found, notes=(f"From {few:,} to {many:,} requests of 102 tokens",))
