"""What `study overlap` does: count every corpus against every suite of a sweep, and print it.

Owns which evaluations are gone through; the counting is `study.language.scores.contamination`'s.
"""

from __future__ import annotations

import json
from dataclasses import asdict

from eval.evidence.clean_scores import TaskOverlap, overlaps
from eval.evidence.panel import panels
from study.language.scores import contamination
from study.runs.node import Evaluation
from study.runs.plan import Sweep
from study.show import terminal as display
from study.sources.content import Access
from study.store.directory import Store, log_warning, status


def show(sweep: Sweep, *, store: Store, access: Access, as_json: bool) -> int:
    """Exit code: 1 where something could not be counted, else 0."""
    problems: dict[str, None] = {}
    for run in sweep.runs:
        if isinstance(run, Evaluation) and status(run, store) == "done":
            tasks = contamination.tasks_of(run, store=store)
            problems |= dict.fromkeys(
                contamination.ensure(run, tasks=tasks, store=store, access=access, limit=None)
            )
    found: dict[TaskOverlap, None] = {}
    for panel in panels(sweep.runs, store=store):
        found |= dict.fromkeys(overlaps(panel, store=store))
    for each in problems:
        log_warning(each)
    if as_json:
        print(json.dumps([asdict(each) for each in found], indent=1))
    else:
        columns = ("suite", "task", "corpus", "rows", "hits", "too short", "n-grams found")
        display.table(columns, [_line(each) for each in found])
    return 1 if problems else 0


def _line(each: TaskOverlap) -> tuple[str, ...]:
    share = f"{each.found:,} of {each.grams:,}"
    counts = (str(each.rows), str(each.hits), str(each.short))
    return each.suite, each.task, each.corpus, *counts, share
