"""Tables of scores as plain cells, and the columns with which many tables begin.

HTML, Markdown and LaTeX print the same ones; how a number is written is `study.show.numbers`'.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from eval.evidence.panel import Panel
from eval.evidence.table import EVERY_CELL, SUITE, Row, Table, pairs
from eval.report.sources import of_row
from study.runs.cells import CellKey
from study.show.columns import Column, Columns, fields, grid, label, number, words
from study.show.numbers import (
    DASH,
    between,
    count,
    decimal,
    over_chance,
    p_value,
    percent,
    points,
)
from study.show.table import Cell, Grid, Head, Line, hole, line


class OfCell(Protocol):
    """Whatever is told of one cell."""

    @property
    def cell(self) -> str: ...
    @property
    def stage(self) -> str: ...
    @property
    def tokens(self) -> int: ...


LINEAGE: Column[OfCell] = label("lineage", lambda row: row.cell)
TOKENS: Column[OfCell] = number("tokens before finetuning", lambda row: count(row.tokens))
CELL: Columns[OfCell] = (LINEAGE, label("finetuning", lambda row: row.stage), TOKENS)
"""What tables by cell begin with."""
_ORDER = ("before finetuning", "after finetuning", "before finetuning, off-objective")
_SHORT: dict[str, str] = dict(zip(_ORDER, ("before", "after", "before (off-obj.)"), strict=True))
_STAGE: Column[OfCell] = label("finetuning", lambda row: _SHORT[row.stage])
_FOUND = {
    "above chance": "above",
    "below chance: interference": "below (interference)",
    "not told from chance": "not told apart",
    "": "not tested",
}


def off(row: OfCell) -> str:
    """The style of a row whose model was scored off its objective."""
    return "off" if row.stage == _ORDER[2] else ""


def headline_grid(rows: Sequence[Row], *, chance: float | None, caption: str) -> Grid:
    """One lineage a line, before and after finetuning side by side; unadapted span-corruption
    models, which were scored off-objective, are marked. rows: of one suite and size.
    """
    lines: list[Line] = []
    found = pairs([row for row in rows if row.task == SUITE])
    for place, pair in enumerate(found):
        new = place > 0 and pair.tokens != found[place - 1].tokens
        lines.append(
            line(
                pair.label,
                count(pair.tokens) if pair.tokens else "not known",
                *_scored(pair.before, holes=pair.holes, finetuned=False),
                *_scored(pair.after, holes=pair.holes, finetuned=True),
                style="block" if new else "",
            )
        )
    stage: Head = (
        (f"score, % (guessing: {percent(chance)})", "n"),
        ("over chance", "n"),
        ("its 95% interval", "n"),
        ("seeds", "n"),
    )
    return Grid(
        caption=caption,
        head=(("lineage", "w"), ("tokens before finetuning", "n"), *stage, *stage),
        groups=(("", 2), ("before finetuning", 4), ("after finetuning", 4)),
        rows=tuple(lines),
    )


def _scored(row: Row | None, *, holes: Sequence[Row], finetuned: bool) -> tuple[Cell, ...]:
    """Score, chance-normalised score, its interval, seeds that are there of those planned."""
    own = [each for each in holes if (each.stage == _ORDER[1]) == finetuned]
    if row is None:
        if own:
            seeds = f"0 of {len(own)}"
            return (hole(_why(own)), *[Cell(text=DASH)] * 2, Cell(text=seeds))
        return (Cell(text=DASH),) * 4
    seeds = str(row.seeds) if not own else f"{row.seeds} of {row.seeds + len(own)}"
    interval = between(row.normalised_low, row.normalised_high, over_chance)
    return (
        Cell(text=percent(row.value), style=off(row), href=of_row(row)),
        Cell(text=over_chance(row.normalised), style=off(row)),
        Cell(text=interval, style=off(row)),
        Cell(text=seeds, style="hole" if own else ""),
    )


LONGEST_WHY = 40
"""Letters of a reason in a table of numbers; the whole stands in the section on holes."""


def _why(holes: Sequence[Row]) -> str:
    """Why a score is missing, its seeds together."""
    reasons = dict.fromkeys(each.hole.partition(": ")[2] or each.hole for each in holes)
    told = "; ".join(reasons)
    return "hole: " + (told if len(told) <= LONGEST_WHY else told[:LONGEST_WHY].rstrip() + "…")


def suite_grid(rows: Sequence[Row], *, chance: float | None, caption: str) -> Grid:
    """Stage by stage, token budget by token budget; unadapted span-corruption models last."""
    columns: Columns[Row] = (
        LINEAGE,
        _STAGE,
        TOKENS,
        number("seeds", lambda row: str(row.seeds)),
        number(f"score, % (guessing: {percent(chance)})", _score),
        number("95% interval", lambda row: between(row.low, row.high)),
        number("over chance (0 to 1)", lambda row: over_chance(row.normalised)),
        number("gold answer, nats a byte (lower is better)", _gold),
    )
    return grid(
        columns,
        _in_order(row for row in rows if row.task == SUITE),
        caption=caption,
        style=off,
        block=lambda row: (row.stage, row.tokens),
    )


def _in_order(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (_ORDER.index(row.stage), row.tokens))


def _score(row: Row) -> Cell:
    return hole(row.hole) if row.hole else Cell(text=percent(row.value), href=of_row(row))


def _gold(row: Row) -> str:
    return DASH if row.gold_nats_per_byte is None else decimal(-row.gold_nats_per_byte)


def _task(row: Row) -> str:
    role = "" if row.role == "headline" else f" ({row.role})"
    return row.task + role + (" (greedy)" if row.metric in ("greedy", "greedy_any") else "")


def _finding(row: Row) -> Cell:
    side = row.finding.split(" ")[0]
    return Cell(text=_FOUND[row.finding], style=side if side in ("above", "below") else "")


TASKS: Columns[Row] = (
    LINEAGE,
    _STAGE,
    TOKENS,
    label("task", _task),
    number("accuracy, %", _score),
    number("95% interval", lambda row: between(row.low, row.high)),
    number("guessing", lambda row: percent(row.chance)),
    number("over chance", lambda row: over_chance(row.normalised)),
    number("over templates", lambda row: between(row.lowest, row.highest)),
    number("p", lambda row: p_value(row.p)),
    number("p (Holm)", lambda row: p_value(row.p_holm)),
    label("against guessing", _finding),
)
"""Accuracies with tests against guessing."""


def task_grid(rows: Sequence[Row], *, caption: str) -> Grid:
    asked = (row for row in rows if row.task != SUITE and row.unit == "accuracy")
    return grid(TASKS, _in_order(asked), caption=caption, style=off)


BITS: Columns[Row] = (
    LINEAGE,
    _STAGE,
    words("text", lambda row: row.task),
    number("documents", lambda row: count(row.items)),
    number("bits per byte", lambda row: decimal(row.value)),
    number("95% interval (documents)", lambda row: between(row.low, row.high, decimal)),
)


def bits_grid(rows: Sequence[Row], *, caption: str) -> Grid:
    rolled = (row for row in rows if row.unit == "bits per byte" and not row.hole)
    return grid(BITS, rolled, caption=caption, style=off)


@dataclass(frozen=True, kw_only=True)
class Ends:
    """A suite score of one cell, with its end of sequence scored and without."""

    key: CellKey
    suite: str
    scored: float
    alone: float


ENDS: Columns[Ends] = (
    label("lineage", lambda each: each.key.label),
    *fields("suite"),
    number("end of sequence scored", lambda each: percent(each.scored)),
    number("not scored", lambda each: percent(each.alone)),
    number("difference, points", lambda each: points(each.scored - each.alone)),
)


def end_grid(panels: Sequence[Panel]) -> Grid:
    """Each cell's suite score under both end-of-sequence options, from the same forward passes."""
    found = []
    for panel in panels:
        if not panel.headline:
            continue
        own, other = panel.scores(), panel.scores(end="other")
        with_end = panel.runs[0].run.suite.scoring.end_of_sequence
        for index, key in enumerate(panel.cells):
            pair = [_seeds_mean(each[index]) for each in (own, other)]
            scored, alone = pair if with_end else reversed(pair)
            found.append(Ends(key=key, suite=panel.suite, scored=scored, alone=alone))
    return grid(
        ENDS,
        found,
        caption="Suite scores under both end-of-sequence options, %",
        style=lambda each: "off" if each.key.off_objective else "",
    )


def _seeds_mean(scores: np.ndarray) -> float:
    known = scores[np.isfinite(scores)]
    return float(known.mean()) if len(known) else math.nan


HOLES: Columns[Row] = (
    *fields("suite"),
    LINEAGE,
    *fields("task"),
    label("finetuning", lambda row: "both" if row.cell == EVERY_CELL else _SHORT[row.stage]),
    words("why", lambda row: hole(row.hole)),
)


def hole_grid(table: Table) -> Grid:
    return grid(HOLES, table.holes(), caption="Planned scores that are not there")
