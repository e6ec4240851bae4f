"""How a table and values look on a terminal. rich has no part in it: ten thousand lines must not
take seconds.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from study.show.columns import Columns, Row, grid
from study.show.numbers import quantity as quantity  # named here by tables without columns
from study.show.table import Grid, Head, line

NUMERIC = frozenset(("parameters", "memory"))
"""Columns of numbers by their names, for tables that declare no columns."""


def show(columns: Columns[Row], rows: Iterable[Row]) -> None:
    """Print a table, numbers on the right."""
    draw(grid(columns, rows))


def table(names: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    """Print a table whose columns are not declared."""
    head: Head = tuple((name, "n" if name in NUMERIC else "") for name in names)
    draw(Grid(head=head, rows=tuple(line(*cells) for cells in lines)))


def draw(found: Grid) -> None:
    names = [name for name, _ in found.head]
    lines = [[cell.text for cell in row.cells] for row in found.rows]
    widths = [max(map(len, cells)) for cells in zip(names, *lines, strict=True)]
    for cells in (names, *lines):
        padded = [
            cell.rjust(width) if kind == "n" else cell.ljust(width)
            for cell, width, (_, kind) in zip(cells, widths, found.head, strict=True)
        ]
        text = "  ".join(padded).rstrip()
        print(text if cells is not names or not sys.stdout.isatty() else f"\033[1m{text}\033[0m")


def values(found: Any) -> None:
    """Print the same as JSON; a dataclass is its fields."""
    print(json.dumps(found, indent=1, default=asdict))


def log_warning(message: str) -> None:
    """A line on standard error that nobody overlooks."""
    print(f"WARNING: {message}", file=sys.stderr, flush=True)
