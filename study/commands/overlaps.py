"""What `study overlap` does: count every corpus against every suite of a sweep, and print it.

Owns which evaluations are gone through; the counting is `study.language.scores.contamination`'s.
"""

from __future__ import annotations

from eval.evidence.clean_scores import TaskOverlap, overlaps
from eval.evidence.panel import panels
from study.language.scores import contamination
from study.runs.node import Evaluation
from study.runs.plan import Sweep
from study.show import terminal
from study.show.columns import Columns, fields, words
from study.show.terminal import log_warning
from study.sources.content import Access
from study.store.directory import Store, status

COLUMNS: Columns[TaskOverlap] = (
    *fields("suite", "task", "corpus"),
    words("rows", lambda each: str(each.rows)),
    words("hits", lambda each: str(each.hits)),
    words("too short", lambda each: str(each.short)),
    words("n-grams found", lambda each: f"{each.found:,} of {each.grams:,}"),
)


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
        terminal.values(list(found))
    else:
        terminal.show(COLUMNS, found)
    return 1 if problems else 0
