"""Rows as one table: Markdown for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench.contest import Row

COLUMNS = (
    "op", "pattern", "T", "size", "dtype", "direction", "side", "ms (least to largest)", "TFLOP/s",
    "GB/s", "peak MiB", "of roofline", "times ours",
)  # fmt: skip


def cells(row: Row, *, known: bool) -> list[str]:
    """known: whether the card's limits are."""
    place = [row.op, row.pattern, str(row.length), row.size, row.dtype, row.direction, row.side]
    if row.ms is None:
        return [*place, row.note, "", "", "", "", ""]

    def number(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    return [
        *place,
        f"{row.ms:.3g} ({number(row.ms_least, '.3g')} to {number(row.ms_largest, '.3g')})",
        number(row.tflops, ".3g"),
        number(row.gbytes, ".3g"),
        number(row.peak_mib, ".0f"),
        number(row.roofline, ".2f") if known or row.tflops is None else "unknown",
        number(row.times_ours, ".2f"),
    ]


def line(row: list[str]) -> str:
    return "| " + " | ".join(row) + " |"


def markdown(rows: Sequence[Row], *, about: dict[str, str], known: bool) -> str:
    head = [f"{name}: {value}" for name, value in about.items()]
    body = [line(list(COLUMNS)), line(["---"] * len(COLUMNS))]
    body += [line(cells(row, known=known)) for row in rows]
    return "\n".join([*head, "", *body]) + "\n"


def write(folder: Path, rows: Sequence[Row], *, about: dict[str, str], known: bool) -> None:
    """table.md and table.json in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.md").write_text(markdown(rows, about=about, known=known))
    found = {"about": about, "rows": [asdict(row) for row in rows]}
    (folder / "table.json").write_text(json.dumps(found, indent=1) + "\n")
