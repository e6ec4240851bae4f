"""What `study eval` prints: the scores of a plan as a table, or as JSON.

Owns which columns are shown; the rows are the report's own (`eval.evidence.table`). Where a sweep
declares PUBLISHED numbers, the table of differences follows (`eval.evidence.calibration`).
"""

from __future__ import annotations

import json
from dataclasses import asdict

from eval.evidence import calibration, table
from eval.evidence.panel import panels
from eval.evidence.table import Row
from study.runs.plan import Sweep
from study.show import terminal as display
from study.store.directory import Store


def show_scores(sweep: Sweep, *, store: Store, as_json: bool) -> None:
    rows = table.build(panels(sweep.runs, store=store)).rows
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return
    columns = ("lineage", "stage", "task", "score", "95% interval", "chance", "items", "note")
    display.table(columns, [_line(row) for row in rows])
    here = {run.slug for run in sweep.runs}  # of a plan of one checkpoint, not the others' holes
    compared = [row for row in calibration.of_sweep(sweep, store=store) if row.checkpoint in here]
    if compared:
        print()
        calibration.show(compared)


def _line(row: Row) -> tuple[str, ...]:
    value = "" if row.value is None else f"{row.value:.3f}"
    known = row.low is not None and row.high is not None
    interval = f"{row.low:.3f} to {row.high:.3f}" if known else ""
    chance = "" if row.chance is None else f"{row.chance:.3f}"
    note = row.hole or row.over or row.finding
    return row.cell, row.stage, row.task, value, interval, chance, str(row.items), note
