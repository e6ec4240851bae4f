"""A table's columns, declared once: what each is called, what it shows of a row, and how it stands.

Owns how columns and rows become a `Grid`, which terminals print and reports render.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from study.show.table import Cell, Grid, Head, Kind, Line, line

Row = TypeVar("Row", contravariant=True)


@dataclass(frozen=True, kw_only=True)
class Column(Generic[Row]):
    """What one column of a table shows of each row. kind: as in the head of a `Grid`.
    optional: left out where it is empty in every row.
    """

    name: str
    of: Callable[[Row], str | Cell]
    kind: Kind = ""
    optional: bool = False


Columns: TypeAlias = tuple[Column[Row], ...]


def words(name: str, of: Callable[[Row], str | Cell]) -> Column[Row]:
    return Column(name=name, of=of)


def label(name: str, of: Callable[[Row], str | Cell]) -> Column[Row]:
    """What names a row; never wrapped."""
    return Column(name=name, of=of, kind="w")


def sentence(name: str, of: Callable[[Row], str | Cell]) -> Column[Row]:
    """Words that need room."""
    return Column(name=name, of=of, kind="c")


def number(name: str, of: Callable[[Row], str | Cell]) -> Column[Row]:
    return Column(name=name, of=of, kind="n")


def fields(*names: str) -> Columns[Any]:
    """Words that are named as the rows' own fields of text; empty for None."""
    return tuple(
        words(name.replace("_", " "), lambda row, name=name: getattr(row, name) or "")
        for name in names
    )


def grid(
    columns: Columns[Row],
    rows: Iterable[Row],
    *,
    caption: str = "",
    style: Callable[[Row], str] = lambda _: "",
    block: Callable[[Row], Any] = lambda _: None,
) -> Grid:
    """The table of these rows. style: a class of the page for each row; block: rows whose value
    differs from that of the row above are set off from it.
    """
    rows = list(rows)
    columns = tuple(each for each in columns if not each.optional or any(map(each.of, rows)))
    lines: list[Line] = []
    above = None
    for row in rows:
        apart = "block" if lines and block(row) != above else ""
        above = block(row)
        cells = (column.of(row) for column in columns)
        lines.append(line(*cells, style=f"{apart} {style(row)}".strip()))
    head: Head = tuple((column.name, column.kind) for column in columns)
    return Grid(head=head, rows=tuple(lines), caption=caption)
