"""Results as one table: BENCHMARKS.md for people, benchmarks.json for programs.

A result is what one row's process wrote: JSON, with the date, commit and machine of its own
measurement, since rows can be measured again one by one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.finding import Figure, Finding, Goal
from bench.row import Row

HEAD = """# Benchmarks

Written by `make bench`. Every ratio is of two sides that took turns in one process tree; a figure
is the median of its rounds, with the least and the largest in parentheses. Two sides that do not
compute the same are refused. Floors are what bounds a figure whoever computes it; why a goal was
missed stands below the table.
"""


def number(value: float) -> str:
    """Three significant digits, and no exponent between a thousandth and a billion."""
    if value == 0 or 1e-3 <= abs(value) < 1e9:
        return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:.2e}"


def figure_text(figure: Figure) -> str:
    unit = "" if figure.unit == "x" else f" {figure.unit}"
    ends = f"{number(figure.least)} to {number(figure.largest)}"
    return f"{number(figure.median)}{unit} ({ends})"


def goal_text(goal: Goal | None, unit: str) -> str:
    if goal is None:
        return ""
    return f"{goal.sense} {number(goal.value)}" + ("" if unit == "x" else f" {unit}")


def as_json(finding: Finding) -> dict[str, Any]:
    def plain(figure: Figure | None) -> dict[str, Any] | None:
        if figure is None:
            return None
        return {"unit": figure.unit, "values": list(figure.values), "median": figure.median}

    return {
        "figure": plain(finding.figure),
        "ours": plain(finding.ours),
        "peer": plain(finding.peer),
        "goal": None
        if finding.goal is None
        else {"sense": finding.goal.sense, "value": finding.goal.value},
        "same": list(finding.same),
        "notes": list(finding.notes),
    }


def from_json(found: dict[str, Any]) -> Finding:
    def figure(given: dict[str, Any] | None) -> Figure | None:
        if given is None:
            return None
        return Figure(values=tuple(given["values"]), unit=given["unit"])

    measured = figure(found["figure"])
    assert measured is not None
    return Finding(
        figure=measured,
        ours=figure(found["ours"]),
        peer=figure(found["peer"]),
        goal=None if found["goal"] is None else Goal(**found["goal"]),
        same=tuple(found["same"]),
        notes=tuple(found["notes"]),
    )


def markdown(rows: Sequence[Row], results: Mapping[str, dict[str, Any]]) -> str:
    """rows: of the whole table, in its order. results: by name, of those that were measured."""
    lines = [HEAD, _line(_COLUMNS), _line(["---"] * len(_COLUMNS))]
    details: list[str] = []
    for row in rows:
        result = results.get(row.name)
        lines.append(_line(_cells(row, result)))
        details += _details(row, result)
    machines = sorted({_measured_on(result) for result in results.values()})
    return "\n".join([*lines, "", "## Row by row", "", *details, "## Measured", "", *machines, ""])


_COLUMNS = ["row", "beside", "goal", "figure", "ours", "peer", "peak memory", "met"]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cells(row: Row, result: dict[str, Any] | None) -> list[str]:
    place = [f"{row.what} (`{row.name}`)", row.peer]
    if result is None:
        command = row.command or f"make bench ROWS={row.name}"
        why = f"unmeasured: `{command}`" + (" on a GPU" if row.gpu else "")
        return [*place, goal_text(row.goal, row.unit), why, "", "", "", ""]
    if "error" in result:
        return [
            *place,
            goal_text(row.goal, row.unit),
            f"refused: {result['error']}",
            "",
            "",
            "",
            "",
        ]
    finding = from_json(result)
    goal = finding.goal or row.goal
    sides = [figure_text(side) if side else "" for side in (finding.ours, finding.peer)]
    met = "" if goal is None else ("yes" if goal.met(finding.figure) else "**no**")
    return [
        *place,
        goal_text(goal, finding.figure.unit),
        figure_text(finding.figure),
        *sides,
        f"{result['peak_mib']:,.0f} MiB",
        met,
    ]


def _details(row: Row, result: dict[str, Any] | None) -> list[str]:
    found = [f"**{row.name}.** Floor: {row.floor}."]
    if result is not None and "error" not in result:
        finding = from_json(result)
        if finding.same:
            found.append(f"Equal on both sides: {'; '.join(finding.same)}.")
        found += [f"{note}." for note in finding.notes]
        goal = finding.goal or row.goal
        if goal is not None and not goal.met(finding.figure):
            found.append(f"Missed: {row.missed or 'not yet understood'}.")
    return [" ".join(found), ""]


def _measured_on(result: dict[str, Any]) -> str:
    about = result["about"]
    return "- " + ", ".join(f"{key} {value}" for key, value in about.items())


def write(folder: Path, rows: Sequence[Row], results: Mapping[str, dict[str, Any]]) -> None:
    """BENCHMARKS.md and benchmarks.json in the folder."""
    (folder / "BENCHMARKS.md").write_text(markdown(rows, results))
    known = {row.name: results[row.name] for row in rows if row.name in results}
    (folder / "benchmarks.json").write_text(json.dumps(known, indent=1) + "\n")


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Results that an earlier call wrote; none where there is no file."""
    path = folder / "benchmarks.json"
    return json.loads(path.read_text()) if path.exists() else {}
