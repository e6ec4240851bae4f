"""Which differences are real: every pair of cells of one stage and one token budget.

And where the spread of a score comes from (seeds, prompts and items, each by itself), and mixers:
quality against cost, and measured cost against length, which a plan of one mixer has not.
"""

from __future__ import annotations

from collections.abc import Iterator

from eval.claims.claim import margin_of
from eval.evidence import differences
from eval.evidence.components import Spread, spreads
from eval.evidence.differences import Matrix
from eval.evidence.table import SUITE
from eval.report import mixing
from eval.report.figures import differences as matrix_plots
from eval.report.figures import mixers as mixer_plots
from eval.report.grids import between, p_value, percent, points
from eval.report.material import Material
from study.show.table import Block, Cell, Details, Grid, Heading, Hole, Section, Text, blocks, line
from study.store import times

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


def differences_section(material: Material) -> Section | None:
    parts: list[Block] = []
    for panel in material.panels:
        margin = margin_of(material.claims, panel.suite)
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


def mixers_section(material: Material) -> Section | None:
    if not mixing.several(material.runs):
        return None
    cells = mixing.points(material.panels, material.scores)
    measured = times.load(material.store.root)
    growths = mixing.growths(material.runs, measured)
    if not cells:
        return None
    quality: tuple[Block, ...] = blocks(
        mixer_plots.quality(cells),
        Text(
            text="Accuracy of every cell against its training FLOPs and its parameters, both by "
            "formula, with the intervals of the tables above. Filled: as many parameters as the "
            "attention model of the same lineage, to 3 %, and the attention models themselves; "
            "open: others. Two mixers are compared where they cost the same: filled points of one "
            "colour in the right column, and in the left one those that the table calls equal in "
            "FLOPs. Architectures are drawn slightly apart.",
            style="caption",
        ),
        mixing.point_grid(cells),
        Heading(text="Measured cost against length"),
    )
    if not growths:
        hole = "Nothing was measured beside this store: study mixers --measure SWEEP."
        return _titled((*quality, Hole(text=hole)))
    note = (
        "One layer of each model with its MLP (two layers in an encoder-decoder, one a side), "
        "forward and backward, one document as long as the row: all of it to predict in a causal "
        "decoder, else half of it read as a whole. Median of repeats on "
        f"{mixing.where(measured)}. Lines and exponents: least squares of log seconds on log "
        "tokens over all lengths shown; the error is that of the fit, and a curve that bends "
        "towards its asymptote shows in it."
    )
    return _titled(
        quality
        + blocks(
            mixer_plots.growth(growths),
            mixing.growth_grid(growths),
            Text(text=note, style="caption"),
        )
    )


def _titled(found: tuple[Block, ...]) -> Section:
    return Section(anchor="mixers", title="Mixers: quality and cost", name="Mixers", blocks=found)


SPREAD_CAPTION = (
    "Standard deviations of single answers, in points, by the method of moments (unbiased "
    "variances, averaged over the cells of a stage; below zero they print as 0, and a dash cannot "
    "be told). Seed: how far a cell's score moves with the pretraining seed. Prompt: how far it "
    "moves with the template. Item: how much items differ in difficulty for a cell. Seed × prompt: "
    "seeds that do better under one template, and so on; the rest is mostly the chance of single "
    "answers. A mean over S seeds, K prompts and I items has the variance seed²/S + prompt²/K + "
    "item²/I + (seed × prompt)²/SK and so on. The study holds prompts fixed: their spread is shown "
    "and enters no error."
)
_SOURCES = (
    ("seed", "seed"),
    ("prompt", "template"),
    ("item", "item"),
    ("seed × prompt", "seed_template"),
    ("seed × item", "seed_item"),
    ("prompt × item", "template_item"),
    ("rest", "rest"),
)


def variance_section(material: Material) -> Section | None:
    parts: list[Block] = []
    for panel in material.panels:
        found = spreads(panel)
        if not found:
            continue
        if len(material.panels) > 1:
            parts.append(Heading(text=material.name(panel)))
        parts.append(_spread_grid(found, caption=f"Sources of spread: {material.name(panel)}"))
    if not parts:
        return None
    return Section(
        anchor="spread",
        title="Spread over seeds, prompts and items",
        name="Spread",
        blocks=(Text(text=SPREAD_CAPTION, style="caption"), *parts),
    )


def _spread_grid(found: tuple[Spread, ...], *, caption: str) -> Grid:
    return Grid(
        caption=caption,
        head=(
            ("finetuning", "w"),
            ("task", "w"),
            ("cells", "n"),
            ("seeds", "n"),
            ("prompts", "n"),
            ("items", "n"),
            *((name, "n") for name, _ in _SOURCES),
        ),
        rows=tuple(
            line(
                each.stage,
                each.task,
                str(each.cells),
                f"{each.seeds:g}",
                f"{each.templates:.3g}",
                f"{each.items:,.0f}",
                *(percent(each.deviation(name)) for _, name in _SOURCES),
                style="block" if each.task == SUITE else "",
            )
            for each in found
        ),
    )
