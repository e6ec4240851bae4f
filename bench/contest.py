"""One problem, ours and its peers: do they compute the same, and how long do they take?

A side that is not installed, has no form of the problem or fails says so in its row. A side whose
outputs or gradients differ from ours gets no time at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from bench.cards import Card
from bench.clock import peak_memory, seconds_on, take_turns
from bench.row import Figure

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

    def output(self) -> Any:
        assert self.run is not None
        return self.run(*self.leaves)

    def forward(self) -> Any:
        with torch.no_grad():
            return self.output()

    def gradient(self) -> Tensor:
        """Normal numbers like its output, the same at every call."""
        out = self.forward()
        generator = torch.Generator(out.device).manual_seed(1)
        return torch.randn(out.shape, generator=generator, device=out.device).to(out.dtype)

    def both_ways(self, grad: Tensor) -> list[Tensor]:
        """The output and every gradient, in its own layout as grad is."""
        out = self.output()
        return [out.detach(), *torch.autograd.grad(out, self.leaves, grad)]

    def from_ours(self, grad: Tensor) -> Tensor:
        """ours' gradient in its own layout."""
        return grad.transpose(1, 2).contiguous() if self.swapped else grad


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

    @property
    def place(self) -> dict[str, Any]:
        """What the table says of it."""
        dtype = str(self.dtype).removeprefix("torch.")
        place = {"op": self.op, "pattern": self.pattern, "length": self.length}
        return place | {"size": self.size, "dtype": dtype}


Result = dict[str, Any]
"""One side in one direction, a line of the table and of its JSON. ms: median, least and largest.
roofline: the card's least time over the side's, None where the card is not known. times_ours: the
side's time over ours. note: why there is no time; what was not measured is None.
"""
MEASURED = (
    "ms", "ms_least", "ms_largest", "tflops", "gbytes", "peak_mib", "roofline", "times_ours",
)  # fmt: skip


def contest(
    problem: Problem, *, card: Card | None, device: torch.device, rounds: int
) -> list[Result]:
    """A line a direction and side. Failures of ours are errors; those of a peer are notes."""
    grad = problem.ours.gradient()
    exact = problem.ours.both_ways(grad)
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
            side.name: _backward(side, grad) if back else side.forward
            for side in able
            if not (side.part and back)
        }
        peaks = {name: peak_memory(call, device) for name, call in calls.items()}
        turns = {name: partial(seconds_on, device, call) for name, call in calls.items()}
        times = {
            name: Figure(values=values, unit="s")
            for name, values in take_turns(turns, rounds=rounds).items()
        }
        ours = times[problem.ours.name].median
        least = card and card.seconds(flops=work.flops, moved=work.moved, dtype=problem.dtype)
        for side in (problem.ours, *problem.peers):
            note = notes.get(side.name, "")
            if side.name not in times and not note:
                continue  # a part, which has no backward of its own
            result = problem.place | {"direction": direction, "side": side.name}
            result |= dict.fromkeys(MEASURED) | {"note": note}
            if side.name in times:
                time, peak = times[side.name], peaks[side.name]
                result |= {
                    "ms": time.median * 1e3,
                    "ms_least": time.least * 1e3,
                    "ms_largest": time.largest * 1e3,
                    "peak_mib": None if peak is None else peak / 2**20,
                    "times_ours": time.median / ours,
                }
                if not side.part:
                    result |= {
                        "tflops": work.flops / time.median / 1e12,
                        "gbytes": work.moved / time.median / 1e9,
                        "roofline": None if least is None else least / time.median,
                    }
            found.append(result)
    return found


def _backward(side: Side, grad: Tensor) -> Callable[[], object]:
    own = side.from_ours(grad)
    return lambda: torch.autograd.grad(side.output(), side.leaves, own)


def _what_is_wrong(side: Side, grad: Tensor, exact: list[Tensor], dtype: torch.dtype) -> str:
    """Why this side gets no time; empty if it computes what ours does."""
    try:
        if side.part:
            side.forward()
            return ""
        found = side.both_ways(side.from_ours(grad))
    except torch.OutOfMemoryError:
        return "out of memory"
    except Exception as error:  # a peer's own failure is a finding about it, and not this run's
        return f"fails: {type(error).__name__}: {str(error).splitlines()[0][:80]}"
    if side.swapped:
        found[:2] = (each.transpose(1, 2) for each in found[:2])
    for number, (one, two) in enumerate(zip(found, exact, strict=False)):
        name = f"gradient {number}" if number else "output"
        if one.shape != two.shape:
            return f"differs: {name} {tuple(one.shape)}, ours {tuple(two.shape)}"
        scale = two.float().abs().max().clamp(min=1e-6)
        apart = float((one.float() - two.float()).abs().max() / scale)
        if not apart <= NEAR[dtype]:
            return f"differs: {name} by {apart:.1g} of its largest number"
    return ""
