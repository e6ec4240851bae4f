"""Our scores of public checkpoints beside published ones: is a suite to be trusted?

Owns the rows of that comparison and its words. Each checkpoint stands alone, since checkpoints with
different tokenizers are never compared with one another here. Knows nothing of the hub: what a
checkpoint is called and where its numbers were read are the sweep's data
(`eval.evidence.published`).

A number is inside where it lies in the 95% interval of our own, which is Wilson's at the number of
independent items that the bootstrap over items finds. The published number was measured on the same
items, so outside means another prompt, another rule or an error; inside proves little on a small
data set, which is why the interval is shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from eval.evidence import table
from eval.evidence.panel import Panel, panels
from eval.evidence.published import SUITE, Published
from eval.evidence.statistics import effective_trials, wilson
from eval.evidence.task_scores import TaskScores
from eval.report.material import SweepLike
from study.runs.node import Evaluation, ExternalCheckpoint, Run
from study.show import terminal
from study.store.directory import Store

Verdict = Literal["inside", "outside", ""]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One published number and ours, as shares of 1.

    low, high: the 95% interval of ours. difference: ours less the published. hole: why a number is
    missing or cannot be compared.
    """

    checkpoint: str
    suite: str
    task: str
    published: float | None
    ours: float | None = None
    low: float | None = None
    high: float | None = None
    difference: float | None = None
    verdict: Verdict = ""
    what: str
    source: str
    hole: str = ""


@dataclass(frozen=True, kw_only=True)
class _Score:
    """A share and the standard error of its items; trials: how many of them."""

    value: float
    error: float
    trials: int


class _HoleError(Exception):
    """There is no number of ours, and why."""


def differences(
    published: Mapping[str, Sequence[Published]], runs: Iterable[Run], *, store: Store
) -> tuple[Difference, ...]:
    """Every published number, in the order of the declaration; holes are rows too."""
    scored = {
        (run.run.slug, run.suite.name): run
        for run in runs
        if isinstance(run, Evaluation) and isinstance(run.run, ExternalCheckpoint)
    }
    return tuple(
        row
        for slug, entries in published.items()
        for entry in entries
        for row in _rows(slug, entry, scored.get((slug, entry.suite)), store=store)
    )


def of_sweep(sweep: SweepLike, *, store: Store) -> tuple[Difference, ...]:
    """The comparison that a sweep's module declares as PUBLISHED; empty where it declares none."""
    return differences(getattr(sweep.module, "PUBLISHED", {}), sweep.runs, store=store)


def _rows(
    slug: str, entry: Published, run: Evaluation | None, *, store: Store
) -> Iterator[Difference]:
    panel = None if run is None else panels((run,), store=store)[0]
    for name, per_cent in (entry.scores or {SUITE: None}).items():
        row = Difference(
            checkpoint=slug,
            suite=entry.suite,
            task=name,
            published=None if per_cent is None else per_cent / 100,
            what=entry.what,
            source=entry.source,
        )
        try:
            yield _compared(row, _score(panel, entry, name, slug=slug))
        except _HoleError as hole:
            yield replace(row, hole=str(hole))


def _compared(row: Difference, score: _Score) -> Difference:
    low, high = wilson(score.value, effective_trials(score.value, score.error, score.trials))
    row = replace(row, ours=score.value, low=low, high=high)
    if row.published is None:
        return replace(row, hole="no published number")
    inside = low <= row.published <= high
    return replace(
        row,
        difference=score.value - row.published,
        verdict="inside" if inside else "outside",
    )


def _score(panel: Panel | None, entry: Published, name: str, *, slug: str) -> _Score:
    if panel is None:
        raise _HoleError(f"the plan has no evaluation of {slug!r} on {entry.suite!r}")
    if not panel.runs:
        raise _HoleError(panel.holes[0].hole)
    declared = panel.runs[0].run.suite.tasks
    tasks = {each.task.name: each for each in panel.tasks}
    headline = [each.name for each in declared if each.is_headline]
    if name == SUITE and entry.scores and len(headline) != entry.tasks:
        raise _HoleError(
            f"the source's mean is over {entry.tasks} tasks, ours over {len(headline)}"
        )
    wanted = entry.tasks_of(name) or tuple(headline)
    if unknown := [each for each in wanted if each not in {one.name for one in declared}]:
        raise _HoleError(f"our suite has no task {unknown[0]!r}")
    found = [
        (task, _of_task(tasks[task], prompts=entry.prompts)) for task in wanted if task in tasks
    ]
    scores = [score for _, score in found if score is not None]
    if len(scores) < len(wanted):
        there = {task for task, score in found if score is not None}
        lacking = ", ".join(task for task in wanted if task not in there)
        raise _HoleError(f"scores of {len(scores)} of {len(wanted)} tasks; without {lacking}")
    # Data sets share no item, so their errors are independent.
    return _Score(
        value=float(np.mean([each.value for each in scores])),
        error=math.hypot(*(each.error for each in scores)) / len(scores),
        trials=sum(each.trials for each in scores),
    )


def _of_task(task: TaskScores, *, prompts: Literal["median", "mean"]) -> _Score | None:
    """The one cell and seed of a panel made for one checkpoint; None where nothing was asked."""
    if not task.measure.is_share:
        return None
    parts = (task,) if prompts == "median" else task.each_condition()
    values = [float(each.scores()[0, 0]) for each in parts]
    known = [index for index, value in enumerate(values) if math.isfinite(value)]
    if not known:
        return None
    # One draw of items counts for all templates, so what they share is in the error.
    drawn = np.mean([parts[index].bootstrap()[:, 0, 0] for index in known], axis=0)
    return _Score(
        value=float(np.mean([values[index] for index in known])),
        error=float(np.nanstd(drawn)),
        trials=len(np.unique(task.groups)),
    )


HEAD = (
    "checkpoint",
    "suite",
    "task",
    "published, %",
    "ours, %",
    "95% interval",
    "difference",
    "verdict",
    "how the source averages",
)


def cells(row: Difference) -> tuple[str, ...]:
    """One row as text, under HEAD: per cent and points, a dash where there is no number."""
    return (
        row.checkpoint,
        row.suite,
        row.task,
        _percent(row.published),
        _percent(row.ours),
        f"{_percent(row.low)} to {_percent(row.high)}" if row.low is not None else "–",
        "–" if row.difference is None else f"{100 * row.difference:+.1f}".replace("-", "−"),
        row.hole or row.verdict,
        row.what,
    )


def show(rows: Sequence[Difference]) -> None:
    """Print the comparison as a table, and how many numbers agree."""
    terminal.table(HEAD, [cells(row) for row in rows])
    print(summary(rows))


def summary(rows: Sequence[Difference]) -> str:
    """How many numbers could be compared and how many agree, in one sentence."""
    compared = [row for row in rows if row.verdict]
    inside = sum(row.verdict == "inside" for row in compared)
    holes = len(rows) - len(compared)
    return (
        f"{inside} of {len(compared)} published numbers lie inside our 95% interval; {holes} of "
        f"{len(rows)} rows cannot be compared."
    )


def as_csv(rows: Sequence[Difference]) -> str:
    """Every row with every field, shares of 1."""
    return table.as_csv(Difference, rows)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"
