"""The report's section on mixers: quality against cost, and measured cost against length.

Owns which of a plan's numbers the section shows; scores come from `eval.evidence.table`, costs from
`study.language.cost`, times from `study mixers --measure`. A plan whose models share one mixer has
none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from eval.evidence.panel import Panel
from eval.evidence.statistics import Exponent, exponent
from eval.evidence.table import Row, Table
from eval.report.grids import between, count, percent, scientific
from study.language import cost
from study.language.values.model import ARCHITECTURE_SHORT, Mixer, Model
from study.language.values.stages import External, Pretrain, cell, model_of
from study.runs.cells import CellKey, Naming
from study.runs.identity import canonical
from study.runs.node import Run, stages
from study.show.table import Cell, Grid, line
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
    architecture: str
    model: Model
    parameters: int
    flops: int
    rows: tuple[Row, ...]
    parameters_ratio: float | None = None
    flops_ratio: float | None = None

    @property
    def mixer(self) -> Mixer:
        return self.model.mixer

    @property
    def matched(self) -> tuple[str, ...]:
        """In what this model equals attention; both for attention itself."""
        ratios = {"parameters": self.parameters_ratio, "FLOPs": self.flops_ratio}
        return tuple(name for name, ratio in ratios.items() if ratio and abs(ratio - 1) <= CLOSE)


@dataclass(frozen=True, kw_only=True)
class Growth:
    """Seconds of one layer by length, and the fitted exponent."""

    label: str
    architecture: str
    mixer: str
    lengths: tuple[int, ...]
    seconds: tuple[float, ...]
    fit: Exponent


def several(runs: Iterable[Run]) -> bool:
    """Whether the plan compares mixers."""
    return len({run.model.mixer for run in runs if isinstance(run, Pretrain)}) > 1


def points(found: Sequence[Panel], scores: Table) -> list[Point]:
    """Every scored cell of every panel, attention first among equals."""
    bare = [_point(panel, key, scores) for panel in found for key in panel.cells if key.tokens]
    return [_related(each, bare) for each in bare]


def _point(panel: Panel, key: CellKey, scores: Table) -> Point:
    run = next(each.run.run for each in panel.runs if each.key == key)
    assert not isinstance(run, External), "it has no tokens"
    model = model_of(run)
    return Point(
        key=key,
        architecture=ARCHITECTURE_SHORT[model.architecture],
        model=model,
        parameters=cost.parameters(model),
        flops=sum(cost.flops(stage) for stage in stages(run)),
        rows=tuple(
            row
            for row in scores.task_rows()
            if (row.suite, row.size, row.cell, row.tokens)
            == (panel.suite, panel.size, key.label, key.tokens)
            and row.unit == "accuracy"
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
    """The measured models that this plan pretrains, in its order."""
    naming = Naming(runs)
    measured = {_form(each.model): each for each in times}
    found: dict[str, Growth] = {}
    for run in runs:
        if not isinstance(run, Pretrain):
            continue
        own = measured.get(_form(canonical(run.model)))
        if own is None:
            continue
        name = naming.key(run, run.training.steps).label
        found[name] = Growth(
            label=name,
            architecture=cell(run)[:2],
            mixer=run.model.mixer,
            lengths=own.lengths,
            seconds=own.seconds,
            fit=exponent(own.lengths, own.seconds),
        )
    return list(found.values())


def _form(model: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(model.items()))


def point_grid(found: Sequence[Point]) -> Grid:
    """What every cell costs, and its accuracy on every task."""
    tasks = list(dict.fromkeys(row.task for each in found for row in each.rows))
    return Grid(
        caption="What every cell costs, and its accuracy on every task",
        head=(
            ("lineage", "w"),
            ("equals attention in", "w"),
            ("parameters (over attention's)", "n"),
            ("training FLOPs (over attention's)", "n"),
            *((f"{task}, %", "n") for task in tasks),
        ),
        rows=tuple(
            line(
                each.key.label,
                " and ".join(each.matched) or "neither",
                f"{count(each.parameters)} ({_ratio(each.parameters_ratio)})",
                f"{scientific(each.flops)} ({_ratio(each.flops_ratio)})",
                *(_score(each, task) for task in tasks),
            )
            for each in found
        ),
    )


def _score(point: Point, task: str) -> Cell:
    row = next((row for row in point.rows if row.task == task), None)
    if row is None:
        return Cell(text="hole", style="hole")
    return Cell(text=f"{percent(row.value)} ({between(row.low, row.high)})")


def _ratio(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.3f}"


def growth_grid(found: Sequence[Growth]) -> Grid:
    """Milliseconds at every length, and the exponent."""
    lengths = sorted({length for each in found for length in each.lengths})
    return Grid(
        caption="Measured milliseconds of one layer by length",
        head=(
            ("lineage", "w"),
            ("mixer", "w"),
            *((f"{length:,} tokens, ms", "n") for length in lengths),
            ("exponent ± standard error", "n"),
        ),
        rows=tuple(
            line(
                each.label,
                each.mixer,
                *(_milliseconds(each, length) for length in lengths),
                f"{each.fit.value:.2f} ± {each.fit.error:.2f}",
            )
            for each in found
        ),
    )


def _milliseconds(growth: Growth, length: int) -> str:
    seconds = dict(zip(growth.lengths, growth.seconds, strict=True)).get(length)
    return "–" if seconds is None else f"{1000 * seconds:.1f}"


def where(times: Iterable[Times]) -> str:
    """On what the times were measured."""
    told = {
        f"{each.machine}, {each.threads} thread{'s' if each.threads != 1 else ''}, "
        f"kernels {each.backend}"
        for each in times
    }
    return "; ".join(sorted(told))
