"""BENCHMARKS.md and benchmarks.json: every row with what it found.

A result is what one row's process wrote: JSON, with the date, commit and machine of its own
measurement, since rows can be measured again one by one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.row import Figure, Finding, Goal, Row
from bench.table import Table, json_beside
from bench.table import write as write_table

NAME = "BENCHMARKS.md"
HEAD = """# Benchmarks

Written by `make bench`. Every ratio is of two sides that took turns in one process tree; a figure
is the median of its rounds, with the least and the largest in parentheses. Two sides that do not
compute the same are refused. Floors are what bounds a figure whoever computes it; why a goal was
missed stands below the table.
"""

Result = dict[str, Any]


def number(value: float) -> str:
    """Three significant digits, and no exponent between a thousandth and a billion."""
    if value == 0 or 1e-3 <= abs(value) < 1e9:
        return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:.2e}"


def figure_text(figure: Figure | None) -> str:
    if figure is None:
        return ""
    unit = "" if figure.unit == "x" else f" {figure.unit}"
    ends = f"{number(figure.least)} to {number(figure.largest)}"
    return f"{number(figure.median)}{unit} ({ends})"


def as_json(finding: Finding) -> Result:
    found = asdict(finding)
    for name in ("figure", "ours", "peer"):
        if found[name] is not None:
            found[name]["median"] = getattr(finding, name).median
    return found


def from_json(found: Result) -> Finding:
    def figure(given: dict[str, Any]) -> Figure:
        return Figure(values=tuple(given["values"]), unit=given["unit"])

    return Finding(
        figure=figure(found["figure"]),
        ours=found["ours"] and figure(found["ours"]),
        peer=found["peer"] and figure(found["peer"]),
        goal=found["goal"] and Goal(**found["goal"]),
        same=tuple(found["same"]),
        notes=tuple(found["notes"]),
    )


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A row and its result, if it was measured."""

    row: Row
    result: Result | None

    @property
    def why(self) -> str:
        """There is no figure; empty where there is one."""
        if self.result is not None:
            return f"refused: {self.result['error']}" if "error" in self.result else ""
        command = self.row.command or f"make bench ROWS={self.row.name}"
        return f"unmeasured: `{command}`" + (" on a GPU" if self.row.gpu else "")

    @property
    def finding(self) -> Finding:
        assert self.result is not None
        return from_json(self.result)

    @property
    def goal(self) -> Goal | None:
        measured = None if self.why else self.finding.goal
        return measured or self.row.goal

    @property
    def met(self) -> bool | None:
        """None where nothing was to be met."""
        return None if self.goal is None else self.goal.met(self.finding.figure)

    def goal_text(self) -> str:
        if self.goal is None:
            return ""
        unit = self.row.unit if self.why else self.finding.figure.unit
        return f"{self.goal.sense} {number(self.goal.value)}" + ("" if unit == "x" else f" {unit}")

    def memory_text(self) -> str:
        assert self.result is not None
        return f"{self.result['peak_mib']:,.0f} MiB"

    def details(self) -> str:
        found = [f"**{self.row.name}.** Floor: {self.row.floor}."]
        if not self.why:
            if self.finding.same:
                found.append(f"Equal on both sides: {'; '.join(self.finding.same)}.")
            found += [f"{note}." for note in self.finding.notes]
            if self.met is False:
                found.append(f"Missed: {self.row.missed or 'not yet understood'}.")
        return " ".join(found)


TABLE: Table[Entry] = Table(
    place={
        "row": lambda entry: f"{entry.row.what} (`{entry.row.name}`)",
        "beside": lambda entry: entry.row.peer,
        "goal": Entry.goal_text,
    },
    measured={
        "figure": lambda entry: figure_text(entry.finding.figure),
        "ours": lambda entry: figure_text(entry.finding.ours),
        "peer": lambda entry: figure_text(entry.finding.peer),
        "peak memory": Entry.memory_text,
        "met": lambda entry: {None: "", True: "yes", False: "**no**"}[entry.met],
    },
    why=lambda entry: entry.why,
)


def markdown(rows: Sequence[Row], results: Mapping[str, Result]) -> str:
    """rows: of the whole table, in its order. results: by name, of those that were measured."""
    entries = [Entry(row=row, result=results.get(row.name)) for row in rows]
    details = [line for entry in entries for line in (entry.details(), "")]
    machines = sorted({_measured_on(result) for result in results.values()})
    text = [HEAD, TABLE.markdown(entries), "", "## Row by row", "", *details, "## Measured", ""]
    return "\n".join([*text, *machines, ""])


def _measured_on(result: Result) -> str:
    return "- " + ", ".join(f"{key} {value}" for key, value in result["about"].items())


def write(folder: Path, rows: Sequence[Row], results: Mapping[str, Result]) -> None:
    """BENCHMARKS.md and benchmarks.json in the folder."""
    known = {row.name: results[row.name] for row in rows if row.name in results}
    write_table(folder / NAME, markdown(rows, results), known)


def read(folder: Path) -> dict[str, Result]:
    """Results that an earlier call wrote; none where there is no file."""
    path = json_beside(folder / NAME)
    return json.loads(path.read_text()) if path.exists() else {}
