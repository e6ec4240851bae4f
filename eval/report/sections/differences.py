"""Which differences are real: every pair of cells of one stage and one token budget.

And where the spread of a score comes from (seeds, prompts and items, each by itself), and mixers:
quality against cost, and measured cost against length, which a plan of one mixer has not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from eval.claims.claim import margin_of
from eval.evidence import differences
from eval.evidence.components import Spread, spreads
from eval.evidence.differences import Difference, Matrix
from eval.evidence.panel import Panel
from eval.evidence.table import SUITE
from eval.report import mixers
from eval.report.figures import differences as matrix_plots
from eval.report.figures import mixers as mixer_plots
from eval.report.grids import stage_column
from eval.report.material import Material
from study.runs.reporting import Words
from study.show.columns import Column, Columns, grid, label, number
from study.show.numbers import (
    DASH,
    between,
    counted,
    decimal,
    difference,
    p_value,
    percent,
    points,
)
from study.show.table import (
    Block,
    Cell,
    Details,
    Grid,
    Heading,
    Hole,
    Section,
    Text,
    blocks,
    hole,
    line,
)
from study.store import times

CAPTION = (
    "Row minus column, in the suite's score (a share's in points). Two questions are asked of each "
    "pair, each with Holm's correction over all pairs of its block: is there a difference "
    "(two-sided, 0.05), and is it smaller than the margin (two one-sided tests)? With fewer than "
    "three seeds neither is decided. Cells of unequal token budgets or of different stages are in "
    "no block together."
)
Write = Callable[[float | None], str]
LEAST_CELLS = 3
"""A figure of one pair says less than its line in the table."""
STYLES = {
    "real": "above",
    "smaller than the margin": "",
    "not told apart": "",
    "not decided": "off",
}


def differences_section(material: Material) -> Section | None:
    def made(panel: Panel) -> Iterator[Block]:
        margin = margin_of(material.claims, panel.suite)
        for matrix in differences.matrices(panel, margin=margin):
            yield from _part(matrix)

    parts = material.by_panel(made)
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
        yield Text(text=_described(matrix), style="caption")
        return
    yield matrix_plots.differences(matrix)
    yield Text(text=_described(matrix), style="caption")
    yield Details(
        summary=f"Every pair, {_stage(matrix)}{matrix.tokens:,} tokens",
        blocks=blocks(_grid(matrix)),
    )


def _described(matrix: Matrix) -> str:
    counts = {verdict: sum(each.verdict == verdict for each in matrix.pairs) for verdict in STYLES}
    listed = ", ".join(f"{number} {verdict}" for verdict, number in counts.items() if number)
    detectable = [each.detectable for each in matrix.pairs if each.detectable is not None]
    _, size, _ = _written(matrix)
    unit = " points" if matrix.measure.is_share else ""
    margin = (
        f"margin {size(matrix.margin)}{unit}"
        if matrix.margin is not None
        else "no claim names a margin"
    )
    found = (
        f"{matrix.suite}, {matrix.size}, {_stage(matrix)}at {matrix.tokens:,} tokens, "
        f"{counted(matrix.seeds, 'seed')}: {counted(len(matrix.pairs), 'pair')}, "
        f"{listed or 'none estimated'}; {margin}."
    )
    if detectable:
        ends = dict.fromkeys((size(min(detectable)), size(max(detectable))))
        found += (
            f" A true difference of {' to '.join(ends)}{unit} is found with power "
            f"{matrix.power:.0%} at Holm's first step."
        )
    return found


def _pairs(matrix: Matrix) -> Columns[Difference]:
    signed, size, unit = _written(matrix)
    return (
        label("cell", lambda pair: pair.first.label),
        label("minus", lambda pair: pair.second.label),
        number(f"difference{unit}", lambda pair: signed(pair.value)),
        number("95% interval", lambda pair: between(pair.low, pair.high, signed)),
        number(
            "interval at its Holm level",
            lambda pair: between(pair.holm_low, pair.holm_high, signed),
        ),
        number("p", lambda pair: p_value(pair.p)),
        number("p (Holm)", lambda pair: p_value(pair.p_holm)),
        number("p of being smaller than the margin (Holm)", lambda pair: p_value(pair.p_small)),
        number("detectable (80%)", lambda pair: size(pair.detectable)),
        label("verdict", lambda pair: Cell(text=pair.verdict, style=STYLES[pair.verdict])),
    )


def _written(matrix: Matrix) -> tuple[Write, Write, str]:
    """How differences and sizes are printed, and what stands behind their name."""
    if matrix.measure.is_share:
        return points, percent, ", points"
    return difference, decimal, f" in {matrix.measure.name}"


def _stage(matrix: Matrix) -> str:
    return f"{matrix.stage}, " if matrix.stage else ""


def _grid(matrix: Matrix) -> Grid:
    """The pairs, then those without an estimate."""
    named = f"Pairs: {matrix.suite}, {matrix.size}, {_stage(matrix)}{matrix.tokens:,} tokens"
    found = grid(_pairs(matrix), matrix.pairs, caption=named)
    holes = tuple(
        line(first.label, second.label, hole("hole"), *[DASH] * 6, hole(why))
        for first, second, why in matrix.holes
    )
    return replace(found, rows=found.rows + holes)


def mixers_section(material: Material) -> Section | None:
    if not mixers.several(material.runs):
        return None
    cells = mixers.points(material.panels, material.scores)
    measured = times.load(material.store.root)
    growths = mixers.growths(material.runs, measured)
    if not cells:
        return None
    quality: tuple[Block, ...] = blocks(
        mixer_plots.quality(cells, style=material.reporting.style),
        Text(
            text="Accuracy of every cell against its training FLOPs and its parameters, both by "
            "formula, with the intervals of the tables above. Filled: as many parameters as the "
            "attention model of the same lineage, to 3 %, and the attention models themselves; "
            "open: others. Two mixers are compared where they cost the same: filled points of one "
            "colour in the right column, and in the left one those that the table calls equal in "
            "FLOPs. Architectures are drawn slightly apart.",
            style="caption",
        ),
        mixers.point_grid(cells),
        Heading(text="Measured cost against length"),
    )
    if not growths:
        hole = "Nothing was measured beside this store: study mixers --measure SWEEP."
        return _titled((*quality, Hole(text=hole)))
    note = (
        "One layer of each model with its MLP (two layers in an encoder-decoder, one a side), "
        "forward and backward, one document as long as the row: all of it to predict in a causal "
        "decoder, else half of it read as a whole. Median of repeats on "
        f"{mixers.where(measured)}. Lines and exponents: least squares of log seconds on log "
        "tokens over all lengths shown; the error is that of the fit, and a curve that bends "
        "towards its asymptote shows in it."
    )
    return _titled(
        quality
        + blocks(
            mixer_plots.growth(growths, style=material.reporting.style),
            mixers.growth_grid(growths),
            Text(text=note, style="caption"),
        )
    )


def _titled(found: tuple[Block, ...]) -> Section:
    return Section(anchor="mixers", title="Mixers: quality and cost", name="Mixers", blocks=found)


def _spread_caption(named: Words) -> str:
    one, several = named.condition, named.conditions
    return (
        "Standard deviations of single answers (a share's in points) by the method of moments "
        "(unbiased variances, averaged over the cells of a stage; below zero they print as 0, and "
        "a dash cannot be told). Seed: how far a cell's score moves with the pretraining seed. "
        f"{one.capitalize()}: how far it moves with the {one}. Item: how much items differ in "
        f"difficulty for a cell. Seed × {one}: seeds that do better under one {one}, and so on; "
        "the rest is mostly the chance of single answers. A mean over S seeds, K "
        f"{several} and I items has the variance seed²/S + {one}²/K + item²/I + "
        f"(seed × {one})²/SK and so on. The study holds {several} fixed: their spread is shown "
        "and enters no error."
    )


def _deviation(name: str, source: str) -> Column[Spread]:
    def written(each: Spread) -> str:
        size = each.deviation(source)
        return percent(size) if each.is_share else decimal(size)

    return number(name, written)


def _spreads(named: Words) -> Columns[Spread]:
    one = named.condition
    return (
        stage_column(named),
        label("task", lambda each: each.task),
        number("cells", lambda each: str(each.cells)),
        number("seeds", lambda each: f"{each.seeds:g}"),
        number(named.conditions, lambda each: f"{each.conditions:.3g}"),
        number("items", lambda each: f"{each.items:,.0f}"),
        _deviation("seed", "seed"),
        _deviation(one, "condition"),
        _deviation("item", "item"),
        _deviation(f"seed × {one}", "seed_condition"),
        _deviation("seed × item", "seed_item"),
        _deviation(f"{one} × item", "condition_item"),
        _deviation("rest", "rest"),
    )


def variance_section(material: Material) -> Section | None:
    def made(panel: Panel) -> tuple[Block, ...]:
        return blocks(
            grid(
                _spreads(panel.reporting.words),
                spreads(panel),
                caption=f"Sources of spread: {material.name(panel)}",
                style=lambda each: "block" if each.task == SUITE else "",
            )
        )

    parts = material.by_panel(made)
    if not parts:
        return None
    return Section(
        anchor="spread",
        title=f"Spread over seeds, {material.words.conditions} and items",
        name="Spread",
        blocks=(Text(text=_spread_caption(material.words), style="caption"), *parts),
    )
