"""Which differences are real: every pair of cells of one stage and one token budget."""

from __future__ import annotations

from collections.abc import Iterator

from eval.evidence import differences
from eval.evidence.differences import Matrix
from eval.report.figures import differences as matrix_plots
from eval.report.grids import between, p_value, percent, points
from eval.report.material import Material
from study.show.table import Block, Cell, Details, Grid, Heading, Section, Text, blocks, line

CAPTION = (
    "Row minus column, in points of the suite's score. Two questions are asked of each pair, each "
    "with Holm's correction over all pairs of its block: is there a difference (two-sided, 0.05), "
    "and is it smaller than the margin (two one-sided tests)? With fewer than three seeds neither "
    "is decided. Cells of unequal token budgets or of different stages are in no block together."
)
LEAST_CELLS = 3
"""A figure of one pair says less than its line in the table."""
STYLES = {
    "real": "above",
    "smaller than the margin": "",
    "not told apart": "",
    "not decided": "off",
}


def section(material: Material) -> Section | None:
    parts: list[Block] = []
    for panel in material.panels:
        margin = differences.margin_of(material.claims, panel.suite)
        found = differences.matrices(panel, margin=margin)
        if found and len(material.panels) > 1:
            parts.append(Heading(text=material.name(panel)))
        for matrix in found:
            parts += _part(matrix)
    if not parts:
        return None
    return Section(
        anchor="differences",
        title="Which differences are real",
        name="Differences",
        blocks=(Text(text=CAPTION, style="caption"), *parts),
    )


def _part(matrix: Matrix) -> Iterator[Block]:
    if len(matrix.cells) < LEAST_CELLS:
        yield _grid(matrix)
        yield Text(text=_told(matrix), style="caption")
        return
    yield matrix_plots.differences(matrix)
    yield Text(text=_told(matrix), style="caption")
    yield Details(
        summary=f"Every pair {matrix.stage}, {matrix.tokens:,} tokens",
        blocks=blocks(_grid(matrix)),
    )


def _told(matrix: Matrix) -> str:
    counts = {verdict: sum(each.verdict == verdict for each in matrix.pairs) for verdict in STYLES}
    told = ", ".join(f"{number} {verdict}" for verdict, number in counts.items() if number)
    detectable = [each.detectable for each in matrix.pairs if each.detectable is not None]
    margin = (
        f"margin {percent(matrix.margin)} points"
        if matrix.margin is not None
        else "no claim names a margin"
    )
    found = (
        f"{matrix.suite}, {matrix.size}, {matrix.stage}, at {matrix.tokens:,} tokens, "
        f"{matrix.seeds} seed{'s' if matrix.seeds != 1 else ''}: "
        f"{len(matrix.pairs)} pair{'s' if len(matrix.pairs) != 1 else ''}, "
        f"{told or 'none estimated'}; {margin}."
    )
    if detectable:
        ends = dict.fromkeys((percent(min(detectable)), percent(max(detectable))))
        found += (
            f" A true difference of {' to '.join(ends)} points is found with power "
            f"{matrix.power:.0%} at Holm's first step."
        )
    return found


def _grid(matrix: Matrix) -> Grid:
    rows = [
        line(
            each.first.label,
            each.second.label,
            points(each.value),
            between(each.low, each.high, signed=True),
            between(each.holm_low, each.holm_high, signed=True),
            p_value(each.p),
            p_value(each.p_holm),
            p_value(each.p_small),
            percent(each.detectable),
            Cell(text=each.verdict, style=STYLES[each.verdict]),
        )
        for each in matrix.pairs
    ]
    rows += [
        line(
            first.label,
            second.label,
            Cell(text="hole", style="hole"),
            *["–"] * 6,
            Cell(text=why, style="hole"),
        )
        for first, second, why in matrix.holes
    ]
    return Grid(
        caption=f"Pairs {matrix.stage}: {matrix.suite}, {matrix.size}, {matrix.tokens:,} tokens",
        head=(
            ("cell", "w"),
            ("minus", "w"),
            ("difference, points", "n"),
            ("95% interval", "n"),
            ("interval at its Holm level", "n"),
            ("p", "n"),
            ("p (Holm)", "n"),
            ("p of being smaller than the margin (Holm)", "n"),
            ("detectable (80%)", "n"),
            ("verdict", "w"),
        ),
        rows=tuple(rows),
    )
