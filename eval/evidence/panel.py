"""Scores of one suite and model size as arrays: cells x seeds x templates x items.

Owns which published scores may stand side by side. A cell (`study.runs.cells`) is a lineage at a
token budget; the seed is that of its pretraining, and several runs of one cell and seed
(finetunings, say) are averaged. Scores that asked other questions, or were made by another scorer
or tokenizer, are refused.

Duplicates are refused: only finetunings that differ in nothing but their own seed are one cell's.
Anything else under one name is two cells that a plan's names do not tell apart, and their mean
would be of unlike things.

Axes: C cells, S seeds, K templates, I items, R bootstrap replicates.
"""

from __future__ import annotations

import functools
import json
import warnings
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eval.evidence.budgets import CLOSE
from eval.evidence.statistics import REPLICATES, resampling_counts
from study.language.values.suite import SuiteTask
from study.launch.local import unprecise
from study.runs import domain
from study.runs.cells import Cell, CellKey, Naming, seed_of
from study.runs.node import Evaluation, Trained
from study.runs.suite import Hole
from study.store import items as columns
from study.store.directory import CorruptError, RunDirectory, State, Store, status
from study.store.publish import MANIFEST
from study.store.weights import digest_of_names

End = Literal["own", "other"]
Continuous = Literal["nats", "margin", "brier"]
BOOTSTRAP_SEED = 20220412
_COLUMNS = {
    "own": "correct",
    "other": "correct_other_end",
    "nats": "gold_nats_per_byte",
    "margin": "margin",
    "brier": "brier",
    "context_free": "correct_without_context",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredRun:
    """One evaluation with published scores, or (results None) why there are none."""

    run: Evaluation
    key: CellKey
    size: str
    seed: int
    state: State
    results: dict[str, Any] | None
    table: pa.Table | None
    hole: str = ""

    @property
    def lacking(self) -> tuple[Hole, ...]:
        """Headline tasks of its suite that it does not score."""
        return self.run.suite.holes


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskScores:
    """One data set. correct: (C, S, K, I) credit, NaN where there is none; other: the same under
    the other end-of-sequence option; nats: gold nats per byte, margin, brier, context_free (credit
    after an empty context): likewise, None where nobody asked.

    A cell and seed without one valid item has NaN credit: a broken model is a hole, not a score
    below chance. rolled: (2, C, S, I) log-likelihood and bytes of rolling tasks, else None. groups:
    (I,).
    """

    task: SuiteTask
    templates: tuple[str, ...]
    correct: np.ndarray
    other: np.ndarray
    nats: np.ndarray
    groups: np.ndarray
    twins: bool
    rolled: np.ndarray | None
    margin: np.ndarray | None = None
    brier: np.ndarray | None = None
    context_free: np.ndarray | None = None

    def scores(self, *, end: End = "own") -> np.ndarray:
        """(C, S): the median over templates of the mean over items."""
        return _median(_mean(self.values(end), axis=3), axis=2)

    def values(self, name: End | Continuous) -> np.ndarray:
        """(C, S, K, I); all NaN where nobody asked."""
        found = {
            "own": self.correct,
            "other": self.other,
            "nats": self.nats,
            "margin": self.margin,
            "brier": self.brier,
        }[name]
        return np.full(self.correct.shape, np.nan) if found is None else found

    def continuous(self, name: Continuous) -> tuple[np.ndarray, np.ndarray]:
        """(C, S) by the estimator of `scores`, and its replicates (R, C, S)."""
        return _median(_mean(self.values(name), axis=3), axis=2), _bootstrap(self, name)

    @property
    def independent(self) -> int:
        """Groups of items that anybody has answered."""
        return len(np.unique(self.groups[np.isfinite(self.correct).any(axis=(0, 1, 2))]))

    def by_prompt(self) -> tuple[TaskScores, ...]:
        """The task under each of its templates alone."""
        return tuple(
            replace(
                self,
                templates=(name,),
                correct=self.correct[:, :, [at]],
                other=self.other[:, :, [at]],
                nats=self.nats[:, :, [at]],
            )
            for at, name in enumerate(self.templates)
        )

    def by_template(self) -> np.ndarray:
        """(C, S, K)."""
        return _mean(self.correct, axis=3)

    def without_context(self) -> np.ndarray | None:
        """(C, S, K): accuracy of the same answers ranked after an empty context."""
        return None if self.context_free is None else _mean(self.context_free, axis=3)

    def bits_per_byte(self) -> tuple[np.ndarray, np.ndarray]:
        """(C, S), and its bootstrap standard error over documents."""
        assert self.rolled is not None
        total, size = self.rolled
        counts = resampling_counts(self.groups, replicates=REPLICATES, seed=BOOTSTRAP_SEED)
        with np.errstate(invalid="ignore", divide="ignore"):
            value = -total.sum(axis=2) / size.sum(axis=2) / np.log(2)
            drawn = np.einsum("ri,csi->rcs", counts, total) / np.einsum("ri,csi->rcs", counts, size)
        return value, drawn.std(axis=0) / np.log(2)

    def bootstrap(self, *, end: End = "own") -> np.ndarray:
        """(R, C, S): the same scores of resampled items, all cells, seeds and templates alike."""
        return _bootstrap(self, end)


@functools.lru_cache(maxsize=256)
def _bootstrap(task: TaskScores, name: End | Continuous) -> np.ndarray:
    values = task.values(name)
    shape = values.shape
    flat = values.reshape(-1, shape[3])
    known = np.isfinite(flat)
    counts = resampling_counts(task.groups, replicates=REPLICATES, seed=BOOTSTRAP_SEED)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (counts @ np.where(known, flat, 0.0).T.astype(np.float32)) / (
            counts @ known.T.astype(np.float32)
        )
    return _median(means.reshape(REPLICATES, *shape[:3]), axis=3)


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

    @property
    def headline(self) -> tuple[TaskScores, ...]:
        """What the suite's score is the mean of."""
        return tuple(
            each
            for each in self.tasks
            if each.task.role == "headline" and each.task.metric != "rolling"
        )

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
    def chance(self) -> float:
        """Of the suite's score."""
        return float(np.mean([each.task.chance for each in self.headline]))

    def scores(self, *, end: End = "own") -> np.ndarray:
        """(C, S): the mean over headline tasks."""
        return np.mean([each.scores(end=end) for each in self.headline], axis=0)

    def replicates(self, *, end: End = "own") -> np.ndarray:
        """(R, C, S)."""
        return _replicates(self, end)

    def cell(self, name: Cell, tokens: int) -> int | None:
        for index, key in enumerate(self.cells):
            if key.name == name and abs(key.tokens - tokens) <= CLOSE * tokens:
                return index
        return None

    def budgets(self, name: Cell) -> list[int]:
        """Token budgets at which this cell was scored, ascending."""
        return sorted(key.tokens for key in self.cells if key.name == name)


@functools.lru_cache(maxsize=8)
def _replicates(panel: Panel, end: End) -> np.ndarray:
    return np.mean([each.bootstrap(end=end) for each in panel.headline], axis=0)


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
    results = table = None
    hole = "" if state == "done" else state
    if state == "done":
        directory = RunDirectory(store.directory(run))
        place = directory.path
        try:
            if (damage := directory.damage()) is not None:
                raise CorruptError(f"{damage}; `study eval` scores it again")
            place = directory.scores(str((directory.done() or {}).get("scores")))
            results = json.loads((place / "results.json").read_text(encoding="utf-8"))
            table = columns.read(place / "items.parquet")
        except (OSError, ValueError) as error:
            results, hole = None, f"scores unreadable: {_within(error, directory.path)}"
        if results is not None and _stale(run, results, store=store):
            results = table = None
            hole = "stale: the weights changed after they were scored"
        elif results is not None and unprecise(run, directory):
            results = table = None
            hole = "stale: scored before the precision was one decision; `study eval` scores again"
    return ScoredRun(
        run=run,
        key=naming.key(run.run, run.step),
        size=naming.size(run.run),
        seed=seed_of(run.run),
        state=state,
        results=results,
        table=table,
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
    alike = Counter(_question(each) for each in whole)
    asked = alike.most_common(1)[0][0] if alike else None
    runs = [each for each in whole if _question(each) == asked]
    holes = [each for each in group if each.results is None]
    holes += [
        replace(each, results=None, table=None, hole=_unlike(each, runs[0]))
        for each in whole
        if _question(each) != asked
    ]
    refused = duplicates(((each.key, each.seed), each.run) for each in runs)
    holes += [
        replace(each, results=None, table=None, hole=refused[each.key, each.seed])
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
    )


def _question(scored: ScoredRun) -> str:
    """What must be equal for two scores to be compared."""
    results = scored.results
    assert results is not None
    form = [
        results["digests"]["tasks"],
        results["digests"]["tokenizer"],
        results["scoring"],
        results["scorer_version"],
    ]
    return json.dumps(form, sort_keys=True)


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
    task: SuiteTask,
    runs: Sequence[ScoredRun],
    *,
    cells: Sequence[CellKey],
    seeds: Sequence[int],
) -> TaskScores:
    tables = [_columns(each.table, task.name) for each in runs]
    templates = tuple(dict.fromkeys(name for one in tables for name in one["template"]))
    number = 1 + max((int(one["index"].max()) for one in tables if len(one["index"])), default=0)
    groups = np.arange(number)
    shape = (len(cells), len(seeds), len(templates), number)
    sums = {name: np.zeros(shape) for name in _COLUMNS.values()}
    counts, valid = np.zeros(shape), np.zeros(shape)
    rolled = np.zeros((2, len(cells), len(seeds), number))
    for scored, one in zip(runs, tables, strict=True):
        place = (cells.index(scored.key), seeds.index(scored.seed))
        template = np.array([templates.index(name) for name in one["template"]], dtype=int)
        where = (*place, template, one["index"])
        groups[one["index"]] = one["group"]
        counts[where] += 1
        valid[where] += one["valid"]
        for name, values in sums.items():
            values[where] += one[name]
        if task.metric == "rolling":
            rolled[(0, *place, one["index"])] += one["total"]
            rolled[(1, *place, one["index"])] += one["size"]
    with np.errstate(invalid="ignore", divide="ignore"):
        means = {
            name: np.where(counts > 0, sums[column] / counts, np.nan)
            for name, column in _COLUMNS.items()
        }
    broken = valid.sum(axis=(2, 3)) == 0
    for name in ("own", "other", "context_free"):
        means[name][broken] = np.nan
    ranked = task.metric not in ("greedy", "greedy_any", "rolling")
    return TaskScores(
        task=task,
        templates=templates,
        correct=means["own"],
        other=means["other"],
        nats=means["nats"],
        groups=groups,
        twins=bool(tables) and all(bool(one["twins"].all()) for one in tables),
        rolled=rolled if task.metric == "rolling" else None,
        margin=means["margin"] if ranked else None,
        brier=means["brier"] if ranked else None,
        context_free=None if task.metric == "rolling" else means["context_free"],
    )


def _columns(table: pa.Table | None, task: str) -> dict[str, np.ndarray]:
    assert table is not None
    own = table.filter(pc.field("task") == task)
    columns = {
        name: own[name].to_numpy()
        for name in ("template", "index", "group", "twins", "valid", *_COLUMNS.values())
    }
    columns["total"] = np.array([sum(each) for each in own["log_likelihoods"].to_pylist()])
    columns["size"] = np.array([sum(each) for each in own["bytes"].to_pylist()])
    return columns


def _mean(values: np.ndarray, *, axis: int) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a mean of nothing is NaN, and meant so
        return np.nanmean(values, axis=axis)


def _median(values: np.ndarray, *, axis: int) -> np.ndarray:
    if np.isfinite(values).all():
        return np.median(values, axis=axis)  # many times faster than the one that skips NaN
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmedian(values, axis=axis)


Key = TypeVar("Key", bound=Hashable)


def likeness(run: Evaluation) -> str:
    """Equal for evaluations whose scores may be averaged."""
    trained = run.run
    if isinstance(trained, Trained) and not domain.of(trained).in_budget(trained):
        trained = replace(trained, seed=0)  # type: ignore[type-var]  every kind is a dataclass
    return f"{trained.id} at {run.step}"


def duplicates(runs: Iterable[tuple[Key, Evaluation]]) -> dict[Key, str]:
    """What is wrong, in words, of each key (a cell and a seed) whose evaluations are not alike."""
    found: dict[Key, dict[str, list[str]]] = {}
    for key, run in runs:
        found.setdefault(key, {}).setdefault(likeness(run), []).append(run.slug)
    return {
        key: "duplicate cell: "
        + " and ".join(slugs[0] for slugs in kinds.values())
        + " differ and are not averaged"
        for key, kinds in found.items()
        if len(kinds) > 1
    }
