"""Two sides that take turns, so that what else the machine does falls on both.

The order changes from round to round (A B, B A, ...), and the first calls do not count. A ratio is
taken within its round.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.finding import FEWEST, Figure

Side = Callable[[], float]
"""Does its work once and returns what was measured, a rate or a time."""


@dataclass(frozen=True, kw_only=True)
class Turns:
    """ratio: ours by the peer's, round by round."""

    ours: Figure
    peer: Figure
    ratio: Figure


def take_turns(ours: Side, peer: Side, *, unit: str, rounds: int = FEWEST) -> Turns:
    ours()
    peer()
    found: dict[Side, list[float]] = {ours: [], peer: []}
    for number in range(rounds):
        for side in (ours, peer) if number % 2 == 0 else (peer, ours):
            found[side].append(side())
    return Turns(
        ours=Figure(values=tuple(found[ours]), unit=unit),
        peer=Figure(values=tuple(found[peer]), unit=unit),
        ratio=Figure(
            values=tuple(a / b for a, b in zip(found[ours], found[peer], strict=True)), unit="x"
        ),
    )
