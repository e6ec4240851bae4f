"""The report as Markdown: the same grids and sentences as the page, without figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eval.grids import Line


def markdown(content: Mapping[str, Any]) -> str:
    """Everything that `eval.page` shows in words and tables."""
    parts: list[str] = [f"# {_text(content['title'])}"]
    if content["banner"]:
        parts.append(f"> **{_text(content['banner'])}**")
    parts.append(_text(content["subtitle"]))
    parts.append("\n".join(f"- {_text(each)}" for each in content["summary"]))
    for part in content["parts"]:
        parts.append(f"## Scores: {_text(part['name'])}")
        parts.append(grid(part["suite_head"], part["suite_rows"]))
        parts.append(f"Intervals: {_text(part['bars'])}.")
        parts.append(grid(part["task_head"], part["task_rows"]))
        parts.append(grid(part["bits_head"], part["bits_rows"]))
    parts.append(f"## Claims\n\n{_text(content['claims_note'])}")
    for block in content["claim_blocks"]:
        if block["name"]:
            parts.append(f"### {_text(block['name'])}")
        head = (("claim", ""), ("text", ""), ("verdict", ""), ("note", ""), ("p (Holm)", "n"))
        rows = [
            (each["id"], each["text"], each["verdict"], each["qualifier"], each["p"])
            for each in block["claims"]
        ]
        parts.append(_table(head, rows))
        for each in block["claims"]:
            if each["components"]:
                parts.append(f"**{_text(each['id'])}**")
                parts.append(grid(content["component_head"], each["components"]))
    for title, name in (
        ("Mixers: quality and cost", "point"),
        ("Mixers: measured cost against length", "growth"),
        ("Ledger", "cost"),
        ("By stage and cell", "total"),
        ("Adaptation", "adaptation"),
        ("Both end-of-sequence options", "end"),
        ("Questions", "question"),
        ("Holes", "hole"),
        ("Runs", "run"),
    ):
        if content[f"{name}_rows"]:
            parts.append(f"## {title}")
            parts.append(grid(content[f"{name}_head"], content[f"{name}_rows"]))
    parts.append(_text(content["sharing"]))
    parts.append("\n".join(f"- {_text(each)}" for each in content["provenance"]))
    return "\n\n".join(part for part in parts if part) + "\n"


def grid(head: Sequence[tuple[str, str]], rows: Sequence[Line]) -> str:
    """A pipe table; empty without rows."""
    return _table(head, [[cell.text for cell in row.cells] for row in rows]) if rows else ""


def _table(head: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> str:
    lines = [
        "| " + " | ".join(_text(name) for name, _ in head) + " |",
        "|" + "|".join(" ---: " if kind == "n" else " --- " for _, kind in head) + "|",
    ]
    lines += ["| " + " | ".join(_text(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _text(value: str) -> str:
    """Nothing of a run may open a tag, a link or a cell."""
    for mark in ("\\", "|", "[", "]", "*", "`", "_", "#"):
        value = value.replace(mark, "\\" + mark)
    for mark, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        value = value.replace(mark, entity)
    return " ".join(value.split())
