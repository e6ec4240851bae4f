"""The suite's score with and without the tasks that weigh on it for a known reason.

Owns which tasks a view leaves out: LAMBADA, an open answer on which language models gain most
(claim C18), and the tasks whose data sets stand in T0's training mixture. The score, its interval
and its chance are those of the table over the tasks that are left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eval.evidence import table
from eval.evidence.panel import Panel
from eval.evidence.subpanels import without
from eval.evidence.table import Row
from study.language.suites.baselines import LAMBADA
from study.language.suites.eai import IN_T0_TRAIN


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
