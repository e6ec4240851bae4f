"""Which rows of the table stand in one line, and which budgets in one table.

Owns that a line is one lineage at each of its stages (before and after finetuning, say) and one
token budget.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from eval.evidence.budgets import CLOSE
from eval.evidence.table import Row
from study.runs.cells import CellKey, CellStage


@dataclass(frozen=True, kw_only=True)
class CellLine:
    """A lineage at each of its stages, at one token budget. label: its own, without the stages that
    stand beside it; key: of its first score. scores: by stage, without those that are missing;
    holes: why these are, one a planned score.
    """

    label: str
    tokens: int
    key: CellKey
    scores: dict[CellStage, Row]
    holes: tuple[Row, ...] = ()


def stages(rows: Iterable[Row]) -> list[CellStage]:
    """Those that the rows' cells have, in order."""
    return sorted({row.key.stage for row in rows if row.key is not None})


def lines(rows: Iterable[Row]) -> list[CellLine]:
    """By token budget, then as the plan has them. rows: of one task or suite, each cell once; holes
    of every cell have no line.
    """
    found: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        if row.key is not None:
            found.setdefault((row.tokens, row.key.line), []).append(row)
    return [
        CellLine(
            label=name,
            tokens=tokens,
            key=_first(own),
            scores={row.key.stage: row for row in own if row.key and not row.hole},
            holes=tuple(row for row in own if row.hole),
        )
        for (tokens, name), own in sorted(found.items(), key=lambda each: each[0][0])
    ]


def _first(rows: Sequence[Row]) -> CellKey:
    return min((row.key for row in rows if row.key), key=lambda key: key.stage)


def by_budget(rows: Sequence[Row]) -> list[tuple[int, list[Row]]]:
    """(tokens, its rows), ascending; tokens: the group's smallest."""
    groups: list[tuple[int, list[Row]]] = []
    for row in sorted(rows, key=lambda row: row.tokens):
        if groups and row.tokens - groups[-1][0] <= CLOSE * groups[-1][0]:
            groups[-1][1].append(row)
        else:
            groups.append((row.tokens, [row]))
    return groups
