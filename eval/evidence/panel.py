"""Scores of one suite and model size as arrays: cells x seeds x conditions x items.

Owns which published scores may stand side by side. A cell (`study.runs.cells`) is a lineage at a
token budget; the seed is that of its pretraining, and several runs of one cell and seed
(finetunings, say) are averaged. Scores that asked other questions, or were made by another scorer
or tokenizer, are refused.

Duplicates are refused: only finetunings that differ in nothing but their own seed are one cell's.
Anything else under one name is two cells that a plan's names do not tell apart, and their mean
would be of unlike things.

Axes: C cells, S seeds, K conditions, I items, R bootstrap replicates.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eval.evidence.budgets import CLOSE
from eval.evidence.task_scores import Option, TaskScores
from study.launch.local import unprecise
from study.runs import domain
from study.runs.cells import Cell, CellKey, Naming, duplicates, seed_of
from study.runs.domain import Domain
from study.runs.measure import Derived, Measure
from study.runs.node import Evaluation, Trained
from study.runs.reporting import Reporting
from study.runs.suite import Hole, Task
from study.store import items
from study.store.directory import CorruptError, RunDirectory, State, Store, status
from study.store.publish import MANIFEST
from study.store.weights import digest_of_names


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredRun:
    """One evaluation with published scores, or (results None) why there are none.

    table: its items as published; items: the same in the columns that every domain has.
    """

    run: Evaluation
    key: CellKey
    size: str
    seed: int
    state: State
    results: dict[str, Any] | None
    table: pa.Table | None
    items: pa.Table | None = None
    hole: str = ""

    @property
    def lacking(self) -> tuple[Hole, ...]:
        """Headline tasks of its suite that it does not score."""
        return self.run.suite.holes


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """Everything scored on one suite at one model size."""

    suite: str
    size: str
    cells: tuple[CellKey, ...]
    seeds: tuple[int, ...]
    tasks: tuple[TaskScores, ...]
    runs: tuple[ScoredRun, ...]
    holes: tuple[ScoredRun, ...]
    domain: Domain

    @property
    def reporting(self) -> Reporting:
        """What the domain adds to a report."""
        return Reporting() if self.domain.reporting is None else self.domain.reporting()

    @property
    def derived(self) -> tuple[Derived, ...]:
        """Numbers that the domain makes of tasks all of which the suite has."""
        named = {each.task.name for each in self.tasks}
        return tuple(
            each
            for each in self.domain.measures
            if isinstance(each, Derived) and named.issuperset(each.tasks)
        )

    @property
    def headline(self) -> tuple[TaskScores, ...]:
        """What the suite's score is the mean of: nothing where its tasks have several measures."""
        found = tuple(each for each in self.tasks if each.task.is_headline)
        return found if len({each.measure for each in found}) == 1 else ()

    @property
    def measure(self) -> Measure:
        """Of the suite's score; where it has none, the domain's first."""
        if self.headline:
            return self.headline[0].measure
        return next(each for each in self.domain.measures if isinstance(each, Measure))

    @property
    def lacking(self) -> tuple[Hole, ...]:
        """Headline tasks of the suite that are not scored: its score is over the others."""
        return self.runs[0].run.suite.holes if self.runs else ()

    @property
    def coverage(self) -> str:
        """`4 of 11 data sets` where the suite has holes, else empty."""
        if not self.lacking:
            return ""
        scored = len(self.headline)
        return f"{scored} of {scored + len(self.lacking)} data sets"

    @property
    def chance(self) -> float | None:
        """Of the suite's score; None where a task has none."""
        found = [each.at_chance for each in self.headline]
        known = [each for each in found if each is not None]
        return float(np.mean(known)) if found and len(known) == len(found) else None

    def scores(self, *, option: Option = "own") -> np.ndarray:
        """(C, S): the mean over headline tasks."""
        return np.mean([each.scores(option=option) for each in self.headline], axis=0)

    def replicates(self, *, option: Option = "own") -> np.ndarray:
        """(R, C, S)."""
        return _replicates(self, option)

    def made(self, derived: Derived) -> tuple[np.ndarray, np.ndarray]:
        """(C, S) of a number made of several tasks' scores, and its replicates (R, C, S)."""
        own = {each.task.name: each for each in self.tasks if each.task.name in derived.tasks}
        return (
            np.asarray(derived.of({name: each.scores() for name, each in own.items()})),
            np.asarray(derived.of({name: each.bootstrap() for name, each in own.items()})),
        )

    def cell(self, name: Cell, tokens: int) -> int | None:
        for index, key in enumerate(self.cells):
            if key.name == name and abs(key.tokens - tokens) <= CLOSE * tokens:
                return index
        return None

    def budgets(self, name: Cell) -> list[int]:
        """Token budgets at which this cell was scored, ascending."""
        return sorted(key.tokens for key in self.cells if key.name == name)


@functools.lru_cache(maxsize=8)
def _replicates(panel: Panel, option: Option) -> np.ndarray:
    return np.mean([each.bootstrap(option=option) for each in panel.headline], axis=0)


def panels(runs: Iterable[Any], *, store: Store) -> list[Panel]:
    """One panel for each suite and model size of the plan's evaluations, in the plan's order."""
    runs = tuple(runs)
    naming = Naming(runs)
    groups: dict[tuple[str, str], list[ScoredRun]] = {}
    for run in runs:
        if isinstance(run, Evaluation):
            scored = read(run, naming=naming, store=store)
            groups.setdefault((run.suite.name, scored.size), []).append(scored)
    return [_panel(suite, size, group) for (suite, size), group in groups.items()]


def read(run: Evaluation, *, naming: Naming, store: Store) -> ScoredRun:
    """An evaluation's published scores, if they are still those of the weights that lie there."""
    state = status(run, store)
    results = table = own = None
    hole = "" if state == "done" else state
    if state == "done":
        directory = RunDirectory(store.directory(run))
        place = directory.path
        try:
            if (damage := directory.damage()) is not None:
                raise CorruptError(f"{damage}; `study eval` scores it again")
            place = directory.scores(str((directory.done() or {}).get("scores")))
            table, results = items.read(place)
            own = items.checked(domain.of(run).items(table))
        except (OSError, ValueError) as error:
            results = table = own = None
            hole = f"scores unreadable: {_within(error, directory.path)}"
        if results is not None and _stale(run, results, store=store):
            results = table = own = None
            hole = "stale: the weights changed after they were scored"
        elif results is not None and unprecise(run, directory):
            results = table = own = None
            hole = "stale: scored before the precision was one decision; `study eval` scores again"
    return ScoredRun(
        run=run,
        key=naming.key(run.run, run.step),
        size=naming.size(run.run),
        seed=seed_of(run.run),
        state=state,
        results=results,
        table=table,
        items=own,
        hole=hole,
    )


def _within(error: Exception, directory: Path) -> str:
    """An error in words that name no folder of this machine: a report is for others to read."""
    return str(error).replace(f"{directory}/", "")


def _stale(run: Evaluation, results: dict[str, Any], *, store: Store) -> bool:
    """Whether the checkpoint's manifest names other weights than the scores do. A checkpoint that
    is gone cannot contradict its scores.
    """
    if not isinstance(run.run, Trained):
        return False
    checkpoint = RunDirectory(store.directory(run.run)).checkpoint_path(run.step)
    try:
        files = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))["files"]
    except FileNotFoundError:
        return False
    except (ValueError, KeyError) as error:
        raise CorruptError(f"{checkpoint / MANIFEST}: {error}") from error
    named = {name: entry["sha256"] for name, entry in files.items()}
    return digest_of_names(named) != results["digests"]["weights"]


def _panel(suite: str, size: str, group: Sequence[ScoredRun]) -> Panel:
    whole = [each for each in group if each.results is not None]
    questions = Counter(_question(each) for each in whole)
    asked = questions.most_common(1)[0][0] if questions else None
    runs = [each for each in whole if _question(each) == asked]
    holes = [each for each in group if each.results is None]
    holes += [
        replace(each, results=None, table=None, items=None, hole=_unlike(each, runs[0]))
        for each in whole
        if _question(each) != asked
    ]
    refused = duplicates(((each.key, each.seed), each.run) for each in runs)
    holes += [
        replace(each, results=None, table=None, items=None, hole=refused[each.key, each.seed])
        for each in runs
        if (each.key, each.seed) in refused
    ]
    runs = [each for each in runs if (each.key, each.seed) not in refused]
    cells = tuple(dict.fromkeys(each.key for each in runs))
    seeds = tuple(sorted({each.seed for each in runs}))
    tasks = runs[0].run.suite.tasks if runs else ()
    return Panel(
        suite=suite,
        size=size,
        cells=cells,
        seeds=seeds,
        tasks=tuple(_task(task, runs, cells=cells, seeds=seeds) for task in tasks),
        runs=tuple(runs),
        holes=tuple(holes),
        domain=domain.of(group[0].run),
    )


def _question(scored: ScoredRun) -> str:
    """What must be equal for two scores to be compared."""
    results = scored.results
    assert results is not None
    asked = {name: each for name, each in results["digests"].items() if name != "weights"}
    return json.dumps([asked, results["scoring"], results["scorer_version"]], sort_keys=True)


def _unlike(scored: ScoredRun, asked: ScoredRun) -> str:
    """Why a score cannot stand beside those that most runs have."""
    own, others = (each.results or {} for each in (scored, asked))
    if own["scorer_version"] != others["scorer_version"]:
        return (
            f"other questions or scorer: scorer version {own['scorer_version']}, "
            f"not {others['scorer_version']}"
        )
    return "other questions or scorer"


def _task(
    task: Task,
    runs: Sequence[ScoredRun],
    *,
    cells: Sequence[CellKey],
    seeds: Sequence[int],
) -> TaskScores:
    """Several runs of one cell and seed are averaged item by item."""
    measures = _measures(runs[0].run, task)
    names = tuple(dict.fromkeys(name for each in measures for name in each.every_column))
    tables = [_columns(each, task.name, names) for each in runs]
    conditions = tuple(dict.fromkeys(name for one in tables for name in one["condition"]))
    number = 1 + max((int(one["index"].max()) for one in tables if len(one["index"])), default=0)
    groups = np.arange(number)
    shape = (len(cells), len(seeds), len(conditions), number)
    sums = {name: np.zeros((*shape, *tables[0][name].shape[1:])) for name in names}
    counts, valid = np.zeros(shape), np.zeros(shape)
    for scored, one in zip(runs, tables, strict=True):
        place = (cells.index(scored.key), seeds.index(scored.seed))
        condition = np.array([conditions.index(name) for name in one["condition"]], dtype=int)
        where = (*place, condition, one["index"])
        groups[one["index"]] = one["group"]
        counts[where] += 1
        valid[where] += one["valid"]
        for name, values in sums.items():
            values[where] += one[name]
    broken = valid.sum(axis=(2, 3)) == 0
    for values in sums.values():
        asked = counts if values.ndim == 4 else counts[..., None]
        with np.errstate(invalid="ignore", divide="ignore"):
            values /= asked  # 0 / 0 where nobody asked is NaN, and meant so
        values[broken] = np.nan
    return TaskScores(
        task=task,
        measure=measures[0],
        others=measures[1:],
        conditions=conditions,
        columns=sums,
        groups=groups,
        twins=bool(tables) and all(bool(one["twins"].all()) for one in tables),
    )


def _measures(run: Evaluation, task: Task) -> tuple[Measure, ...]:
    """The task's own, then what else its items may have."""
    every = domain.of(run).measures
    known = {each.name: each for each in every if isinstance(each, Measure)}
    if task.measure not in known:
        raise ValueError(
            f"task {task.name!r} is measured by {task.measure!r}; legal: {', '.join(known)}"
        )
    own = known[task.measure]
    beside = (known[name] for name in own.beside)
    return (own, *beside)


def _columns(scored: ScoredRun, task: str, names: Sequence[str]) -> dict[str, np.ndarray]:
    assert scored.items is not None
    own = scored.items.filter(pc.field("task") == task)
    found = {name: own[name].to_numpy() for name in ("condition", "index", "group", "valid")}
    found["twins"] = (
        own["twins"].to_numpy() if "twins" in own.column_names else np.zeros(len(own), dtype=bool)
    )
    return found | {name: _numbers(own[name]) for name in names}


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    """(I,), or (I, D) of a column of vectors."""
    if not pa.types.is_list(column.type) and not pa.types.is_fixed_size_list(column.type):
        return column.to_numpy().astype(float)
    return np.array(column.to_pylist(), dtype=float)
