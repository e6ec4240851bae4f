"""How a launch looks: a line an array, then what was left and why. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from study.launch.cluster.choose import Left
from study.launch.cluster.launch import LaunchResult
from study.show import terminal
from study.show.columns import Columns, number, words

SHOWN = 10
ARRAYS: Columns[dict[str, Any]] = (
    words("layer", lambda entry: str(entry["layer"])),
    number("runs", lambda entry: str(entry["runs"])),
    words("kinds", lambda entry: ", ".join(f"{n} {kind}" for kind, n in entry["kinds"].items())),
    words("nodes x ranks", lambda entry: f"{entry['nodes']} x {entry['ranks_per_node']}"),
    words("time", lambda entry: entry["time"]),
    words("job", lambda entry: entry["job"] or "not submitted"),
    words("script", lambda entry: entry["script"]),
)


def show(launched: LaunchResult, *, as_json: bool) -> None:
    """Print what was submitted, or by a dry run would be."""
    if as_json:
        terminal.values(as_values(launched))
        return
    if launched.groups:
        terminal.show(ARRAYS, as_values(launched)["arrays"])
    submitted = sum(len(group.runs) for group in launched.groups)
    verb = "submitted" if launched.arrays or not launched.groups else "written, not submitted"
    print(f"{submitted} runs {verb}")
    if launched.completed:
        jobs = ", ".join(str(array.job_id) for array in launched.completed)
        print(f"completed what an earlier launch left held: {jobs}")
    choice = launched.choice
    _tell("queued or at work already", choice.waiting)
    _tell("at work outside this cluster's jobs; launch again when that has ended", choice.held)
    _tell("failed or below a failure; `study retry` submits them again", choice.failed)


def as_values(launched: LaunchResult) -> dict[str, Any]:
    """The launch as JSON values."""
    jobs = [array.job_id for array in launched.arrays] or [None] * len(launched.groups)
    arrays = [
        {
            "layer": group.layer,
            "runs": len(group.runs),
            "kinds": dict(Counter(type(run).__name__ for run in group.runs)),
            "nodes": group.resources.nodes,
            "ranks_per_node": group.resources.ranks_per_node,
            "time": group.resources.time,
            "job": job,
            "script": str(script),
        }
        for group, job, script in zip(launched.groups, jobs, launched.scripts, strict=True)
    ]
    choice = launched.choice
    parts = {"waiting": choice.waiting, "held": choice.held, "failed": choice.failed}
    return {
        "arrays": arrays,
        "completed": [array.job_id for array in launched.completed],
    } | {
        name: [{"run": left.run.slug, "why": left.why} for left in part]
        for name, part in parts.items()
    }


def _tell(what: str, left: Sequence[Left]) -> None:
    if not left:
        return
    print(f"{len(left)} {what}:")
    for each in left[:SHOWN]:
        print(f"  {each.run.slug}  {each.why}")
    if len(left) > SHOWN:
        print(f"  and {len(left) - SHOWN} more")
