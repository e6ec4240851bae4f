"""Tables of the report as plain cells: HTML and Markdown print the same ones.

Owns which columns a section has and how numbers are written.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from eval.accounts import Adaptation, Cost, Provenance, Questions
from eval.panel import Panel
from eval.table import Row, Table
from eval.verdicts import ComponentVerdict
from study.ledger import Total

Kind = Literal["", "n", "w", "c"]
Head = tuple[tuple[str, Kind], ...]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """text as it is read; style: a class of the page."""

    text: str
    style: str = ""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row of cells."""

    cells: tuple[Cell, ...]
    style: str = ""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """head: (name, kind) a column: "n" a number, "w" never wrapped, "c" a contrast."""

    head: Head
    rows: tuple[Line, ...]


def line(*cells: str | Cell, style: str = "") -> Line:
    return Line(
        cells=tuple(Cell(text=each) if isinstance(each, str) else each for each in cells),
        style=style,
    )


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def points(value: float | None) -> str:
    """A difference of two percentages, signed."""
    return "–" if value is None else signed(100 * value, digits=1)


def signed(value: float, *, digits: int) -> str:
    """With a sign, unless it rounds to zero."""
    rounded = round(value, digits)
    return f"{rounded:+.{digits}f}".replace("-", "−") if rounded else f"{0:.{digits}f}"


def between(low: float | None, high: float | None, *, signed: bool = False) -> str:
    if low is None or high is None:
        return "–"
    show = points if signed else percent
    return f"{show(low)} to {show(high)}"


def p_value(p: float | None) -> str:
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def count(number: int | None) -> str:
    return "–" if number is None else f"{number:,}"


def scientific(number: float) -> str:
    """1.23e12 as 1.23 × 10^12."""
    if not number:
        return "0"
    power = math.floor(math.log10(abs(number)))
    return f"{number / 10**power:.2f}e{power}"


def _own(panel: Panel, rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.suite == panel.suite and row.size == panel.size]


_ORDER = ("before finetuning", "after finetuning", "before finetuning, off-objective")
_FOUND = {
    "above chance": "above",
    "below chance: interference": "below (interference)",
    "not told from chance": "not told apart",
    "": "not tested",
}
_SHORT = dict(zip(_ORDER, ("before", "after", "before (off-obj.)"), strict=True))


def suite_grid(panel: Panel, table: Table) -> Grid:
    """Stage by stage, token budget by token budget; unadapted span-corruption models last."""
    rows = sorted(
        _own(panel, table.suite_rows()), key=lambda row: (_ORDER.index(row.stage), row.tokens)
    )
    lines: list[Line] = []
    previous: tuple[str, int] | None = None
    for row in rows:
        block = (row.stage, row.tokens)
        style = "block" if previous is not None and block != previous else ""
        previous = block
        if row.stage == _ORDER[2]:
            style = f"{style} off".strip()
        score = Cell(text=row.hole, style="hole") if row.hole else Cell(text=percent(row.value))
        lines.append(
            line(
                row.cell,
                _SHORT[row.stage],
                count(row.tokens),
                str(row.seeds),
                score,
                between(row.low, row.high),
                "–" if row.normalised is None else signed(row.normalised, digits=3),
                "–" if row.gold_nats_per_byte is None else f"{-row.gold_nats_per_byte:.3f}",
                style=style,
            )
        )
    return Grid(
        head=(
            ("lineage", "w"),
            ("finetuning", "w"),
            ("tokens before finetuning", "n"),
            ("seeds", "n"),
            (f"score, % (guessing: {percent(panel.chance if panel.tasks else None)})", "n"),
            ("95% interval", "n"),
            ("over chance (0 to 1)", "n"),
            ("gold answer, nats a byte (lower is better)", "n"),
        ),
        rows=tuple(lines),
    )


def task_grid(panel: Panel, table: Table) -> Grid:
    """Accuracies with tests against guessing."""
    rows = sorted(
        (row for row in _own(panel, table.task_rows()) if row.unit == "accuracy"),
        key=lambda row: (_ORDER.index(row.stage), row.tokens),
    )
    lines = [
        line(
            row.cell,
            _SHORT[row.stage],
            row.task
            + ("" if row.role == "headline" else f" ({row.role})")
            + (" (greedy)" if row.metric == "greedy" else ""),
            percent(row.value),
            between(row.low, row.high),
            percent(row.chance),
            between(row.lowest, row.highest),
            p_value(row.p),
            p_value(row.p_holm),
            Cell(text=_FOUND[row.finding], style=_finding_style(row)),
            style="off" if row.stage == _ORDER[2] else "",
        )
        for row in rows
    ]
    return Grid(
        head=(
            ("lineage", "w"),
            ("finetuning", "w"),
            ("task", "w"),
            ("accuracy, %", "n"),
            ("95% interval", "n"),
            ("guessing", "n"),
            ("over templates", "n"),
            ("p", "n"),
            ("p (Holm)", "n"),
            ("against guessing", "w"),
        ),
        rows=tuple(lines),
    )


def _finding_style(row: Row) -> str:
    if row.finding == "above chance":
        return "above"
    return "below" if row.finding.startswith("below") else ""


def bits_grid(panel: Panel, table: Table) -> Grid:
    rows = [row for row in _own(panel, table.task_rows()) if row.unit == "bits per byte"]
    return Grid(
        head=(
            ("lineage", "w"),
            ("finetuning", "w"),
            ("text", ""),
            ("documents", "n"),
            ("bits per byte", "n"),
            ("95% interval (documents)", "n"),
        ),
        rows=tuple(
            line(
                row.cell,
                _SHORT[row.stage],
                row.task,
                count(row.items),
                "–" if row.value is None else f"{row.value:.3f}",
                "–" if row.low is None or row.high is None else f"{row.low:.3f} to {row.high:.3f}",
                style="off" if row.stage == _ORDER[2] else "",
            )
            for row in rows
        ),
    )


def end_grid(panels: Sequence[Panel]) -> Grid:
    """Each cell's suite score under both end-of-sequence options, from the same forward passes."""
    lines = []
    for panel in panels:
        if not panel.headline:
            continue
        own, other = panel.scores(), panel.scores(end="other")
        with_end = panel.runs[0].run.suite.scoring.end_of_sequence
        for index, key in enumerate(panel.cells):
            pair = [float(np.nanmean(each[index])) for each in (own, other)]
            scored, alone = pair if with_end else reversed(pair)
            lines.append(
                line(
                    key.label,
                    panel.suite,
                    percent(scored),
                    percent(alone),
                    points(scored - alone),
                    style="off" if key.off_objective else "",
                )
            )
    return Grid(
        head=(
            ("lineage", "w"),
            ("suite", ""),
            ("end of sequence scored", "n"),
            ("not scored", "n"),
            ("difference, points", "n"),
        ),
        rows=tuple(lines),
    )


def hole_grid(table: Table) -> Grid:
    return Grid(
        head=(("suite", ""), ("lineage", "w"), ("task", ""), ("finetuning", "w"), ("why", "")),
        rows=tuple(
            line(
                row.suite, row.cell, row.task, _SHORT[row.stage], Cell(text=row.hole, style="hole")
            )
            for row in table.holes()
        ),
    )


COMPONENT_HEAD: Head = (
    ("contrast", "c"),
    ("suite", ""),
    ("difference, points", "n"),
    ("interval at the claim's level", "n"),
    ("margin", "n"),
    ("verdict", ""),
    ("detectable (80%)", "n"),
    ("over tasks, 95%", "n"),
    ("rests on", ""),
)


def component(found: ComponentVerdict) -> Line:
    estimate, contrast = found.estimate, found.contrast
    name = f"{contrast.name} ({contrast.kind.replace('_', ' ')})"
    if estimate is None:
        gap = Cell(text=found.missing, style="hole")
        return line(
            name, contrast.suite, gap, "–", percent(contrast.margin), "not run", "–", "–", ""
        )
    over = estimate.over_tasks
    basis = f"{estimate.basis}, {estimate.seeds} seed{'s' if estimate.seeds != 1 else ''}"
    return line(
        name,
        contrast.suite,
        points(estimate.value),
        between(found.low, found.high, signed=True),
        percent(contrast.margin),
        found.verdict,
        percent(estimate.minimum_effect),
        "–" if over is None else between(*over, signed=True),
        "; ".join(
            part
            for part in (basis, estimate.note, "all its cells at chance" if estimate.floor else "")
            if part
        ),
    )


def cost_grid(costs: Sequence[Cost]) -> Grid:
    ordered = sorted(costs, key=lambda each: each.tokens)
    several = len({each.size for each in costs}) > 1
    lines = []
    for place, each in enumerate(ordered):
        new = place > 0 and each.tokens != ordered[place - 1].tokens
        lines.append(
            line(
                f"{each.size}: {each.cell}" if several else each.cell,
                count(each.parameters),
                count(each.tokens),
                count(each.content),
                count(each.loss_tokens),
                scientific(each.flops),
                f"{each.relative:.2f}",
                style="block" if new else "",
            )
        )
    return Grid(
        head=(
            ("lineage", "w"),
            ("parameters", "n"),
            ("tokens seen", "n"),
            ("not padding", "n"),
            ("loss tokens", "n"),
            ("training FLOPs", "n"),
            ("FLOPs over the cheapest of equal tokens", "n"),
        ),
        rows=tuple(lines),
    )


def total_grid(totals: Sequence[Total]) -> Grid:
    return Grid(
        head=(
            ("stage", ""),
            ("cell", "w"),
            ("runs", "n"),
            ("done", "n"),
            ("parameters", "n"),
            ("tokens", "n"),
            ("loss tokens", "n"),
            ("training FLOPs", "n"),
        ),
        rows=tuple(
            line(
                each.stage,
                each.cell,
                str(each.runs),
                str(each.done),
                count(each.parameters),
                count(each.tokens),
                count(each.loss_tokens),
                "–" if each.flops is None else scientific(each.flops),
            )
            for each in totals
        ),
    )


def adaptation_grid(found: Sequence[Adaptation]) -> Grid:
    return Grid(
        head=(
            ("lineage", "w"),
            ("seed", "n"),
            ("tensors", ""),
            ("optimiser state", ""),
            ("schedule", ""),
            ("first loss", "n"),
            ("last loss", "n"),
        ),
        rows=tuple(
            line(
                each.cell,
                str(each.seed),
                each.actions,
                each.optimizer_state,
                each.schedule,
                _loss(each.first_loss),
                _loss(each.last_loss),
            )
            for each in found
        ),
    )


def _loss(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def question_grid(found: Sequence[Questions]) -> Grid:
    return Grid(
        head=(
            ("suite", ""),
            ("task", "w"),
            ("template", ""),
            ("items", "n"),
            ("twins", ""),
            ("skipped", ""),
            ("truncated, a cell", "n"),
            ("ties, a cell", "n"),
            ("guessing, declared", "n"),
            ("guessing, from the choices", "n"),
        ),
        rows=tuple(
            line(
                each.suite,
                each.task,
                each.template or "–",
                count(each.items),
                "yes" if each.twins else "no",
                each.skipped,
                each.truncated,
                each.ties,
                percent(each.declared_chance),
                percent(each.chance_of_choices),
            )
            for each in found
        ),
    )


def run_grid(found: Sequence[Provenance]) -> Grid:
    return Grid(
        head=(
            ("run", "w"),
            ("kind", ""),
            ("cell", "w"),
            ("id", "w"),
            ("state", ""),
            ("digest", "w"),
            ("commit", ""),
        ),
        rows=tuple(
            line(
                each.slug,
                each.kind,
                each.cell,
                each.id,
                each.state if each.state == "done" else Cell(text=each.state, style="hole"),
                each.digest,
                each.commits,
            )
            for each in found
        ),
    )
