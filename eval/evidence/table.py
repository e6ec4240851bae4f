"""The one table behind every form of a report: what was scored, with errors, tests and holes.

Owns the rows; HTML, Markdown and CSV print them and add nothing. A hole (a planned score that is
not there) is a row too.

Intervals are 95% (`eval.evidence.intervals`). With three seeds or more they are Student's t over
seeds and items together, the seeds' variance pooled over the cells of a stage. With fewer they are
over items alone. Wilson's interval over items stands beside both: it says nothing about another
seed.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np

from eval.evidence import intervals
from eval.evidence.intervals import Interval
from eval.evidence.panel import Panel, ScoredRun
from eval.evidence.published import SUITE
from eval.evidence.statistics import against_chance, holm
from eval.evidence.task_scores import TaskScores
from study.runs.cells import CellKey
from study.runs.measure import Derived, Measure

ALPHA = 0.05
"""Two-sided, over all cells and tasks of a stage."""
Finding = Literal["above chance", "below chance: interference", "not told from chance", ""]


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A further measure of the same items, by the estimator of a row's own."""

    measure: str
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One cell on one task, or on the whole suite (task `(suite)`).

    unit: the measure. value: median over conditions, mean over seeds (and tasks).
    wilson_low, wilson_high: of a share, over items alone, whatever `interval` rests on. normalised:
    of a share, 0 at chance, 1 at perfect, per task, then the mean. lowest, highest: over
    conditions. p: two-sided against chance; p_holm: over all cells and tasks of the stage; method:
    which test; no test where items were invalid. beside: measures that move where a share sits at
    chance. hole: why there is no value. over: of a suite with holes, how many of its data sets the
    mean is over, such as `4 of 11 data sets`. key: the cell, None of a hole of every cell.
    """

    suite: str
    size: str
    cell: str
    stage: str
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
    beside: tuple[Beside, ...] = ()
    skipped: int = 0
    truncated: int = 0
    ties: int = 0
    invalid: int = 0
    hole: str = ""
    over: str = ""
    key: CellKey | None = field(default=None, repr=False)
    measure: Measure | Derived | None = field(default=None, repr=False)

    def of(self, name: str) -> Beside:
        """A further measure by name, of None where the row has none of it."""
        nothing = Beside(measure=name, value=None, low=None, high=None)
        return next((each for each in self.beside if each.measure == name), nothing)

    @property
    def is_share(self) -> bool:
        """Whether its value is one, printed in percent."""
        return isinstance(self.measure, Measure) and self.measure.is_share


@dataclass(frozen=True, kw_only=True)
class Table:
    """Every row, in the order of the plan. beside: the further measures that rows may have."""

    rows: tuple[Row, ...]
    beside: tuple[str, ...] = ()

    def suite_rows(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.task == SUITE)

    def task_rows(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.task != SUITE and not row.hole)

    def holes(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.hole)

    def values(self) -> list[dict[str, Any]]:
        """The rows as plain values by column; each further measure has three columns."""
        return [self._values(row) for row in self.rows]

    def _values(self, row: Row) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in _COLUMNS:
            if name != "beside":
                found[name] = getattr(row, name)
                continue
            for measure in self.beside:
                one = row.of(measure)
                found |= {measure: one.value, f"{measure}_low": one.low}
                found[f"{measure}_high"] = one.high
        return found

    def csv(self) -> str:
        three = [f"{name}{end}" for name in self.beside for end in ("", "_low", "_high")]
        place = _COLUMNS.index("beside")
        return _csv((*_COLUMNS[:place], *three, *_COLUMNS[place + 1 :]), self.values())


_COLUMNS = tuple(each.name for each in fields(Row) if each.name not in ("key", "measure"))


def as_csv(kind: type, rows: Iterable[Any]) -> str:
    """Dataclass values of one kind, with every field."""
    return _csv([each.name for each in fields(kind)], map(vars, rows))


def _csv(names: Sequence[str], rows: Iterable[dict[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow(["" if row[name] is None else row[name] for name in names])
    return out.getvalue()


def build(panels: Sequence[Panel]) -> Table:
    """The table of every panel."""
    beside = dict.fromkeys(
        name
        for panel in panels
        for each in panel.domain.measures
        if isinstance(each, Measure)
        for name in each.beside
    )
    return Table(
        rows=tuple(row for panel in panels for row in _panel_rows(panel)), beside=tuple(beside)
    )


def suite_rows(panel: Panel) -> tuple[Row, ...]:
    """The suite's score of each cell, without the panel's holes."""
    return rows_over(panel, panel.headline)


def rows_over(panel: Panel, tasks: Sequence[TaskScores]) -> tuple[Row, ...]:
    """The suite's score of each cell if these tasks, of one measure, were what counts."""
    if not tasks:
        return ()
    return tuple(_suite_row(panel, tasks, index) for index in range(len(panel.cells)))


EVERY_CELL = "(every cell)"
"""Of a hole that is not one cell's: of every stage, then."""


def _panel_rows(panel: Panel) -> list[Row]:
    rows: list[Row] = []
    for index in range(len(panel.cells)):
        if panel.headline:
            rows.append(_suite_row(panel, panel.headline, index))
        rows.extend(_task_row(panel, each, index) for each in panel.tasks)
        rows.extend(_derived_row(panel, each, index) for each in panel.derived)
    holes = [_hole(panel, each) for each in panel.holes]
    return [*_adjusted(rows), *holes, *_lacking(panel)]


def _of_cell(panel: Panel, key: CellKey) -> Row:
    """A row of the suite with nothing in it yet."""
    return replace(
        _blank(panel),
        cell=key.label,
        stage=key.stage_label,
        tokens=key.tokens,
        key=key,
    )


def _blank(panel: Panel) -> Row:
    return Row(
        suite=panel.suite,
        size=panel.size,
        cell=EVERY_CELL,
        stage="",
        tokens=0,
        task=SUITE,
        role="headline",
        metric="mean",
        unit=panel.measure.name,
        measure=panel.measure,
        seeds=0,
        items=0,
    )


def _counted(panel: Panel, key: CellKey, task: TaskScores | None) -> Row:
    """With seeds, and with what was counted over seeds and conditions."""
    runs = [each for each in panel.runs if each.key == key]
    row = replace(
        _of_cell(panel, key),
        seeds=len({each.seed for each in runs}),
        skipped=_count(runs, task, "skipped"),
        truncated=_count(runs, task, "truncated"),
        ties=_count(runs, task, "ties"),
        invalid=_count(runs, task, "invalid"),
    )
    if task is None:
        return row
    return replace(
        row,
        task=task.task.name,
        role=task.task.shown_as,
        metric=task.task.scored_by,
        unit=task.measure.name,
        measure=task.measure,
    )


def _items(task: TaskScores, cell: int) -> int:
    return int(task.known[cell].any(axis=(0, 1)).sum())


def _count(runs: Sequence[ScoredRun], task: TaskScores | None, name: str) -> int:
    """Of what a domain counts beside its items."""
    total = 0
    for each in runs:
        for entry in (each.results or {}).get("tasks", {}).values():
            if task is None or entry["task"] == task.task.name:
                found = entry.get(name, 0)
                total += sum(found.values()) if isinstance(found, dict) else found
    return total


def _suite_row(panel: Panel, tasks: Sequence[TaskScores], index: int) -> Row:
    key, measure = panel.cells[index], tasks[0].measure
    base = replace(
        _counted(panel, key, None),
        unit=measure.name,
        measure=measure,
        items=sum(_items(each, index) for each in tasks),
    )
    values = np.stack([each.scores() for each in tasks])  # (tasks, C, S)
    drawn = np.stack([each.bootstrap()[:, index] for each in tasks])  # (tasks, R, S)
    stage = _same_stage(panel, key)
    row = _measured(
        base,
        values[:, index].mean(axis=0),
        drawn.mean(axis=0),
        stage=values.mean(axis=0)[stage],
        trials=sum(each.independent for each in tasks),
    )
    if row.value is None:
        return replace(base, hole="no valid item of some task")
    row = replace(row, over=panel.coverage, beside=_beside(tasks, index, stage=stage))
    chances = [each.at_chance for each in tasks]
    if not measure.is_share or None in chances:
        return row
    # The same affine map takes scores, replicates and all cells to chance-normalised ones.
    known = np.array(chances, dtype=float)
    scale = 1 / (1 - known)
    normal = float(np.nanmean(((values[:, index] - known[:, None]) * scale[:, None]).mean(axis=0)))
    return _normalised(row, chance=float(known.mean()), centre=normal, slope=float(scale.mean()))


def _measured(
    base: Row, own: np.ndarray, drawn: np.ndarray, *, stage: np.ndarray, trials: int
) -> Row:
    """With a value and its intervals, as `intervals` takes them: a share's, or another number's."""
    if not base.is_share:
        return _valued(base, intervals.mean(own, drawn, stage=stage, trials=trials))
    low, high = intervals.over_items(own, drawn, trials=trials)
    row = _valued(base, intervals.share(own, drawn, stage=stage, trials=trials))
    return replace(row, wilson_low=low, wilson_high=high)


def _valued(base: Row, found: Interval) -> Row:
    return replace(base, value=found.value, low=found.low, high=found.high, interval=found.basis)


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


def _same_stage(panel: Panel, key: CellKey) -> list[int]:
    """The cells whose seeds vary alike, by assumption."""
    return [i for i, each in enumerate(panel.cells) if each.stage == key.stage]


def _beside(tasks: Sequence[TaskScores], index: int, *, stage: Sequence[int]) -> tuple[Beside, ...]:
    """The mean over tasks of what every one of them has."""
    found = []
    for measure in tasks[0].others:
        if not all(measure in each.others and each.has(measure) for each in tasks):
            continue
        values = np.mean([each.values(measure) for each in tasks], axis=0)
        drawn = np.mean([each.replicates(measure)[:, index] for each in tasks], axis=0)
        one = intervals.mean(
            values[index],
            drawn,
            stage=values[list(stage)],
            trials=sum(each.independent for each in tasks),
        )
        found.append(Beside(measure=measure.name, value=one.value, low=one.low, high=one.high))
    return tuple(found)


def _task_row(panel: Panel, task: TaskScores, index: int) -> Row:
    key = panel.cells[index]
    base = replace(_counted(panel, key, task), items=_items(task, index))
    scores, drawn = task.scores(), task.bootstrap()[:, index]
    stage = _same_stage(panel, key)
    row = _measured(base, scores[index], drawn, stage=scores[stage], trials=task.independent)
    if row.value is None:
        return replace(base, hole=_missing(base, task))
    each = task.by_condition()[index]
    each = np.array([np.nanmean(one) for one in each.T if np.isfinite(one).any()])
    row = replace(
        row,
        lowest=float(each.min()),
        highest=float(each.max()),
        beside=_beside((task,), index, stage=stage),
        **_tested(task, index, invalid=base.invalid),
    )
    chance = task.at_chance
    if chance is None or not task.measure.is_share:
        return row
    assert row.value is not None
    slope = 1 / (1 - chance)  # a task's chance is below 1
    return _normalised(row, chance=chance, centre=(row.value - chance) * slope, slope=slope)


def _missing(row: Row, task: TaskScores) -> str:
    """Why there is no value. Of a share an invalid item is a wrong one, unless none is valid; what
    has no bounds has no value where one item has none.
    """
    if not row.invalid:
        return f"no {task.measure.items}"
    if task.measure.is_share:
        return "no valid item"
    return f"{row.invalid} {task.measure.items} could not be scored"


def _tested(task: TaskScores, index: int, *, invalid: int) -> dict[str, Any]:
    """Seeds are fixed here, like conditions: the test is about these models. Invalid items count as
    wrong, so a test would call a broken model's zeros interference.
    """
    chance = task.at_chance
    if not task.measure.is_share or invalid or chance is None or not 0 < chance < 1:
        return {}
    answers = task.answers[index].reshape(-1, task.answers.shape[3]).T
    test = against_chance(answers, task.groups, chance=chance, twins=task.twins and chance == 0.5)
    return {"p": test.p, "method": test.method}


def _derived_row(panel: Panel, derived: Derived, index: int) -> Row:
    """A number made of several tasks' scores."""
    key = panel.cells[index]
    own = [each for each in panel.tasks if each.task.name in derived.tasks]
    values, drawn = panel.made(derived)
    base = replace(
        _counted(panel, key, None),
        task=derived.name,
        role="derived",
        metric="derived",
        unit=derived.name,
        measure=derived,
        items=sum(_items(each, index) for each in own),
    )
    found = intervals.mean(
        values[index],
        drawn[:, index],
        stage=values[_same_stage(panel, key)],
        trials=sum(each.independent for each in own),
    )
    if found.value is None:
        return replace(base, hole="no valid item of some task")
    return _valued(base, found)


def _adjusted(rows: list[Row]) -> list[Row]:
    """Holm over all cells and tasks of one stage, and what it says."""
    for stage in dict.fromkeys(row.stage for row in rows):
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
    return [
        replace(_blank(panel), task=each.name, hole=f"{each.reason} (wanted: {each.wanted})")
        for each in panel.lacking
    ]


def _hole(panel: Panel, scored: ScoredRun) -> Row:
    row = _of_cell(panel, scored.key)
    return replace(row, hole=f"seed {scored.seed}: {scored.hole}")
