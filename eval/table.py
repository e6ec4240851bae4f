"""The one table behind every form of a report: what was scored, with errors, tests and holes.

Owns the rows; HTML, Markdown and CSV print them and add nothing. A hole (a planned score that is
not there) is a row too.

Intervals are 95%. With three seeds or more they are Student's t over seeds and items together. With
fewer they are Wilson's over items alone, at the number of independent items that the bootstrap
finds: they say nothing about another seed.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

import numpy as np
from scipy import stats

from eval.cells import CellKey
from eval.panel import Panel, ScoredRun, TaskScores
from eval.statistics import against_chance, effective_trials, holm, wilson
from eval.verdicts import LEAST_SEEDS

SUITE = "(suite)"
Stage = Literal["before finetuning", "before finetuning, off-objective", "after finetuning"]
Finding = Literal["above chance", "below chance: interference", "not told from chance", ""]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One cell on one task, or on the whole suite (task `(suite)`).

    unit: `accuracy` or `bits per byte`. value: median over templates, mean over seeds (and tasks).
    normalised: 0 at chance, 1 at perfect, per task, then the mean. lowest, highest: over templates.
    p: two-sided against chance; p_holm: over all cells and tasks of the stage; method: which test.
    hole: why there is no value. over: of a suite with holes, how many of its data sets the mean is
    over, such as `4 of 11 data sets`.
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
        names = [each.name for each in fields(Row)]
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(names)
        for row in self.rows:
            writer.writerow(["" if (v := getattr(row, name)) is None else v for name in names])
        return out.getvalue()


def build(panels: Sequence[Panel]) -> Table:
    """The table of every panel."""
    return Table(rows=tuple(row for panel in panels for row in _panel_rows(panel)))


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


def _suite_row(panel: Panel, index: int, key: CellKey) -> Row:
    base = _base(panel, key, None, index)
    values = np.stack([each.scores()[index] for each in panel.headline])  # (tasks, S)
    drawn = np.stack([each.bootstrap()[:, index] for each in panel.headline])  # (tasks, R, S)
    chances = np.array([each.task.chance for each in panel.headline])
    groups = sum(len(np.unique(each.groups)) for each in panel.headline)
    everyone = np.stack([each.scores() for each in panel.headline]).mean(axis=0)  # (C, S)
    value, low, high, interval = _interval(
        values.mean(axis=0), drawn.mean(axis=0), everyone=everyone, trials=groups
    )
    # The same affine map takes scores, replicates and all cells to chance-normalised ones.
    scale = 1 / (1 - chances)
    normal = ((values - chances[:, None]) * scale[:, None]).mean(axis=0)
    slope = float(scale.mean())
    centre = float(np.nanmean(normal)) if value is not None else None
    return replace(
        base,
        value=value,
        low=low,
        high=high,
        interval=interval,
        chance=panel.chance,
        normalised=centre,
        normalised_low=_moved(low, value, centre, slope),
        normalised_high=_moved(high, value, centre, slope),
        gold_nats_per_byte=_nats(panel.headline, index),
        over=panel.coverage,
    )


def _moved(
    bound: float | None, value: float | None, centre: float | None, slope: float
) -> float | None:
    if bound is None or value is None or centre is None:
        return None
    return centre + slope * (bound - value)


def _task_row(panel: Panel, task: TaskScores, index: int, key: CellKey) -> Row:
    base = _base(panel, key, task, index)
    if task.rolled is not None:
        return _rolling_row(base, task, index)
    scores = task.scores()
    value, low, high, interval = _interval(
        scores[index],
        task.bootstrap()[:, index],
        everyone=scores,
        trials=len(np.unique(task.groups)),
    )
    if value is None:
        return replace(base, hole="no items")
    chance = task.task.chance
    slope = 1 / (1 - chance) if chance < 1 else math.nan
    centre = (value - chance) * slope
    templates = np.nanmean(task.by_template()[index], axis=0)
    # Seeds are fixed here, like templates: the test is about these models.
    correct = task.correct[index].reshape(-1, task.correct.shape[3]).T
    test = against_chance(correct, task.groups, chance=chance, twins=task.twins and chance == 0.5)
    tested = task.task.metric in ("rank", "rank_contexts", "rank_all")
    return replace(
        base,
        value=value,
        low=low,
        high=high,
        interval=interval,
        chance=chance,
        normalised=centre,
        normalised_low=_moved(low, value, centre, slope),
        normalised_high=_moved(high, value, centre, slope),
        lowest=float(np.nanmin(templates)),
        highest=float(np.nanmax(templates)),
        p=test.p if tested else None,
        method=test.method if tested else "",
        gold_nats_per_byte=_nats((task,), index),
    )


def _rolling_row(base: Row, task: TaskScores, index: int) -> Row:
    values, errors = task.bits_per_byte()
    known = np.isfinite(values[index])
    if not known.any():
        return replace(base, hole="no documents")
    value = float(values[index][known].mean())
    error = float(np.sqrt((errors[index][known] ** 2).mean()))
    return replace(
        base,
        value=value,
        low=value - 1.96 * error,
        high=value + 1.96 * error,
        interval="documents only",
    )


def _nats(tasks: Sequence[TaskScores], index: int) -> float | None:
    """The gold answer's mean log-likelihood per byte: moves where accuracy still sits at chance."""
    values = np.concatenate([each.nats[index].reshape(-1) for each in tasks])
    return float(np.nanmean(values)) if np.isfinite(values).any() else None


def _interval(
    own: np.ndarray, drawn: np.ndarray, *, everyone: np.ndarray, trials: int
) -> tuple[float | None, float | None, float | None, str]:
    """own: (S,) scores of the cell; drawn: (R, S) its replicates; everyone: (C, S)."""
    known = np.isfinite(own)
    if not known.any():
        return None, None, None, ""
    value = float(own[known].mean())
    item_error = float(np.nanstd(drawn[:, known].mean(axis=1)))
    seeds = int(known.sum())
    whole = everyone[np.isfinite(everyone).all(axis=1)]
    if seeds >= LEAST_SEEDS and len(whole):
        variance = float(whole.var(axis=1, ddof=1).mean())
        degrees = len(whole) * (whole.shape[1] - 1)
        error = math.sqrt(variance / seeds + item_error**2)
        if error > 0:
            half = float(stats.t.ppf(0.975, degrees)) * error
            return value, max(0.0, value - half), min(1.0, value + half), "seeds and items"
    low, high = wilson(value, effective_trials(value, item_error, trials))
    return value, low, high, "items only"


def _adjusted(rows: list[Row]) -> list[Row]:
    """Holm over all cells and tasks of one stage, and what it says."""
    for stage in get_args(Stage):
        tested = [i for i, row in enumerate(rows) if row.stage == stage and row.p is not None]
        adjusted = holm([rows[index].p or 0.0 for index in tested])
        for index, p in zip(tested, adjusted, strict=True):
            rows[index] = replace(rows[index], p_holm=p, finding=_finding(rows[index], p))
    return rows


def _finding(row: Row, p: float) -> Finding:
    if p >= 0.05 or row.value is None or row.chance is None:
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
    cell="(every cell)",
    stage="before finetuning",
    tokens=0,
    task=SUITE,
    role="headline",
    metric="mean",
    unit="accuracy",
    seeds=0,
    items=0,
)
