"""The report as Markdown: the same sections as the page; figures are links to their files."""

from __future__ import annotations

from collections.abc import Iterator

from study.show.table import (
    Block,
    Code,
    Details,
    Drawing,
    Grid,
    Heading,
    Hole,
    Lines,
    Report,
    Text,
)


def markdown(report: Report) -> str:
    """Everything that the page shows, unfolded."""
    parts: list[str] = [f"# {_text(report.title)}"]
    if report.banner:
        parts.append(f"> **{_text(report.banner)}**")
    parts.append(_text(report.subtitle))
    parts.append(_list(report.summary))
    for section in report.sections:
        parts.append(f"## {_text(section.title)}")
        for block in section.blocks:
            parts += _block(block)
    return "\n\n".join(part for part in parts if part) + "\n"


def _block(block: Block) -> Iterator[str]:
    match block:
        case Text(text=text):
            yield _text(text)
        case Heading(text=text):
            yield f"### {_text(text)}"
        case Lines(items=items):
            yield _list(items)
        case Hole(text=text):
            yield f"**hole**: {_text(text)}"
        case Code(text=text):
            yield "\n".join(f"    {line}" for line in text.splitlines())
        case Drawing(name=name, title=title):
            yield f"![{_text(title)}](figures/{name}.svg)"
        case Grid():
            yield from _grid(block)
        case Details(summary=summary, blocks=blocks):
            yield f"**{_text(summary)}**"
            for each in blocks:
                yield from _block(each)


def _list(items: tuple[str, ...]) -> str:
    return "\n".join(f"- {_text(each)}" for each in items)


def _grid(grid: Grid) -> Iterator[str]:
    """A pipe table, then what its rows unfold."""
    if not grid.rows:
        return
    if grid.caption:
        yield f"*{_text(grid.caption)}*"
    heads = [name for name, _ in grid.head]
    place = 0
    for group, width in grid.groups:
        if group:
            heads[place : place + width] = [
                f"{group}: {name}" for name in heads[place : place + width]
            ]
        place += width
    lines = [
        "| " + " | ".join(_text(name) for name in heads) + " |",
        "|" + "|".join(" ---: " if kind == "n" else " --- " for _, kind in grid.head) + "|",
    ]
    lines += ["| " + " | ".join(_text(cell.text) for cell in row.cells) + " |" for row in grid.rows]
    yield "\n".join(lines)
    for row in grid.rows:
        if row.more is not None:
            yield from _block(row.more)


def _text(value: str) -> str:
    """Nothing of a run may open a tag, a link or a cell."""
    for mark in ("\\", "|", "[", "]", "*", "`", "_", "#"):
        value = value.replace(mark, "\\" + mark)
    for mark, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        value = value.replace(mark, entity)
    return " ".join(value.split())
