"""Panels made of other panels: a suite without some tasks, and one suite's prompts less another's.

Owns which tasks, cells and seeds they keep; an estimator of panels then serves them too. Where two
suites ask the same rows, both are resampled alike, since a task's bootstrap follows from how many
rows there are and how they are grouped; where these differ the two are drawn apart, and the error
is the larger for it.

A view (`study.runs.suite.View`, named by the domain) is the suite's score without the tasks that
weigh on it for a known reason. The score, its interval and its chance are those of the table over
the tasks that are left.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace

import numpy as np

from eval.evidence import table
from eval.evidence.contrast import Contrast
from eval.evidence.panel import Panel
from eval.evidence.table import Row
from eval.evidence.task_scores import Option, TaskScores
from study.runs.cells import CellKey
from study.runs.suite import View


@dataclass(frozen=True, kw_only=True, eq=False)
class ConditionDifference(TaskScores):
    """A task's score in its suite less the mean of `against`: its single conditions (prompts, say)
    in another suite, with the same cells and seeds. What chance scores cancels.
    """

    against: tuple[TaskScores, ...]

    def scores(self, *, option: Option = "own") -> np.ndarray:
        others = [each.scores(option=option) for each in self.against]
        return super().scores(option=option) - np.mean(others, axis=0)

    def bootstrap(self, *, option: Option = "own") -> np.ndarray:
        others = [each.bootstrap(option=option) for each in self.against]
        return super().bootstrap(option=option) - np.mean(others, axis=0)

    @property
    def at_chance(self) -> float:
        return 0.0


def panel_for(contrast: Contrast, panels: Mapping[str, Panel]) -> Panel | str:
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
    """Every task that both suites score: its score here less its mean condition there."""
    cells = tuple(key for key in panel.cells if key in other.cells)
    seeds = tuple(seed for seed in panel.seeds if seed in other.seeds)
    theirs = {each.task.name: each for each in other.headline}
    tasks = []
    for each in panel.headline:
        if each.task.name not in theirs:
            continue
        own = _part(each, panel, cells=cells, seeds=seeds)
        their = _part(theirs[each.task.name], other, cells=cells, seeds=seeds)
        values = {field.name: getattr(own, field.name) for field in fields(TaskScores)}
        tasks.append(ConditionDifference(**values, against=their.each_condition()))
    return replace(panel, cells=cells, seeds=seeds, tasks=tuple(tasks))


def _part(
    task: TaskScores, panel: Panel, *, cells: tuple[CellKey, ...], seeds: tuple[int, ...]
) -> TaskScores:
    return task.part([panel.cells.index(x) for x in cells], [panel.seeds.index(x) for x in seeds])


ALL = View(name="all tasks", without=(), why="the suite as it is defined")


@dataclass(frozen=True, kw_only=True)
class ViewScores:
    """A panel's suite rows under one view. left: the headline tasks that count."""

    view: View
    left: tuple[str, ...]
    rows: tuple[Row, ...]


def view_scores(panel: Panel) -> tuple[ViewScores, ...]:
    """Every view that changes something, after the whole suite; nothing where none does."""
    headline = {each.task.name for each in panel.headline}
    found: dict[frozenset[str], ViewScores] = {}
    for view in (ALL, *panel.reporting.views):
        left = headline - set(view.without)
        # two views of a suite that lacks one of the tasks are one
        if not left or frozenset(left) in found:
            continue
        part = without(panel, view.without)
        found[frozenset(left)] = ViewScores(
            view=view,
            left=tuple(each.task.name for each in part.headline),
            rows=table.suite_rows(part),
        )
    return tuple(found.values()) if len(found) > 1 else ()
