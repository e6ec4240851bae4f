"""Whether a plan may run, and what it waits for.

Owns the refusal of plans whose content is not decided: sources without a pin, and whatever the
sweep itself says when asked by its function `held()` (rates that were not searched, say). Such a
plan can be costed, and its scripts rendered. No torch.
"""

from __future__ import annotations

from collections.abc import Iterable

from study.runs.node import Run
from study.runs.plan import Sweep
from study.sources.pins import unpinned


def held(sweep: Sweep) -> str:
    """Why nothing of this sweep is run yet, in the sweep's own words; empty where it is ready."""
    declared = getattr(sweep.module, "held", None)
    return str(declared()) if callable(declared) else ""


def waits(sweep: Sweep, runs: Iterable[Run]) -> list[str]:
    """What these runs of a sweep wait for, each with what to do about it."""
    found = [f"HELD: {reason}"] if (reason := held(sweep)) else []
    return [*found, *_open(sweep, runs)]


def refuse(sweep: Sweep, runs: Iterable[Run]) -> None:
    """Raises ValueError where these runs wait for something."""
    if reasons := waits(sweep, runs):
        raise ValueError("; ".join(reasons))


def refuse_unpinned(sweep: Sweep, runs: Iterable[Run]) -> None:
    """Raises ValueError where these runs read something of unknown content."""
    if reasons := _open(sweep, runs):
        raise ValueError("; ".join(reasons))


def _open(sweep: Sweep, runs: Iterable[Run]) -> list[str]:
    names = unpinned(runs)
    if not names:
        return []
    return [
        f"UNPINNED: what {len(names)} sources hold is not known; legal: `study pin {sweep.path}`, "
        f"which asks the hub and writes the commits: {', '.join(names)}"
    ]
