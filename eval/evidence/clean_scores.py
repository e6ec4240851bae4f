"""Scores with and without the rows whose text is in the training shards.

Owns which items of a cell are hits: a row is one as soon as one of its n-grams stands in any of the
data of the cell's lineage, as the domain finds them (`study.runs.reporting.OverlapSearch`); a group
of items (a pair of twins) is left out whole, so that chance stays what it was. Scores are the
table's, by the same estimator, over the items that are left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval.evidence import table
from eval.evidence.panel import Panel
from eval.evidence.table import SUITE, Row
from eval.evidence.task_scores import TaskScores
from study.runs.cells import CellKey
from study.runs.reporting import Overlap
from study.store.directory import Store


@dataclass(frozen=True, kw_only=True)
class TaskOverlap:
    """One task against one corpus. rows: asked about; short: too short to say; hits: with at least
    one n-gram found; grams, found: n-grams of all rows, and how many of them were.
    """

    suite: str
    task: str
    corpus: str
    rows: int
    short: int
    hits: int
    grams: int
    found: int


@dataclass(frozen=True, kw_only=True)
class CleanRow:
    """One cell on one task, or on the suite over the tasks that keep an item.

    items, hits: counted as the table counts items. whole, clean: the scores with all items and
    without the hits, None where none is left; hit: of the hits alone. low, high: of `clean`.
    """

    suite: str
    size: str
    cell: str
    stage: str
    tokens: int
    task: str
    items: int
    hits: int
    whole: float | None
    clean: float | None
    low: float | None
    high: float | None
    hit: float | None


@dataclass(frozen=True, kw_only=True)
class Contamination:
    """A panel's overlap. left_out: tasks of which no item is left in some cell, so that the suite's
    two scores are over the others. holes: corpora that were not counted, and why.
    """

    overlaps: tuple[TaskOverlap, ...]
    rows: tuple[CleanRow, ...]
    left_out: tuple[str, ...]
    holes: tuple[str, ...]


def contamination(panel: Panel, *, store: Store) -> Contamination:
    """Nothing where nothing is scored, or the domain searches for nothing."""
    found, holes = _read(panel, store=store)
    whole = [key for key in panel.cells if key in found]
    rows: list[CleanRow] = []
    left_out: tuple[str, ...] = ()
    if whole:
        hits = [_hits(panel, task, found) for task in panel.tasks]  # each (C, I)
        left_out = tuple(
            task.task.name
            for task, flags in zip(panel.tasks, hits, strict=True)
            if task in panel.headline and _nothing_left(panel, task, flags, whole)
        )
        rows = _rows(panel, hits, whole=whole, left_out=left_out)
    return Contamination(
        overlaps=_all_summed(panel, found),
        rows=tuple(rows),
        left_out=left_out,
        holes=tuple(holes),
    )


def overlaps(panel: Panel, *, store: Store) -> tuple[TaskOverlap, ...]:
    """Every task against every corpus that was counted."""
    return _all_summed(panel, _read(panel, store=store)[0])


def _all_summed(panel: Panel, found: dict[CellKey, list[Overlap]]) -> tuple[TaskOverlap, ...]:
    every = {each.corpus: each for one in found.values() for each in one}
    return tuple(each for overlap in every.values() for each in _summed(panel, overlap))


def _read(panel: Panel, *, store: Store) -> tuple[dict[CellKey, list[Overlap]], list[str]]:
    """The overlaps of every cell all of whose corpora were counted, and what was not."""
    search = panel.reporting.overlap
    if search is None:
        return {}, []
    found: dict[CellKey, list[Overlap]] = {}
    holes: dict[str, None] = {}
    known: dict[str, Overlap | str] = {}
    for scored in panel.runs:
        if scored.key in found or scored.results is None:
            continue
        data = search.trained_on(scored.run)
        if not data:
            holes[f"{scored.key.label}: its training data are not known here"] = None
            continue
        tasks = scored.results["digests"]["tasks"]
        own = []
        for each in data:
            if each.slug not in known:
                known[each.slug] = search.read(each, tasks=tasks, store=store)
            own.append(known[each.slug])
        for each in own:
            if isinstance(each, str):
                holes[each] = None
        whole = [each for each in own if not isinstance(each, str)]
        if len(whole) == len(own):
            found[scored.key] = whole
    return found, list(holes)


def _summed(panel: Panel, overlap: Overlap) -> list[TaskOverlap]:
    columns = {name: overlap.rows[name].to_numpy() for name in ("index", "grams", "found")}
    names = np.array(overlap.rows["task"].to_pylist(), dtype=object)
    sums = []
    for task in dict.fromkeys(each.task.name for each in panel.tasks):
        own = names == task
        if own.any():
            grams, found = columns["grams"][own], columns["found"][own]
            sums.append(
                TaskOverlap(
                    suite=panel.suite,
                    task=task,
                    corpus=overlap.corpus,
                    rows=int(own.sum()),
                    short=int((grams == 0).sum()),
                    hits=int((found > 0).sum()),
                    grams=int(grams.sum()),
                    found=int(found.sum()),
                )
            )
    return sums


def _hits(panel: Panel, task: TaskScores, found: dict[CellKey, list[Overlap]]) -> np.ndarray:
    """(C, I) bool; whole groups."""
    size = len(task.groups)
    flags = np.zeros((len(panel.cells), size), dtype=bool)
    for place, key in enumerate(panel.cells):
        for overlap in found.get(key, ()):
            rows = overlap.rows
            own = np.array(rows["task"].to_pylist(), dtype=object) == task.task.name
            index = rows["index"].to_numpy()[own]
            hit = rows["found"].to_numpy()[own] > 0
            inside = index < size  # rows after the last that any template asks about
            flags[place, index[inside & hit]] = True
    _, member = np.unique(task.groups, return_inverse=True)
    grouped = np.zeros((len(panel.cells), int(member.max(initial=0)) + 1), dtype=bool)
    for place in range(len(panel.cells)):
        np.logical_or.at(grouped[place], member, flags[place])
    return grouped[:, member]


def _nothing_left(
    panel: Panel, task: TaskScores, flags: np.ndarray, whole: Sequence[CellKey]
) -> bool:
    left = task.over(~flags).known
    return any(
        not left[panel.cells.index(key)].any()
        for key in whole
        if task.known[panel.cells.index(key)].any()
    )


def _rows(
    panel: Panel,
    hits: Sequence[np.ndarray],
    *,
    whole: Sequence[CellKey],
    left_out: Sequence[str],
) -> list[CleanRow]:
    asked = [
        (task, flags)
        for task, flags in zip(panel.tasks, hits, strict=True)
        if task.measure.is_share
    ]
    counted = [
        (task, flags)
        for task, flags in asked
        if task in panel.headline and task.task.name not in left_out
    ]
    found: list[CleanRow] = []
    if len(counted) > 1:
        found += _compared(panel, counted, name=SUITE, whole=whole)
    for task, flags in asked:
        found += _compared(panel, [(task, flags)], name=task.task.name, whole=whole)
    return found


def _compared(
    panel: Panel,
    tasks: Sequence[tuple[TaskScores, np.ndarray]],
    *,
    name: str,
    whole: Sequence[CellKey],
) -> list[CleanRow]:
    every = _scored(panel, [task for task, _ in tasks])
    clean = _scored(panel, [task.over(~flags) for task, flags in tasks])
    dirty = _scored(panel, [task.over(flags) for task, flags in tasks])
    rows = []
    for place, key in enumerate(panel.cells):
        if key not in whole or every[place].value is None:
            continue
        rows.append(
            CleanRow(
                suite=panel.suite,
                size=panel.size,
                cell=key.label,
                stage=key.stage_label,
                tokens=key.tokens,
                task=name,
                items=every[place].items,
                hits=dirty[place].items,
                whole=every[place].value,
                clean=clean[place].value,
                low=clean[place].low,
                high=clean[place].high,
                hit=dirty[place].value,
            )
        )
    return rows


def _scored(panel: Panel, tasks: Sequence[TaskScores]) -> tuple[Row, ...]:
    """The suite's rows if these tasks were its headline."""
    return table.rows_over(panel, tasks)
