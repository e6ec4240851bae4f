"""The figure of pairwise differences: which cells are told apart, by how much, and in which
direction.

Owns its look. Nothing rests on colour: the sign and the size are written, a difference that is real
is bold in a solid frame, one that is smaller than the margin has a dotted frame and an equals sign,
one that is not told apart is pale, and a pair without an estimate is hatched.
"""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from eval.evidence.differences import Difference, Matrix
from eval.report.figures.drawing import (
    GRID,
    INK,
    NEGATIVE,
    OTHER,
    POSITIVE,
    figure_style,
    finish,
    slug,
)
from study.show.numbers import difference, points
from study.show.table import Drawing

FULL = 0.25
"""The difference of shares at which a tile is as dark as it gets."""


def differences(matrix: Matrix) -> Drawing:
    """One tile a pair of cells: the cell of the row minus that of the column, in points where it is
    a share.
    """
    stage = f"{matrix.stage}, " if matrix.stage else ""
    where = f"{matrix.suite}, {matrix.size}, {stage}{matrix.tokens:,} tokens"
    with figure_style():
        return finish(
            _matrix(matrix),
            name=slug("differences", where),
            title=f"Which differences are real: {where}",
            description="Each tile is the score of its row's cell minus that of its column's, in "
            f"{'points' if matrix.measure.is_share else matrix.measure.name}. The pairs, their "
            "intervals and verdicts stand in the table below.",
        )


def _matrix(matrix: Matrix) -> Figure:
    cells = matrix.cells
    number = len(cells) - 1
    longest = max(len(key.label) for key in cells)
    side = 0.62 * number
    figure = Figure(figsize=(max(6.0, side + 0.085 * longest + 0.5), side + 0.05 * longest + 0.9))
    axis = figure.subplots()
    share = matrix.measure.is_share
    # a tile is as dark as it gets at 25 points, or at the largest difference there is
    full = FULL if share else max((abs(each.value) for each in matrix.pairs), default=1.0)
    written = points if share else difference
    for place, key in enumerate(cells[1:]):
        for column, other in enumerate(cells[: place + 1]):
            pair = matrix.pair(key, other)
            value = 0.0 if pair is None else pair.value if pair.first == key else -pair.value
            _tile(axis, (column, place), pair, strength=value / full, text=written(value))
    axis.set_xlim(-0.5, number - 0.5)
    axis.set_ylim(number - 0.5, -0.5)
    axis.set_aspect("equal")
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    places = range(number)
    axis.set_yticks(places, [key.label for key in cells[1:]])
    axis.set_xticks(places, [key.label for key in cells[:-1]], rotation=38, ha="right")
    figure.legend(handles=_legend(), loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure


def _tile(
    axis: Axes,
    place: tuple[int, int],
    pair: Difference | None,
    *,
    strength: float,
    text: str,
) -> None:
    column, row = place
    frame = {"xy": (column - 0.46, row - 0.46), "width": 0.92, "height": 0.92}
    if pair is None:
        axis.add_patch(Rectangle(**frame, fill=False, edgecolor=OTHER, hatch="///", linewidth=0))
        return
    colour = POSITIVE if strength > 0 else NEGATIVE
    if pair.verdict == "real":
        alpha = 0.1 + 0.38 * min(1.0, abs(strength))
        axis.add_patch(Rectangle(**frame, facecolor=colour, alpha=alpha, linewidth=0))
    match pair.verdict:
        case "real":
            axis.add_patch(Rectangle(**frame, fill=False, edgecolor=INK, linewidth=1.6))
        case "smaller than the margin":
            axis.add_patch(
                Rectangle(**frame, fill=False, edgecolor=INK, linewidth=0.9, linestyle=":")
            )
        case "not told apart" | "not decided":
            axis.add_patch(Rectangle(**frame, fill=False, edgecolor=GRID, linewidth=0.8))
    mark = {"smaller than the margin": "= ", "not decided": "? "}.get(pair.verdict, "")
    axis.text(
        column,
        row,
        mark + text,
        ha="center",
        va="center",
        fontsize=8.5,
        fontweight="bold" if pair.verdict == "real" else "normal",
        color=INK if pair.verdict in ("real", "smaller than the margin") else OTHER,
    )


def _legend() -> list[Patch]:
    return [
        Patch(facecolor="none", edgecolor=INK, linewidth=1.6, label="+1.2  real, Holm over pairs"),
        Patch(
            facecolor="none",
            edgecolor=INK,
            linewidth=0.9,
            linestyle=":",
            label="= +1.2  smaller than the margin",
        ),
        Patch(facecolor="none", edgecolor="none", label="+1.2  not told apart"),
        Patch(facecolor="none", edgecolor="none", label="? +1.2  not decided (too few seeds)"),
    ]
