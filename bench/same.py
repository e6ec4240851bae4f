"""Whether two sides compute the same: whoever differs is not timed.

Each check returns the sentence that the table shows, or raises Differs.
"""

from __future__ import annotations

from collections.abc import Sequence

PARAMETERS = 0.05


class Differs(Exception):
    """The two sides of a comparison do not compute the same thing."""


def parameters(ours: int, peer: int) -> str:
    if abs(ours - peer) > PARAMETERS * peer:
        raise Differs(f"{ours:,} parameters against the peer's {peer:,}; legal: within 5 %")
    return f"{ours:,} and {peer:,} parameters"


def equal(what: str, ours: object, peer: object) -> str:
    if ours != peer:
        raise Differs(f"{what}: {ours!r} against the peer's {peer!r}; legal: equal")
    return f"{what}: {ours}"


def outputs(apart: float, *, within: float) -> str:
    """apart: the largest distance of two numbers."""
    if not apart <= within:
        raise Differs(f"outputs differ by {apart:.3g}; legal: {within:g}")
    return f"outputs, at most {apart:.1g} apart"


def answers(ours: Sequence[float], peer: Sequence[float], *, within: float) -> str:
    """Log-likelihoods of the same requests, in nats."""
    if len(ours) != len(peer):
        raise Differs(f"{len(ours)} answers against the peer's {len(peer)}; legal: equally many")
    differences = [abs(a - b) for a, b in zip(ours, peer, strict=True)]
    # Not their largest: a NaN is never the larger of two.
    if not all(each <= within for each in differences):
        far = [each for each in differences if not each <= within]
        raise Differs(f"{len(far)} answers differ, one by {far[0]:.3g} nats; legal: {within:g}")
    apart = max(differences, default=0.0)
    return f"{len(ours):,} answers, at most {apart:.1g} nats apart"
