"""From runs to arrays: one array for each layer of the tree and class of resources, under a cap.

Owns only that division, as values. No torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from study.launch.cluster.profile import Profile, Resources
from study.runs.execution import Execution
from study.runs.run import Run, dependencies, run_id


@dataclass(frozen=True, kw_only=True)
class Group:
    """The runs of one array. layer: how many submitted runs lie above each of them, in a line."""

    layer: int
    resources: Resources
    execution: Execution
    runs: tuple[Run, ...]


def divide(runs: Iterable[Run], *, profile: Profile) -> tuple[Group, ...]:
    """The runs (parents before children) in groups, upper layers first; no dependency lies within
    a group.
    """
    depth: dict[str, int] = {}
    alike: dict[tuple[int, Resources, Execution], list[Run]] = {}
    for run in runs:
        above = [depth[run_id(each)] for each in dependencies(run) if run_id(each) in depth]
        layer = depth[run_id(run)] = max(above, default=-1) + 1
        alike.setdefault((layer, *profile.of(run)), []).append(run)
    cap = profile.site.array_cap
    return tuple(
        Group(layer=layer, resources=resources, execution=execution, runs=tuple(part))
        for (layer, resources, execution), members in sorted(
            alike.items(), key=lambda item: item[0][0]
        )
        for part in (members[at : at + cap] for at in range(0, len(members), cap))
    )
