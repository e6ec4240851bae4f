"""The report's section on mixers: quality against cost, and measured cost against length.

Owns which of a plan's numbers the section shows; scores come from `eval.evidence.table`, costs and
the trait `mixer` from the run's domain, times from `study mixers --measure`. A plan whose models
share one mixer has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from eval.evidence.panel import Panel
from eval.evidence.statistics import Exponent, exponent
from eval.evidence.table import Row, Table
from study.runs import domain
from study.runs.cells import CellKey, Naming
from study.runs.domain import cost
from study.runs.identity import canonical
from study.runs.node import Run, Trained, root, stages
from study.show.columns import Column, Columns, grid, label, number
from study.show.numbers import DASH, between, count, counted, decimal, percent, scientific
from study.show.table import Cell, Grid, hole
from study.store.times import Times

CLOSE = 0.03
"""Models within this share of attention's parameters or FLOPs count as matched in them."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One cell: its mixer, what it costs and how it scored, one row a task.

    flops: of training, the lineage together. parameters_ratio, flops_ratio: over the attention
    model of the same lineage and budget, None where the plan has none, or several.
    """

    key: CellKey
    mixer: str
    parameters: int
    flops: int
    rows: tuple[Row, ...]
    parameters_ratio: float | None = None
    flops_ratio: float | None = None

    @property
    def matched(self) -> tuple[str, ...]:
        """In what this model equals attention; both for attention itself."""
        ratios = {"parameters": self.parameters_ratio, "FLOPs": self.flops_ratio}
        return tuple(name for name, ratio in ratios.items() if ratio and abs(ratio - 1) <= CLOSE)


@dataclass(frozen=True, kw_only=True)
class Growth:
    """Seconds of one layer by length, and the fitted exponent."""

    label: str
    key: CellKey
    mixer: str
    lengths: tuple[int, ...]
    seconds: tuple[float, ...]
    fit: Exponent


def several(runs: Iterable[Run]) -> bool:
    """Whether the plan compares mixers."""
    return len({_mixer(run) for run in _roots(runs)}) > 1


def _roots(runs: Iterable[Run]) -> list[Trained]:
    """Those that begin from nothing."""
    return [run for run in runs if isinstance(run, Trained) and root(run) is run]


def _mixer(run: Trained) -> str:
    return domain.of(run).traits(run).get("mixer", "")


def points(found: Sequence[Panel], scores: Table) -> list[Point]:
    """Every scored cell of every panel, attention first among equals."""
    bare = [_point(panel, key, scores) for panel in found for key in panel.cells if key.tokens]
    return [_related(each, bare) for each in bare]


def _point(panel: Panel, key: CellKey, scores: Table) -> Point:
    run = next(each.run.run for each in panel.runs if each.key == key)
    assert isinstance(run, Trained), "a checkpoint from elsewhere has no tokens"
    return Point(
        key=key,
        mixer=_mixer(run),
        parameters=cost(run).parameters,
        flops=sum(cost(stage).flops for stage in stages(run)),
        rows=tuple(
            row
            for row in scores.task_rows()
            if (row.suite, row.size, row.cell, row.tokens)
            == (panel.suite, panel.size, key.label, key.tokens)
            and row.is_share
        ),
    )


def _related(own: Point, everyone: Sequence[Point]) -> Point:
    reference = [
        each
        for each in everyone
        if each.mixer == "attention"
        and (each.key.lineage, each.key.tokens) == (own.key.lineage, own.key.tokens)
    ]
    if len(reference) != 1:
        return own
    return Point(
        **{
            **vars(own),
            "parameters_ratio": own.parameters / reference[0].parameters,
            "flops_ratio": own.flops / reference[0].flops,
        }
    )


def growths(runs: Sequence[Run], times: Iterable[Times]) -> list[Growth]:
    """The measured models that this plan trains from nothing, in its order."""
    naming = Naming(runs)
    measured = {_form(each.model): each for each in times}
    found: dict[str, Growth] = {}
    for run in _roots(runs):
        # what begins from nothing declares a model, which the base of all stages does not say
        own = measured.get(_form(canonical(run.model)))  # type: ignore[attr-defined]
        if own is None:
            continue
        key = naming.key(run, run.training.steps)
        found[key.label] = Growth(
            label=key.label,
            key=key,
            mixer=_mixer(run),
            lengths=own.lengths,
            seconds=own.seconds,
            fit=exponent(own.lengths, own.seconds),
        )
    return list(found.values())


def _form(model: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(model.items()))


def point_grid(found: Sequence[Point]) -> Grid:
    tasks = list(dict.fromkeys(row.task for each in found for row in each.rows))
    columns: Columns[Point] = (
        label("lineage", lambda each: each.key.label),
        label("equals attention in", lambda each: " and ".join(each.matched) or "neither"),
        number(
            "parameters (over attention's)",
            lambda each: f"{count(each.parameters)} ({decimal(each.parameters_ratio)})",
        ),
        number(
            "training FLOPs (over attention's)",
            lambda each: f"{scientific(each.flops)} ({decimal(each.flops_ratio)})",
        ),
        *map(_accuracy, tasks),
    )
    return grid(columns, found, caption="What every cell costs, and its accuracy on every task")


def _accuracy(task: str) -> Column[Point]:
    def cell(point: Point) -> str | Cell:
        row = next((row for row in point.rows if row.task == task), None)
        if row is None:
            return hole("hole")
        return f"{percent(row.value)} ({between(row.low, row.high)})"

    return number(f"{task}, %", cell)


def growth_grid(found: Sequence[Growth]) -> Grid:
    columns: Columns[Growth] = (
        label("lineage", lambda each: each.label),
        label("mixer", lambda each: each.mixer),
        *map(_milliseconds, sorted({length for each in found for length in each.lengths})),
        number(
            "exponent ± standard error",
            lambda each: f"{each.fit.value:.2f} ± {each.fit.error:.2f}",
        ),
    )
    return grid(columns, found, caption="Measured milliseconds of one layer by length")


def _milliseconds(length: int) -> Column[Growth]:
    def cell(each: Growth) -> str:
        seconds = dict(zip(each.lengths, each.seconds, strict=True)).get(length)
        return DASH if seconds is None else f"{1000 * seconds:.1f}"

    return number(f"{length:,} tokens, ms", cell)


def where(times: Iterable[Times]) -> str:
    """On what the times were measured."""
    listed = {
        f"{each.machine}, {counted(each.threads, 'thread')}, kernels {each.backend}"
        for each in times
    }
    return "; ".join(sorted(listed))
