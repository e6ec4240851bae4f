"""One problem, ours and its peers: do they compute the same, and how long do they take?

A side that is not installed, has no form of the problem or fails says so in its row. A side whose
outputs or gradients differ from ours gets no time at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from bench.cards import Card
from bench.clock import ROUNDS, alternating, peak_memory

Direction = Literal["forward", "forward and backward"]
NEAR = {torch.float32: 2e-3, torch.float16: 2e-2, torch.bfloat16: 8e-2}
"""How far two sides may be apart, as a part of the largest number: both round, and a peer may
multiply float32 with TF32. It shows that they compute the same thing; that ours computes its
equation is shown by `parity.py`.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """One way to compute a problem.

    leaves: its inputs, in its own layout, each with a gradient. run: the output from them. swapped:
    axes 1 and 2 of its output and its first leaf are swapped beside ours. part: work that belongs
    to another side (a mask), timed alone and not compared, whatever it gives. absent: why it does
    not take part.
    """

    name: str
    leaves: tuple[Tensor, ...] = ()
    run: Callable[..., Any] | None = None
    swapped: bool = False
    part: bool = False
    absent: str = ""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a direction cannot avoid: FLOPs, and bytes moved."""

    flops: float
    moved: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """ours is the side that the others are compared with."""

    op: str
    pattern: str
    length: int
    size: str
    dtype: torch.dtype
    work: dict[Direction, Work]
    ours: Side
    peers: tuple[Side, ...]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table; times in ms. roofline: the card's least time over the side's, None
    where the card is not known. times_ours: the side's time over ours. note: why there is no time.
    """

    op: str
    pattern: str
    length: int
    size: str
    dtype: str
    direction: Direction
    side: str
    ms: float | None = None
    ms_least: float | None = None
    ms_largest: float | None = None
    tflops: float | None = None
    gbytes: float | None = None
    peak_mib: float | None = None
    roofline: float | None = None
    times_ours: float | None = None
    note: str = ""


def contest(
    problem: Problem, *, card: Card | None, device: torch.device, rounds: int = ROUNDS
) -> list[Row]:
    """A row for each direction and side. Failures of ours are errors; those of a peer are notes."""
    grad = _gradient_like(problem.ours)
    exact = _results(problem.ours, grad)
    notes, able = {}, [problem.ours]
    for side in problem.peers:
        notes[side.name] = side.absent or _what_is_wrong(side, grad, exact, problem.dtype)
        if not notes[side.name]:
            able.append(side)
    del exact
    found = []
    for direction, work in problem.work.items():
        back = direction == "forward and backward"
        calls = {
            side.name: _call(side, grad if back else None)
            for side in able
            if not (side.part and back)
        }
        peaks = {name: peak_memory(call, device) for name, call in calls.items()}
        times = alternating(calls, device, rounds=rounds)
        ours = times[problem.ours.name].median
        least = card and card.seconds(flops=work.flops, moved=work.moved, dtype=problem.dtype)
        for side in (problem.ours, *problem.peers):
            row = Row(
                op=problem.op, pattern=problem.pattern, length=problem.length, size=problem.size,
                dtype=str(problem.dtype).removeprefix("torch."), direction=direction,
                side=side.name, note=notes.get(side.name, ""),
            )  # fmt: skip
            if side.name not in times:
                found += [row] if row.note else []
                continue
            time, peak = times[side.name], peaks[side.name]
            row = replace(
                row, ms=time.median * 1e3, ms_least=time.least * 1e3,
                ms_largest=time.largest * 1e3, times_ours=time.median / ours,
                peak_mib=None if peak is None else peak / 2**20,
            )  # fmt: skip
            if not side.part:
                row = replace(
                    row, tflops=work.flops / time.median / 1e12,
                    gbytes=work.moved / time.median / 1e9,
                    roofline=None if least is None else least / time.median,
                )  # fmt: skip
            found.append(row)
    return found


def _gradient_like(ours: Side) -> Tensor:
    assert ours.run is not None
    with torch.no_grad():
        out = ours.run(*ours.leaves)
    generator = torch.Generator(out.device).manual_seed(0)
    return torch.randn(out.shape, generator=generator, device=out.device, dtype=out.dtype)


def _results(side: Side, grad: Tensor) -> list[Tensor]:
    """The output and every gradient, in ours' layout."""
    assert side.run is not None
    out = side.run(*side.leaves)
    own = grad.transpose(1, 2).contiguous() if side.swapped else grad
    first, *others = torch.autograd.grad(out, side.leaves, own)
    out = out.detach()
    if side.swapped:
        out, first = out.transpose(1, 2), first.transpose(1, 2)
    return [out, first, *others]


def _call(side: Side, grad: Tensor | None) -> Callable[[], object]:
    run = side.run
    assert run is not None
    if grad is None:

        def forward() -> object:
            with torch.no_grad():
                return run(*side.leaves)

        return forward
    own = grad.transpose(1, 2).contiguous() if side.swapped else grad
    return lambda: torch.autograd.grad(run(*side.leaves), side.leaves, own)


def _what_is_wrong(side: Side, grad: Tensor, exact: list[Tensor], dtype: torch.dtype) -> str:
    """Why this side gets no time; empty if it computes what ours does."""
    try:
        if side.part:
            _call(side, None)()
            return ""
        found = _results(side, grad)
    except torch.OutOfMemoryError:
        return "out of memory"
    except Exception as error:  # a peer's own failure is a finding about it, and not this run's
        return f"fails: {type(error).__name__}: {str(error).splitlines()[0][:80]}"
    for name, one, two in zip(("output", *_GRADIENTS), found, exact, strict=False):
        if one.shape != two.shape:
            return f"differs: {name} {tuple(one.shape)}, ours {tuple(two.shape)}"
        scale = two.float().abs().max().clamp(min=1e-6)
        apart = float((one.float() - two.float()).abs().max() / scale)
        if not apart <= NEAR[dtype]:
            return f"differs: {name} by {apart:.1g} of its largest number"
    return ""


_GRADIENTS = tuple(f"gradient {number}" for number in range(1, 9))
