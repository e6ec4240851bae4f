"""Figures of the section on mixers: accuracy against cost, seconds against length.

Owns their looks: the domain's colours, one marker a mixer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from eval.report.figures.drawing import (
    INK,
    OTHER,
    PAPER,
    colour_of,
    colours,
    figure_style,
    finish,
)
from eval.report.mixers import Growth, Point
from study.runs.reporting import Style
from study.show.table import Drawing

MIXER_MARKERS = ("o", "s", "^", "D", "v")
APART = 0.012
"""Points of equal cost are drawn this share of it apart, or they would hide each other."""
AXES = (("training FLOPs", "flops"), ("parameters", "parameters"))


def quality(found: Sequence[Point], *, style: Style) -> Drawing | None:
    """One row a task, one column a cost; None where nothing is scored."""
    scored = [each for each in found if each.rows]
    tasks = list(dict.fromkeys(row.task for each in scored for row in each.rows))
    if not tasks:
        return None
    markers = _markers([each.mixer for each in scored])
    kinds = list(style.colours)
    shift = {kind: 1 + APART * (at - (len(kinds) - 1) / 2) for at, kind in enumerate(kinds)}
    with figure_style():
        figure = Figure(figsize=(8.2, 2.1 * len(tasks) + 1.0))
        axes = figure.subplots(len(tasks), len(AXES), sharex="col", sharey="row", squeeze=False)
        for task, row_axes in zip(tasks, axes, strict=True):
            for axis, (_, attribute) in zip(row_axes, AXES, strict=True):
                for each in scored:
                    row = next((row for row in each.rows if row.task == task), None)
                    if row is None or row.value is None or row.low is None or row.high is None:
                        continue
                    axis.errorbar(
                        [getattr(each, attribute) * shift.get(style.of(each.key.lineage)[0], 1.0)],
                        [row.value],
                        yerr=[[row.value - row.low], [row.high - row.value]],
                        marker=markers[each.mixer],
                        markersize=5.5,
                        color=colour_of(each.key.lineage, style),
                        markerfacecolor=PAPER if "parameters" not in each.matched else None,
                        elinewidth=1.0,
                        linestyle="none",
                    )
                    if row.chance is not None:
                        axis.axhline(row.chance, color=INK, lw=1.0, linestyle=(0, (4, 2)))
                axis.set_ylim(-0.03, 1.05)
                axis.xaxis.set_major_formatter(EngFormatter(sep=""))
            row_axes[0].set_title(task)
            row_axes[0].set_ylabel("accuracy")
        for axis, (name, _) in zip(axes[-1], AXES, strict=True):
            axis.set_xlabel(name)
            axis.margins(x=0.12)
        handles = _legend(markers, style)
        handles += [
            Line2D([], [], color=OTHER, marker="o", ls="none", label="as many parameters"),
            Line2D([], [], color=OTHER, marker="o", ls="none", mfc=PAPER, label="other"),
            Line2D([], [], color=INK, linestyle=(0, (4, 2)), label="chance"),
        ]
        figure.legend(
            handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=8
        )
        return finish(
            figure,
            name="mixers-quality",
            title="Accuracy of each mixer against what it costs",
            description="One row of panels a task; training FLOPs on the left, parameters on the "
            "right. The numbers stand in the table below.",
        )


def growth(found: Sequence[Growth], *, style: Style) -> Drawing | None:
    """Seconds of one layer against length, both logarithmic, with the fitted lines."""
    if not found:
        return None
    markers = _markers([each.mixer for each in found])
    own = {each.label: style.of(each.key.lineage)[0] for each in found}
    kinds = [kind for kind in ("", *style.colours) if kind in own.values()]
    with figure_style():
        figure = Figure(figsize=(2.9 * len(kinds) + 0.6, 3.6))
        axes = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
        for axis, kind in zip(axes, kinds, strict=True):
            for each in found:
                if own[each.label] != kind:
                    continue
                (drawn,) = axis.plot(
                    each.lengths,
                    each.seconds,
                    marker=markers[each.mixer],
                    markersize=4.5,
                    linestyle="none",
                    label=f"{_described(each)}: {each.fit.value:.2f} ± {each.fit.error:.2f}",
                )
                ends = np.array([min(each.lengths), max(each.lengths)], dtype=float)
                axis.plot(
                    ends,
                    np.exp(each.fit.intercept) * ends**each.fit.value,
                    color=drawn.get_color(),
                    linewidth=1.0,
                )
            lengths = sorted({n for each in found for n in each.lengths})
            axis.set_xscale("log", base=2)
            axis.set_yscale("log")
            axis.set_xticks(lengths, [str(length) for length in lengths])
            axis.set_title(style.colours.get(kind, ""))
            axis.set_xlabel("tokens of the row")
            axis.legend(frameon=False, fontsize=7.5, loc="upper left")
        axes[0].set_ylabel("seconds of one layer, forward and backward")
        return finish(
            figure,
            name="mixers-growth",
            title="Measured seconds of one layer against length",
            description="One panel a kind of model, both axes logarithmic, with fitted lines. The "
            "numbers stand in the table below.",
        )


def _described(growth: Growth) -> str:
    """The label without the lineage, which the panel's title says."""
    inside = growth.label.partition("(")[2].rpartition(")")[0]
    return inside or growth.mixer


def _markers(mixers: Sequence[str]) -> dict[str, str]:
    return dict(zip(dict.fromkeys(mixers), MIXER_MARKERS, strict=False))


def _legend(markers: dict[str, str], style: Style) -> list[Line2D]:
    kinds = [
        Line2D([], [], color=colour, marker=".", ls="none", ms=9, label=style.colours[key])
        for key, colour in colours(style).items()
    ]
    return kinds + [
        Line2D([], [], color=OTHER, marker=marker, ls="none", label=mixer)
        for mixer, marker in markers.items()
    ]
