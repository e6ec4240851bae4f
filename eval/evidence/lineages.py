"""Rows of the table, paired: one pretraining lineage before and after its finetuning.

Owns which rows make a pair, and which stand at one token budget.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from eval.evidence.table import Row

CLOSE = 0.01
"""Token budgets within this share of each other are one budget, as contrasts take them."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """tokens: before finetuning. before, after: None where there is no score; holes: why, one a
    planned score that is missing.
    """

    label: str
    tokens: int
    before: Row | None
    after: Row | None
    holes: tuple[Row, ...] = ()


def pairs(rows: Iterable[Row]) -> list[Pair]:
    """By token budget, then as the plan has them. rows: of one task or suite, each cell once."""
    found: dict[tuple[int, str], dict[str, Row]] = {}
    holes: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        parts = row.cell.split(" → ")
        finetuned = row.stage == "after finetuning"
        name = " → ".join(parts[:-1]) if finetuned and len(parts) > 1 else row.cell
        if finetuned and len(parts) > 1 and parts[-1] != f"{parts[-2][:2]}:MTF":
            name += f" → {parts[-1]}"
        own = found.setdefault((row.tokens, name), {})
        if row.hole:
            holes.setdefault((row.tokens, name), []).append(row)
        else:
            own["after" if finetuned else "before"] = row
    return [
        Pair(
            label=name,
            tokens=tokens,
            before=pair.get("before"),
            after=pair.get("after"),
            holes=tuple(holes.get((tokens, name), ())),
        )
        for (tokens, name), pair in sorted(found.items(), key=lambda each: each[0][0])
    ]


def by_budget(rows: Sequence[Row]) -> list[tuple[int, list[Row]]]:
    """(tokens, its rows), ascending; tokens: the group's smallest."""
    groups: list[tuple[int, list[Row]]] = []
    for row in sorted(rows, key=lambda row: row.tokens):
        if groups and row.tokens - groups[-1][0] <= CLOSE * groups[-1][0]:
            groups[-1][1].append(row)
        else:
            groups.append((row.tokens, [row]))
    return groups
