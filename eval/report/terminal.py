"""What `study eval` prints: the scores of a plan as a table, or as JSON.

Owns which columns are shown; the rows are the report's own (`eval.evidence.table`). Where a sweep
declares PUBLISHED numbers, the table of differences follows (`eval.evidence.calibration`).
"""

from __future__ import annotations

from eval.evidence import calibration, table
from eval.evidence.panel import panels
from eval.evidence.table import Row
from study.runs.plan import Sweep
from study.show import terminal
from study.show.columns import Columns, fields, words
from study.store.directory import Store


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _interval(row: Row) -> str:
    return "" if row.low is None or row.high is None else f"{row.low:.3f} to {row.high:.3f}"


COLUMNS: Columns[Row] = (
    words("lineage", lambda row: row.cell),
    *fields("stage", "task"),
    words("score", lambda row: _share(row.value)),
    words("95% interval", _interval),
    words("chance", lambda row: _share(row.chance)),
    words("items", lambda row: str(row.items)),
    words("note", lambda row: row.hole or row.over or row.finding),
)


def show_scores(sweep: Sweep, *, store: Store, as_json: bool) -> None:
    found = table.build(panels(sweep.runs, store=store))
    if as_json:
        terminal.values(found.values())
        return
    terminal.show(COLUMNS, found.rows)
    here = {run.slug for run in sweep.runs}  # of a plan of one checkpoint, not the others' holes
    compared = [row for row in calibration.of_sweep(sweep, store=store) if row.checkpoint in here]
    if compared:
        print()
        calibration.show(compared)
