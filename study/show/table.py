"""What a report is made of: sections of blocks, without looks; and tables, which terminals print
too.

Owns the values that every form of a report renders (`eval.report.page`, `eval.report.markdown`,
`eval.report.latex`), and how declared columns and rows become a table. Knows no scores, no HTML and
no files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeAlias, TypeVar

Kind = Literal["", "n", "w", "c"]
Head = tuple[tuple[str, Kind], ...]
Row = TypeVar("Row", contravariant=True)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """text as it is read; style: a class of the page; href: a place in the page (`#from-…`) or a
    path relative to it.
    """

    text: str
    style: str = ""
    href: str = ""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row of cells. more: what unfolds under it; anchor: its id in the page."""

    cells: tuple[Cell, ...]
    style: str = ""
    more: Details | None = None
    anchor: str = ""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """head: (name, kind) a column: "n" a number, "w" never wrapped, "c" a contrast.

    caption: the table's name, read before it. groups: names over runs of columns, as
    (name, columns), which together cover the head; empty for none.
    """

    head: Head
    rows: tuple[Line, ...]
    caption: str = ""
    groups: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Column(Generic[Row]):
    """What one column of a table shows of each row. kind: as in the head of a `Grid`."""

    name: str
    of: Callable[[Row], str | Cell]
    kind: Kind = ""


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
    """Words that are named as the rows' own fields; empty for None."""
    return tuple(
        words(name.replace("_", " "), lambda row, name=name: getattr(row, name) or "")
        for name in names
    )


@dataclass(frozen=True, kw_only=True)
class Text:
    """A paragraph. `caption` explains what it stands under, `note` warns."""

    text: str
    style: Literal["plain", "caption", "note"] = "plain"


@dataclass(frozen=True, kw_only=True)
class Heading:
    """A part of a section."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Lines:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Hole:
    """Something planned that is not there, and why."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Code:
    """Text to copy as it is."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure: name of its files, what it shows in a few words, and what a reader who does not see
    it should know of its form. svg: a whole <svg> element; pdf: a whole file.
    """

    name: str
    title: str
    description: str
    svg: str
    pdf: bytes


@dataclass(frozen=True, kw_only=True)
class Details:
    """Blocks that are folded until asked for, and open on paper."""

    summary: str
    blocks: tuple[Block, ...]


Block = Text | Heading | Lines | Hole | Code | Drawing | Grid | Details


@dataclass(frozen=True, kw_only=True)
class Section:
    """anchor: its id in the page; title: its heading; name: its short name in the navigation."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Report:
    """A whole report. banner: a warning that stands above everything, or empty."""

    title: str
    subtitle: str
    banner: str
    summary: tuple[str, ...]
    sections: tuple[Section, ...]


def hole(why: str) -> Cell:
    """In place of a number that is not there."""
    return Cell(text=why, style="hole")


def line(*cells: str | Cell, style: str = "") -> Line:
    """A row; bare strings are plain cells."""
    return Line(
        cells=tuple(Cell(text=each) if isinstance(each, str) else each for each in cells),
        style=style,
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
    lines: list[Line] = []
    above = None
    for row in rows:
        apart = "block" if lines and block(row) != above else ""
        above = block(row)
        cells = (column.of(row) for column in columns)
        lines.append(line(*cells, style=f"{apart} {style(row)}".strip()))
    head: Head = tuple((column.name, column.kind) for column in columns)
    return Grid(head=head, rows=tuple(lines), caption=caption)


def blocks(*found: Block | None) -> tuple[Block, ...]:
    """Those that are there; a grid without rows is not."""
    return tuple(
        each
        for each in found
        if each is not None and not (isinstance(each, Grid) and not each.rows)
    )
