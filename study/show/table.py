"""What a report is made of: sections of blocks, without looks.

Owns the values that every form of a report renders (`eval.report.page`, `eval.report.markdown`,
`eval.report.latex`). Knows no scores, no HTML and no files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["", "n", "w", "c"]
Head = tuple[tuple[str, Kind], ...]


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


def blocks(*found: Block | None) -> tuple[Block, ...]:
    """Those that are there; a grid without rows is not."""
    return tuple(
        each
        for each in found
        if each is not None and not (isinstance(each, Grid) and not each.rows)
    )
