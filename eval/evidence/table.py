"""The one table behind every form of a report: what was scored, with errors, tests and holes.

Owns the rows; HTML, Markdown and CSV print them and add nothing. A hole (a planned score that is
not there) is a row too.

Intervals are 95% (`eval.evidence.intervals`). With three seeds or more they are Student's t over
seeds and items together, the seeds' variance pooled over the cells of a stage. With fewer they are
over items alone. Wilson's interval over items stands beside both: it says nothing about another
seed.

Owns which rows make a pair too: one pretraining lineage before and after its finetuning, at one
token budget.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

import numpy as np

from eval.evidence import intervals
from eval.evidence.budgets import CLOSE
from eval.evidence.panel import Continuous, Panel, ScoredRun, TaskScores
from eval.evidence.published import SUITE
from eval.evidence.statistics import against_chance, holm
from study.runs.cells import CellKey

ALPHA = 0.05
"""Two-sided, over all cells and tasks of a stage."""
Stage = Literal["before finetuning", "before finetuning, off-objective", "after finetuning"]
Finding = Literal["above chance", "below chance: interference", "not told from chance", ""]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One cell on one task, or on the whole suite (task `(suite)`).

    unit: `accuracy` or `bits per byte`. value: median over templates, mean over seeds (and tasks).
    wilson_low, wilson_high: over items alone, whatever `interval` rests on. normalised: 0 at
    chance, 1 at perfect, per task, then the mean. lowest, highest: over
    templates. p: two-sided against chance; p_holm: over all cells and tasks of the stage; method:
    which test; no test where items were invalid. gold_nats_per_byte, margin (nats), brier: by the
    estimator of `value`; they move where accuracy sits at chance. hole: why there is no value.
    over: of a suite with holes, how many of its data sets the mean is over, such as `4 of 11 data
    sets`.
    """

    suite: str
    size: str
    cell: str
    stage: Stage
    tokens: int
    task: str
    role: str
    metric: str
    unit: str
    seeds: int
    items: int
    value: float | None = None
    low: float | None = None
    high: float | None = None
    interval: str = ""
    wilson_low: float | None = None
    wilson_high: float | None = None
    chance: float | None = None
    normalised: float | None = None
    normalised_low: float | None = None
    normalised_high: float | None = None
    lowest: float | None = None
    highest: float | None = None
    p: float | None = None
    p_holm: float | None = None
    method: str = ""
    finding: Finding = ""
    gold_nats_per_byte: float | None = None
    gold_nats_per_byte_low: float | None = None
    gold_nats_per_byte_high: float | None = None
    margin: float | None = None
    margin_low: float | None = None
    margin_high: float | None = None
    brier: float | None = None
    brier_low: float | None = None
    brier_high: float | None = None
    skipped: int = 0
    truncated: int = 0
    ties: int = 0
    invalid: int = 0
    hole: str = ""
    over: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Every row, in the order of the plan."""

    rows: tuple[Row, ...]

    def suite_rows(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.task == SUITE)

    def task_rows(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.task != SUITE and not row.hole)

    def holes(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.hole)

    def csv(self) -> str:
        return as_csv(Row, self.rows)


def as_csv(kind: type, rows: Iterable[Any]) -> str:
    """Dataclass values of one kind, with every field."""
    names = [each.name for each in fields(kind)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow(["" if (v := getattr(row, name)) is None else v for name in names])
    return out.getvalue()


def build(panels: Sequence[Panel]) -> Table:
    """The table of every panel."""
    return Table(rows=tuple(row for panel in panels for row in _panel_rows(panel)))


def suite_rows(panel: Panel) -> tuple[Row, ...]:
    """The suite's score of each cell, without the panel's holes."""
    if not panel.headline:
        return ()
    return tuple(_suite_row(panel, index, key) for index, key in enumerate(panel.cells))


EVERY_CELL = "(every cell)"
"""Of a hole that is not one cell's: of both stages, then."""


def stage_of(key: CellKey) -> Stage:
    if key.finetuned:
        return "after finetuning"
    return "before finetuning, off-objective" if key.off_objective else "before finetuning"


def _panel_rows(panel: Panel) -> list[Row]:
    rows: list[Row] = []
    for index, key in enumerate(panel.cells):
        if panel.headline:
            rows.append(_suite_row(panel, index, key))
        rows.extend(_task_row(panel, each, index, key) for each in panel.tasks)
    holes = [_hole(panel, each) for each in panel.holes]
    return [*_adjusted(rows), *holes, *_lacking(panel)]


def _base(panel: Panel, key: CellKey, task: TaskScores | None, index: int) -> Row:
    runs = [each for each in panel.runs if each.key == key]
    return Row(
        suite=panel.suite,
        size=panel.size,
        cell=key.label,
        stage=stage_of(key),
        tokens=key.tokens,
        task=task.task.name if task else SUITE,
        role=task.task.role if task else "headline",
        metric=task.task.metric if task else "mean",
        unit="bits per byte" if task and task.rolled is not None else "accuracy",
        seeds=len({each.seed for each in runs}),
        items=_items(task, index) if task else sum(_items(each, index) for each in panel.headline),
        skipped=_count(runs, task, "skipped"),
        truncated=_count(runs, task, "truncated"),
        ties=_count(runs, task, "ties"),
        invalid=_count(runs, task, "invalid"),
    )


def _items(task: TaskScores, cell: int) -> int:
    if task.rolled is not None:
        return int((task.rolled[1, cell] > 0).any(axis=0).sum())
    return int(np.isfinite(task.correct[cell]).any(axis=(0, 1)).sum())


def _count(runs: Sequence[ScoredRun], task: TaskScores | None, name: str) -> int:
    """Summed over seeds and templates."""
    total = 0
    for each in runs:
        for entry in (each.results or {})["tasks"].values():
            if task is None or entry["task"] == task.task.name:
                total += sum(entry[name].values()) if name == "skipped" else entry[name]
    return total


_CONTINUOUS: tuple[tuple[Continuous, str], ...] = (
    ("nats", "gold_nats_per_byte"),
    ("margin", "margin"),
    ("brier", "brier"),
)


def _suite_row(panel: Panel, index: int, key: CellKey) -> Row:
    base = _base(panel, key, None, index)
    values = np.stack([each.scores() for each in panel.headline])  # (tasks, C, S)
    drawn = np.stack([each.bootstrap()[:, index] for each in panel.headline])  # (tasks, R, S)
    chances = np.array([each.task.chance for each in panel.headline])
    groups = sum(each.independent for each in panel.headline)
    stage = same_stage(panel, key)
    row = _measured(
        base,
        values[:, index].mean(axis=0),
        drawn.mean(axis=0),
        stage=values.mean(axis=0)[stage],
        trials=groups,
    )
    if row.value is None:
        return replace(base, hole="no valid item of some task")
    # The same affine map takes scores, replicates and all cells to chance-normalised ones.
    scale = 1 / (1 - chances)
    normal = float(
        np.nanmean(((values[:, index] - chances[:, None]) * scale[:, None]).mean(axis=0))
    )
    return replace(
        _normalised(row, chance=panel.chance, centre=normal, slope=float(scale.mean())),
        over=panel.coverage,
        **_continuous(panel.headline, index, stage=stage),
    )


def _measured(
    base: Row, own: np.ndarray, drawn: np.ndarray, *, stage: np.ndarray, trials: int
) -> Row:
    """With an accuracy and both of its intervals, as `intervals.share` takes them."""
    found = intervals.share(own, drawn, stage=stage, trials=trials)
    low, high = intervals.over_items(own, drawn, trials=trials)
    return replace(
        base,
        value=found.value,
        low=found.low,
        high=found.high,
        interval=found.basis,
        wilson_low=low,
        wilson_high=high,
    )


def _normalised(row: Row, *, chance: float, centre: float, slope: float) -> Row:
    def moved(bound: float | None) -> float | None:
        if bound is None or row.value is None:
            return None
        return centre + slope * (bound - row.value)

    return replace(
        row,
        chance=chance,
        normalised=centre,
        normalised_low=moved(row.low),
        normalised_high=moved(row.high),
    )


def same_stage(panel: Panel, key: CellKey) -> list[int]:
    """The cells whose seeds vary alike, by assumption: those finetuned, or those not."""
    return [i for i, each in enumerate(panel.cells) if each.finetuned == key.finetuned]


def _continuous(
    tasks: Sequence[TaskScores], index: int, *, stage: Sequence[int]
) -> dict[str, float | None]:
    """The mean over tasks of what every one of them has."""
    columns: dict[str, float | None] = {}
    for name, column in _CONTINUOUS:
        found = [each.continuous(name) for each in tasks if np.isfinite(each.values(name)).any()]
        if not found or (name != "nats" and len(found) < len(tasks)):
            continue
        values = np.mean([value for value, _ in found], axis=0)
        drawn = np.mean([each[:, index] for _, each in found], axis=0)
        one = intervals.mean(
            values[index],
            drawn,
            stage=values[list(stage)],
            trials=sum(each.independent for each in tasks),
        )
        columns |= {column: one.value, f"{column}_low": one.low, f"{column}_high": one.high}
    return columns


def _task_row(panel: Panel, task: TaskScores, index: int, key: CellKey) -> Row:
    base = _base(panel, key, task, index)
    if task.rolled is not None:
        return _rolling_row(base, task, index)
    scores, drawn = task.scores(), task.bootstrap()[:, index]
    stage = same_stage(panel, key)
    row = _measured(base, scores[index], drawn, stage=scores[stage], trials=task.independent)
    if row.value is None:
        return replace(base, hole="no valid item" if base.invalid else "no items")
    chance = task.task.chance
    slope = 1 / (1 - chance)  # a SuiteTask's chance is below 1
    templates = task.by_template()[index]
    templates = np.array([np.nanmean(each) for each in templates.T if np.isfinite(each).any()])
    return replace(
        _normalised(row, chance=chance, centre=(row.value - chance) * slope, slope=slope),
        lowest=float(templates.min()),
        highest=float(templates.max()),
        **_tested(task, index, invalid=base.invalid),
        **_continuous((task,), index, stage=stage),
    )


def _tested(task: TaskScores, index: int, *, invalid: int) -> dict[str, Any]:
    """Seeds are fixed here, like templates: the test is about these models. Invalid items count as
    wrong, so a test would call a broken model's zeros interference.
    """
    chance = task.task.chance
    if task.task.metric in ("greedy", "greedy_any") or invalid or not 0 < chance < 1:
        return {}
    correct = task.correct[index].reshape(-1, task.correct.shape[3]).T
    test = against_chance(correct, task.groups, chance=chance, twins=task.twins and chance == 0.5)
    return {"p": test.p, "method": test.method}


def _rolling_row(base: Row, task: TaskScores, index: int) -> Row:
    values, errors = task.bits_per_byte()
    known = np.isfinite(values[index])
    if not known.any():
        return replace(base, hole="letters without a token" if base.invalid else "no documents")
    value = float(values[index][known].mean())
    if base.items < 2:
        return replace(base, value=value)
    error = float(np.sqrt((errors[index][known] ** 2).mean()))
    return replace(
        base,
        value=value,
        low=value - 1.96 * error,
        high=value + 1.96 * error,
        interval="documents only",
    )


def _adjusted(rows: list[Row]) -> list[Row]:
    """Holm over all cells and tasks of one stage, and what it says."""
    for stage in get_args(Stage):
        tested = [i for i, row in enumerate(rows) if row.stage == stage and row.p is not None]
        found = holm([rows[index].p or 0.0 for index in tested], alpha=ALPHA)
        for index, each in zip(tested, found, strict=True):
            finding = _finding(rows[index], each.p)
            rows[index] = replace(rows[index], p_holm=each.p, finding=finding)
    return rows


def _finding(row: Row, p: float) -> Finding:
    if p >= ALPHA or row.value is None or row.chance is None:
        return "not told from chance"
    return "above chance" if row.value > row.chance else "below chance: interference"


def _lacking(panel: Panel) -> list[Row]:
    """One row for each data set that the suite has no rows of, whatever the cell."""
    blank = replace(_BLANK, suite=panel.suite, size=panel.size)
    return [
        replace(blank, task=each.name, hole=f"{each.reason} (wanted: {each.wanted})")
        for each in panel.lacking
    ]


def _hole(panel: Panel, scored: ScoredRun) -> Row:
    return replace(
        _BLANK,
        suite=panel.suite,
        size=panel.size,
        cell=scored.key.label,
        stage=stage_of(scored.key),
        tokens=scored.key.tokens,
        hole=f"seed {scored.seed}: {scored.hole}",
    )


_BLANK = Row(
    suite="",
    size="",
    cell=EVERY_CELL,
    stage="before finetuning",
    tokens=0,
    task=SUITE,
    role="headline",
    metric="mean",
    unit="accuracy",
    seeds=0,
    items=0,
)


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
