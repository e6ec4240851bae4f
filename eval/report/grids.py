"""Tables of scores as plain cells, and how numbers are written in every table.

HTML, Markdown and LaTeX print the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from eval.claims.compared import amount, compared, interval, paper_number, size
from eval.claims.verdicts import ComponentVerdict
from eval.evidence.panel import Panel
from eval.evidence.table import EVERY_CELL, SUITE, Row, Table, pairs
from eval.report.sources import of_row
from study.show.table import Cell, Grid, Head, Line, line


def percent(value: float | None) -> str:
    """A share in percent; a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.1f}"


def points(value: float | None) -> str:
    """A difference of two percentages, signed."""
    return "–" if value is None or not math.isfinite(value) else signed(100 * value, digits=1)


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


TASK_HEAD: Head = (
    ("lineage", "w"),
    ("finetuning", "w"),
    ("tokens before finetuning", "n"),
    ("task", "w"),
    ("accuracy, %", "n"),
    ("95% interval", "n"),
)
"""What every table by cell and task begins with."""
_ORDER = ("before finetuning", "after finetuning", "before finetuning, off-objective")
_FOUND = {
    "above chance": "above",
    "below chance: interference": "below (interference)",
    "not told from chance": "not told apart",
    "": "not tested",
}
_SHORT = dict(zip(_ORDER, ("before", "after", "before (off-obj.)"), strict=True))


def headline_grid(rows: Sequence[Row], *, chance: float | None, caption: str) -> Grid:
    """One lineage a line, before and after finetuning side by side; unadapted span-corruption
    models, which were scored off-objective, are marked. rows: of one suite and size.
    """
    lines: list[Line] = []
    found = pairs([row for row in rows if row.task == SUITE])
    for place, pair in enumerate(found):
        new = place > 0 and pair.tokens != found[place - 1].tokens
        lines.append(
            line(
                pair.label,
                count(pair.tokens) if pair.tokens else "not known",
                *_scored(pair.before, holes=pair.holes, finetuned=False),
                *_scored(pair.after, holes=pair.holes, finetuned=True),
                style="block" if new else "",
            )
        )
    stage: Head = (
        (f"score, % (guessing: {percent(chance)})", "n"),
        ("over chance", "n"),
        ("its 95% interval", "n"),
        ("seeds", "n"),
    )
    return Grid(
        caption=caption,
        head=(("lineage", "w"), ("tokens before finetuning", "n"), *stage, *stage),
        groups=(("", 2), ("before finetuning", 4), ("after finetuning", 4)),
        rows=tuple(lines),
    )


def _scored(row: Row | None, *, holes: Sequence[Row], finetuned: bool) -> tuple[Cell, ...]:
    """Score, chance-normalised score, its interval, seeds that are there of those planned."""
    own = [each for each in holes if (each.stage == _ORDER[1]) == finetuned]
    if row is None:
        if own:
            seeds = f"0 of {len(own)}"
            return (Cell(text=_why(own), style="hole"), *[Cell(text="–")] * 2, Cell(text=seeds))
        return (Cell(text="–"),) * 4
    seeds = str(row.seeds) if not own else f"{row.seeds} of {row.seeds + len(own)}"
    style = "off" if row.stage == _ORDER[2] else ""
    return (
        Cell(text=percent(row.value), style=style, href=of_row(row)),
        Cell(text=over_chance(row.normalised), style=style),
        Cell(text=_normal_interval(row), style=style),
        Cell(text=seeds, style="hole" if own else ""),
    )


LONGEST_WHY = 40
"""Letters of a reason in a table of numbers; the whole stands in the section on holes."""


def _why(holes: Sequence[Row]) -> str:
    """Why a score is missing, its seeds together."""
    reasons = dict.fromkeys(each.hole.partition(": ")[2] or each.hole for each in holes)
    told = "; ".join(reasons)
    return "hole: " + (told if len(told) <= LONGEST_WHY else told[:LONGEST_WHY].rstrip() + "…")


def over_chance(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else signed(value, digits=3)


def _normal_interval(row: Row) -> str:
    if row.normalised_low is None or row.normalised_high is None:
        return "–"
    return f"{over_chance(row.normalised_low)} to {over_chance(row.normalised_high)}"


def suite_grid(rows: Sequence[Row], *, chance: float | None, caption: str) -> Grid:
    """Stage by stage, token budget by token budget; unadapted span-corruption models last."""
    rows = sorted(
        (row for row in rows if row.task == SUITE),
        key=lambda row: (_ORDER.index(row.stage), row.tokens),
    )
    lines: list[Line] = []
    previous: tuple[str, int] | None = None
    for row in rows:
        block = (row.stage, row.tokens)
        style = "block" if previous is not None and block != previous else ""
        previous = block
        if row.stage == _ORDER[2]:
            style = f"{style} off".strip()
        score = (
            Cell(text=row.hole, style="hole")
            if row.hole
            else Cell(text=percent(row.value), href=of_row(row))
        )
        lines.append(
            line(
                row.cell,
                _SHORT[row.stage],
                count(row.tokens),
                str(row.seeds),
                score,
                between(row.low, row.high),
                over_chance(row.normalised),
                "–" if row.gold_nats_per_byte is None else f"{-row.gold_nats_per_byte:.3f}",
                style=style,
            )
        )
    return Grid(
        caption=caption,
        head=(
            ("lineage", "w"),
            ("finetuning", "w"),
            ("tokens before finetuning", "n"),
            ("seeds", "n"),
            (f"score, % (guessing: {percent(chance)})", "n"),
            ("95% interval", "n"),
            ("over chance (0 to 1)", "n"),
            ("gold answer, nats a byte (lower is better)", "n"),
        ),
        rows=tuple(lines),
    )


def task_grid(rows: Sequence[Row], *, caption: str) -> Grid:
    """Accuracies with tests against guessing."""
    rows = sorted(
        (row for row in rows if row.task != SUITE and row.unit == "accuracy"),
        key=lambda row: (_ORDER.index(row.stage), row.tokens),
    )
    lines = [
        line(
            row.cell,
            _SHORT[row.stage],
            count(row.tokens),
            row.task
            + ("" if row.role == "headline" else f" ({row.role})")
            + (" (greedy)" if row.metric in ("greedy", "greedy_any") else ""),
            Cell(text=row.hole, style="hole")
            if row.hole
            else Cell(text=percent(row.value), href=of_row(row)),
            between(row.low, row.high),
            percent(row.chance),
            over_chance(row.normalised),
            between(row.lowest, row.highest),
            p_value(row.p),
            p_value(row.p_holm),
            Cell(text=_FOUND[row.finding], style=_finding_style(row)),
            style="off" if row.stage == _ORDER[2] else "",
        )
        for row in rows
    ]
    return Grid(
        caption=caption,
        head=(
            *TASK_HEAD,
            ("guessing", "n"),
            ("over chance", "n"),
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


def bits_grid(rows: Sequence[Row], *, caption: str) -> Grid:
    rows = [row for row in rows if row.unit == "bits per byte" and not row.hole]
    return Grid(
        caption=caption,
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
            pair = [_seeds_mean(each[index]) for each in (own, other)]
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
        caption="Suite scores under both end-of-sequence options, %",
        head=(
            ("lineage", "w"),
            ("suite", ""),
            ("end of sequence scored", "n"),
            ("not scored", "n"),
            ("difference, points", "n"),
        ),
        rows=tuple(lines),
    )


def _seeds_mean(scores: np.ndarray) -> float:
    known = scores[np.isfinite(scores)]
    return float(known.mean()) if len(known) else math.nan


def hole_grid(table: Table) -> Grid:
    return Grid(
        caption="Planned scores that are not there",
        head=(("suite", ""), ("lineage", "w"), ("task", ""), ("finetuning", "w"), ("why", "")),
        rows=tuple(
            line(
                row.suite,
                row.cell,
                row.task,
                "both" if row.cell == EVERY_CELL else _SHORT[row.stage],
                Cell(text=row.hole, style="hole"),
            )
            for row in table.holes()
        ),
    )


COMPONENT_HEAD: Head = (
    ("contrast", "c"),
    ("suite", ""),
    ("the paper's", "n"),
    ("difference, points", "n"),
    ("interval at the claim's level", "n"),
    ("margin", "n"),
    ("verdict", ""),
    ("detectable (80%)", "n"),
    ("what would decide it", ""),
    ("over tasks, 95%", "n"),
    ("rests on", ""),
)


def component(found: ComponentVerdict, *, alpha: float) -> Line:
    """One contrast. alpha: its claim's level. Losses stand in nats, tokens to a loss as factors."""
    estimate, contrast = found.estimate, found.contrast
    told = compared(found, alpha=alpha)
    shown = " (shown, does not decide)" if contrast.part == "shown" else ""
    name = f"{contrast.name} ({contrast.kind.replace('_', ' ')}){shown}"
    margin = size(contrast.margin, contrast.measure)
    paper = paper_number(told) or "–"
    if estimate is None:
        gap = Cell(text=found.missing, style="hole")
        return line(name, contrast.suite, paper, gap, "–", margin, "not run", "–", "–", "–", "")
    over = estimate.over_tasks
    basis = f"{estimate.basis}, {estimate.seeds} seed{'s' if estimate.seeds != 1 else ''}"
    return line(
        name,
        contrast.suite,
        paper,
        amount(estimate.value, contrast.measure),
        interval(told),
        margin,
        found.verdict,
        size(estimate.minimum_effect, contrast.measure),
        told.more or "–",
        "–" if over is None else between(*over, signed=True),
        "; ".join(
            part
            for part in (basis, estimate.note, "all its cells at chance" if estimate.floor else "")
            if part
        ),
    )
