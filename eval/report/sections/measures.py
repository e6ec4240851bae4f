"""Every measure of every cell: Wilson's interval beside the other, and the continuous scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from eval.evidence.panel import Panel
from eval.evidence.table import SUITE, Row
from eval.report.grids import TASK_HEAD, between, percent
from eval.report.material import Material
from study.show.table import Block, Details, Grid, Heading, Section, Text, blocks, line

CAPTION = (
    "Accuracy says little of a model that sits at chance; these move before it does. Gold answer: "
    "its log-likelihood per byte, in nats (nearer 0 is better). Margin: log-likelihood of the gold "
    "answer less that of the best other one, in nats (above 0 is right). Brier: squared distance "
    "of the choices' probabilities from the gold one (0 is best). All by the estimator of "
    "accuracy: median over prompts of the mean over items, then the mean over tasks and seeds. "
    "Intervals are 95%: over seeds and items with three seeds or more, else over items. Wilson's "
    "is over items alone and is there at 0 and at 1 too."
)


def section(material: Material) -> Section | None:
    parts: list[Block] = []
    for panel in material.panels:
        rows = [row for row in material.rows(panel) if row.unit == "accuracy" and not row.hole]
        if rows and len(material.panels) > 1:
            parts.append(Heading(text=material.name(panel)))
        parts += _part(material, panel, rows)
    if not parts:
        return None
    return Section(
        anchor="measures",
        title="Beside accuracy",
        name="Measures",
        blocks=(Text(text=CAPTION, style="caption"), *parts),
    )


def _part(material: Material, panel: Panel, rows: Sequence[Row]) -> Iterator[Block]:
    where = material.name(panel)
    suite = [row for row in rows if row.task == SUITE]
    yield from blocks(_grid(suite, caption=f"Measures of the suite: {where}"))
    tasks = [row for row in rows if row.task != SUITE]
    if tasks:
        yield Details(
            summary=f"Every measure on every task of {where}",
            blocks=blocks(_grid(tasks, caption=f"Measures task by task: {where}")),
        )


def _grid(rows: Sequence[Row], *, caption: str) -> Grid:
    return Grid(
        caption=caption,
        head=(
            *TASK_HEAD,
            ("Wilson's, items alone", "n"),
            ("gold answer, nats a byte", "n"),
            ("interval", "n"),
            ("margin, nats", "n"),
            ("interval", "n"),
            ("Brier", "n"),
            ("interval", "n"),
        ),
        rows=tuple(
            line(
                row.cell,
                row.stage,
                f"{row.tokens:,}",
                row.task,
                percent(row.value),
                between(row.low, row.high),
                between(row.wilson_low, row.wilson_high),
                *_three(
                    row.gold_nats_per_byte,
                    row.gold_nats_per_byte_low,
                    row.gold_nats_per_byte_high,
                ),
                *_three(row.margin, row.margin_low, row.margin_high),
                *_three(row.brier, row.brier_low, row.brier_high),
                style="off" if "off-objective" in row.stage else "",
            )
            for row in rows
        ),
    )


def _three(value: float | None, low: float | None, high: float | None) -> tuple[str, str]:
    interval = "–" if low is None or high is None else f"{_number(low)} to {_number(high)}"
    return ("–" if value is None else _number(value)), interval


def _number(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")
