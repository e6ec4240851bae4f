"""Tables of scores as plain cells, and the columns with which many tables begin.

HTML, Markdown and LaTeX print the same ones; how a number is written is `study.show.numbers`'.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from eval.evidence.lines import CellLine, lines, stages
from eval.evidence.panel import Panel
from eval.evidence.table import SUITE, Row, Table
from eval.report.sources import of_row
from study.runs.cells import CellKey, CellStage
from study.runs.measure import Derived, Measure
from study.runs.reporting import Words
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
from study.show.table import Cell, Grid, Head, hole, line


class OfCell(Protocol):
    """Whatever is told of one cell."""

    @property
    def cell(self) -> str: ...
    @property
    def stage(self) -> str: ...
    @property
    def tokens(self) -> int: ...


LINEAGE: Column[OfCell] = label("lineage", lambda row: row.cell)
_FOUND = {
    "above chance": "above",
    "below chance: interference": "below (interference)",
    "not told from chance": "not told apart",
    "": "not tested",
}


def budget_column(named: Words) -> Column[OfCell]:
    return number(named.budget, lambda row: count(row.tokens))


def stage_column(named: Words) -> Column[Any]:
    """Of rows with a `stage`; a domain of one stage has no such column."""
    return Column(name=named.stage, of=lambda row: row.stage, kind="w", optional=True)


def cell_columns(named: Words) -> Columns[OfCell]:
    """What tables by cell begin with."""
    return (LINEAGE, stage_column(named), budget_column(named))


def _short(row: Row) -> str:
    """The stage in a word; of a hole of every cell, all of them."""
    if row.key is None:
        return "all"
    note = f" ({row.key.note})" if row.key.note else ""
    return f"{row.key.stage.short}{note}".strip()


def _short_stage(named: Words) -> Column[Row]:
    return Column(name=named.stage, of=_short, kind="w", optional=True)


def _row_columns(named: Words) -> Columns[Row]:
    return (LINEAGE, _short_stage(named), budget_column(named))


def off(row: Row) -> str:
    """The style of a row that its note keeps apart."""
    return "off" if row.key is not None and row.key.note else ""


def written(measure: Measure | Derived | None) -> Callable[[float | None], str]:
    """How a value of the measure is printed: a share in percent."""
    return percent if isinstance(measure, Measure) and measure.is_share else decimal


def unit(measure: Measure | Derived | None) -> str:
    """What stands behind the name of a column of its values."""
    return ", %" if isinstance(measure, Measure) and measure.is_share else ""


def headline_grid(panel: Panel, rows: Sequence[Row], *, caption: str) -> Grid:
    """One lineage a line, its stages side by side; cells that a note keeps apart are marked. rows:
    of one suite and size.
    """
    own = [row for row in rows if row.task == SUITE]
    found = lines(own)
    places = stages(own)
    share = panel.measure.is_share
    stage: Head = (
        (_scored(panel), "n"),
        *((("over chance", "n"), ("its 95% interval", "n")) if share else (("95% interval", "n"),)),
        ("seeds", "n"),
    )
    named = panel.reporting.words
    return Grid(
        caption=caption,
        head=(("lineage", "w"), (named.budget, "n"), *stage * len(places)),
        groups=(("", 2), *((each.name, len(stage)) for each in places))
        if any(each.name for each in places)
        else (),
        rows=tuple(
            line(
                each.label,
                count(each.tokens) if each.tokens else "not known",
                *(cell for at in places for cell in _stage_cells(each, at, share=share)),
                style="block" if place and each.tokens != found[place - 1].tokens else "",
            )
            for place, each in enumerate(found)
        ),
    )


def _scored(panel: Panel) -> str:
    """The name of the column of the suite's score."""
    measure = panel.measure
    if not measure.is_share:
        return f"{measure.name} ({measure.better} is better)"
    return f"score, % (guessing: {percent(panel.chance)})"


def _stage_cells(own: CellLine, stage: CellStage, *, share: bool) -> tuple[Cell, ...]:
    """Score, of a share the chance-normalised one too, its interval, seeds that are there of those
    planned.
    """
    holes = [each for each in own.holes if each.key is not None and each.key.stage == stage]
    row = own.scores.get(stage)
    width = 4 if share else 3
    if row is None:
        if holes:
            seeds = Cell(text=f"0 of {len(holes)}")
            return (hole(_why(holes)), *[Cell(text=DASH)] * (width - 2), seeds)
        return (Cell(text=DASH),) * width
    seeds = str(row.seeds) if not holes else f"{row.seeds} of {row.seeds + len(holes)}"
    style = off(row)
    if share:
        interval = between(row.normalised_low, row.normalised_high, over_chance)
        more = (over_chance(row.normalised), interval)
    else:
        more = (between(row.low, row.high, decimal),)
    return (
        Cell(text=written(row.measure)(row.value), style=style, href=of_row(row)),
        *(Cell(text=each, style=style) for each in more),
        Cell(text=seeds, style="hole" if holes else ""),
    )


LONGEST_WHY = 40
"""Letters of a reason in a table of numbers; the whole stands in the section on holes."""


def _why(holes: Sequence[Row]) -> str:
    """Why a score is missing, its seeds together."""
    reasons = dict.fromkeys(each.hole.partition(": ")[2] or each.hole for each in holes)
    whole = "; ".join(reasons)
    return "hole: " + (whole if len(whole) <= LONGEST_WHY else whole[:LONGEST_WHY].rstrip() + "…")


def suite_grid(panel: Panel, rows: Sequence[Row], *, caption: str) -> Grid:
    """Stage by stage, budget by budget; cells that a note keeps apart last."""
    measure = panel.measure
    columns: Columns[Row] = (
        *_row_columns(panel.reporting.words),
        number("seeds", lambda row: str(row.seeds)),
        number(_scored(panel), _score),
        number("95% interval", _interval),
        *((_OVER_CHANCE,) if measure.is_share else ()),
        *(_beside(panel, name) for name in measure.beside[:1]),
    )
    return grid(
        columns,
        _in_order(row for row in rows if row.task == SUITE),
        caption=caption,
        style=off,
        block=lambda row: (row.stage, row.tokens),
    )


_OVER_CHANCE: Column[Row] = number("over chance (0 to 1)", lambda row: over_chance(row.normalised))


def _beside(panel: Panel, name: str) -> Column[Row]:
    (measure,) = (each for each in panel.domain.measures if each.name == name)
    heading = f"{measure.title or name} ({measure.better} is better)"
    return number(heading, lambda row: decimal(row.of(name).value))


def _in_order(rows: Iterable[Row]) -> list[Row]:
    def place(row: Row) -> tuple[bool, int, int]:
        if row.key is None:
            return False, 0, row.tokens
        return bool(row.key.note), row.key.stage.place, row.tokens

    return sorted(rows, key=place)


def _score(row: Row) -> Cell:
    if row.hole:
        return hole(row.hole)
    return Cell(text=written(row.measure)(row.value), href=of_row(row))


def _interval(row: Row) -> str:
    return between(row.low, row.high, written(row.measure))


def _task(row: Row) -> str:
    role = "" if row.role == "headline" else f" ({row.role})"
    return row.task + role + (" (greedy)" if row.metric in ("greedy", "greedy_any") else "")


def _finding(row: Row) -> Cell:
    side = row.finding.split(" ")[0]
    return Cell(text=_FOUND[row.finding], style=side if side in ("above", "below") else "")


def task_grid(panel: Panel, rows: Sequence[Row], *, caption: str) -> Grid:
    """Shares with tests against guessing."""
    named = panel.reporting.words
    columns: Columns[Row] = (
        *_row_columns(named),
        label("task", _task),
        number("accuracy, %", _score),
        number("95% interval", _interval),
        number("guessing", lambda row: percent(row.chance)),
        number("over chance", lambda row: over_chance(row.normalised)),
        number(f"over {named.conditions}", lambda row: between(row.lowest, row.highest)),
        number("p", lambda row: p_value(row.p)),
        number("p (Holm)", lambda row: p_value(row.p_holm)),
        label("against guessing", _finding),
    )
    asked = (row for row in rows if row.task != SUITE and row.is_share)
    return grid(columns, _in_order(asked), caption=caption, style=off)


def numbers(rows: Iterable[Row]) -> list[Measure | Derived]:
    """The measures that are no share, each with a table of its own."""
    found = (row.measure for row in rows if not row.is_share and not row.hole and row.task != SUITE)
    return list(dict.fromkeys(each for each in found if each is not None))


def number_grid(
    panel: Panel, rows: Sequence[Row], measure: Measure | Derived, *, caption: str
) -> Grid:
    """One measure that is no share: every cell on every task that it scores."""
    named = panel.reporting.words
    items = measure.items if isinstance(measure, Measure) else "items"
    columns: Columns[Row] = (
        LINEAGE,
        _short_stage(named),
        words("task", lambda row: row.task),
        number(items, lambda row: count(row.items)),
        number(f"{measure.name} ({measure.better} is better)", _score),
        number("95% interval", _interval),
        words("error over", lambda row: row.interval or DASH),
    )
    own = (row for row in rows if row.measure == measure and row.task != SUITE and not row.hole)
    return grid(columns, own, caption=caption, style=off)


@dataclass(frozen=True, kw_only=True)
class Options:
    """A suite score of one cell under both options of the scoring rule."""

    key: CellKey
    suite: str
    own: float
    other: float


OPTIONS: Columns[Options] = (
    label("lineage", lambda each: each.key.label),
    *fields("suite"),
    number("as scored", lambda each: percent(each.own)),
    number("the other way round", lambda each: percent(each.other)),
    number("difference, points", lambda each: points(each.own - each.other)),
)


def option_grid(panels: Sequence[Panel]) -> Grid:
    """Each cell's suite score under both options, from the same forward passes."""
    found = []
    option = ""
    for panel in panels:
        if not panel.headline or not panel.measure.otherwise:
            continue
        option = panel.measure.option
        own, other = panel.scores(), panel.scores(option="other")
        for index, key in enumerate(panel.cells):
            pair = [_seeds_mean(each[index]) for each in (own, other)]
            found.append(Options(key=key, suite=panel.suite, own=pair[0], other=pair[1]))
    return grid(
        OPTIONS,
        found,
        caption=f"Suite scores under both options: {option}, %",
        style=lambda each: "off" if each.key.note else "",
    )


def _seeds_mean(scores: np.ndarray) -> float:
    known = scores[np.isfinite(scores)]
    return float(known.mean()) if len(known) else math.nan


def hole_grid(table: Table, *, named: Words) -> Grid:
    columns: Columns[Row] = (
        *fields("suite"),
        LINEAGE,
        *fields("task"),
        _short_stage(named),
        words("why", lambda row: hole(row.hole)),
    )
    return grid(columns, table.holes(), caption="Planned scores that are not there")
