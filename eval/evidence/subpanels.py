"""Panels made of other panels: a suite without some tasks, and one suite's prompts less another's.

Owns which tasks, cells and seeds they keep; an estimator of panels then serves them too. Where two
suites ask the same rows, both are resampled alike, since a task's bootstrap follows from how many
rows there are and how they are grouped; where these differ the two are drawn apart, and the error
is the larger for it.

A view is the suite's score without the tasks that weigh on it for a known reason: LAMBADA, an open
answer on which language models gain most (claim C18), and the tasks whose data sets stand in T0's
training mixture. The score, its interval and its chance are those of the table over the tasks that
are left.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from eval.evidence import table
from eval.evidence.contrast import Contrast
from eval.evidence.panel import End, Panel, TaskScores
from eval.evidence.table import Row
from study.language.suites.baselines import LAMBADA
from study.language.suites.eai import IN_T0_TRAIN


@dataclass(frozen=True, kw_only=True, eq=False)
class PromptDifference(TaskScores):
    """A task's score in its suite less the mean of `others`: its single prompts in another suite,
    with the same cells and seeds.
    """

    others: tuple[TaskScores, ...]

    def scores(self, *, end: End = "own") -> np.ndarray:
        return super().scores(end=end) - np.mean([x.scores(end=end) for x in self.others], axis=0)

    def bootstrap(self, *, end: End = "own") -> np.ndarray:
        mean = np.mean([each.bootstrap(end=end) for each in self.others], axis=0)
        return super().bootstrap(end=end) - mean


def asked(contrast: Contrast, panels: Mapping[str, Panel]) -> Panel | str:
    """The panel that a contrast of scores is about, or in words why there is none.

    panels: of one model size, by suite.
    """
    wanted = [each for each in (contrast.suite, contrast.against, contrast.outside) if each]
    if not_scored := [name for name in wanted if name not in panels or not panels[name].cells]:
        return f"no scores on {' and '.join(dict.fromkeys(not_scored))}"
    panel = panels[contrast.suite]
    if contrast.against == contrast.suite:
        return f"two prompt sets are compared; {contrast.suite} is one"
    if contrast.against:
        panel = against(panel, panels[contrast.against])
        if not panel.headline:
            return f"{contrast.suite} and {contrast.against} share no scored task"
    left_out = set(contrast.without)
    if contrast.outside:
        left_out |= {each.task.name for each in panels[contrast.outside].tasks}
    if left_out:
        panel = without(panel, left_out)
        if not panel.headline:
            return f"no task of {contrast.suite} is left"
    return panel


def without(panel: Panel, names: Collection[str]) -> Panel:
    """The suite as if it did not have these tasks."""
    return replace(panel, tasks=tuple(x for x in panel.tasks if x.task.name not in names))


def against(panel: Panel, other: Panel) -> Panel:
    """Every task that both suites score: its score here less its mean prompt there. Chance is 0."""
    cells = tuple(key for key in panel.cells if key in other.cells)
    seeds = tuple(seed for seed in panel.seeds if seed in other.seeds)
    theirs = {each.task.name: each for each in other.headline}
    tasks = []
    for each in panel.headline:
        if each.task.name not in theirs:
            continue
        own = _part(each, panel, cells=cells, seeds=seeds)
        their = _part(theirs[each.task.name], other, cells=cells, seeds=seeds)
        tasks.append(
            PromptDifference(
                task=replace(own.task, chance=0.0),
                templates=own.templates,
                correct=own.correct,
                other=own.other,
                nats=own.nats,
                groups=own.groups,
                twins=own.twins,
                rolled=None,
                others=their.by_prompt(),
            )
        )
    return replace(panel, cells=cells, seeds=seeds, tasks=tuple(tasks))


def _part(task: TaskScores, panel: Panel, *, cells: tuple, seeds: tuple) -> TaskScores:
    place = np.ix_([panel.cells.index(x) for x in cells], [panel.seeds.index(x) for x in seeds])
    return replace(
        task, correct=task.correct[place], other=task.other[place], nats=task.nats[place]
    )


@dataclass(frozen=True, kw_only=True)
class View:
    """A choice of tasks. without: task names that it leaves out."""

    name: str
    without: tuple[str, ...]
    why: str


ALL = View(name="all tasks", without=(), why="the suite as it is defined")
VIEWS = (
    ALL,
    View(
        name="without LAMBADA",
        without=LAMBADA,
        why="an open answer: where language models gain most, and not one of T0-Eval's",
    ),
    View(
        name="without leaked tasks",
        without=IN_T0_TRAIN,
        why="T0's training mixture holds these data sets",
    ),
    View(
        name="without either",
        without=(*LAMBADA, *IN_T0_TRAIN),
        why="neither LAMBADA nor a data set of the training mixture",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A panel's suite rows under one view. left: the headline tasks that count."""

    view: View
    left: tuple[str, ...]
    rows: tuple[Row, ...]


def seen(panel: Panel, *, views: Sequence[View] = VIEWS) -> tuple[Seen, ...]:
    """Every view that changes something, after the whole suite; nothing where none does."""
    headline = {each.task.name for each in panel.headline}
    found: dict[frozenset[str], Seen] = {}
    for view in views:
        left = headline - set(view.without)
        # two views of a suite that lacks one of the tasks are one
        if not left or frozenset(left) in found:
            continue
        part = without(panel, view.without)
        found[frozenset(left)] = Seen(
            view=view,
            left=tuple(each.task.name for each in part.headline),
            rows=table.suite_rows(part),
        )
    return tuple(found.values()) if len(found) > 1 else ()
