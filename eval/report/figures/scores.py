"""Figures of the scores and of the learning curves.

Owns what they show: colours and markers as the domain says (`study.runs.reporting.Style`), filled
at the last stage and open before. Style and files are `eval.report.figures.drawing`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator

from eval.evidence.lines import CellLine, lines, stages
from eval.evidence.table import SUITE, Row
from eval.report.figures.drawing import (
    INK,
    OTHER,
    PAPER,
    colour_of,
    colours,
    figure_style,
    finish,
    marker_of,
    markers,
    slug,
)
from study.runs.cells import CellKey, CellStage
from study.runs.reporting import Style
from study.show.numbers import budget
from study.show.table import Drawing

Labels = Literal["beside", "none"]
LIFT = 0.13
"""Of a line's stages above and below it, in lines."""


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """Validation loss (nats per loss token) after this much of the lineage's training."""

    tokens: int
    flops: int
    loss: float


@dataclass(frozen=True, kw_only=True)
class LearningCurve:
    """One run's curve. objective: the kind of its loss; adapted: whether it began from another."""

    objective: str
    key: CellKey
    adapted: bool
    seed: int
    points: tuple[CurvePoint, ...]


def headline(rows: Sequence[Row], *, style: Style, where: str) -> Drawing | None:
    """Cells at each of their stages on a suite, shares chance-normalised; those that a note keeps
    apart below. rows: of one suite and size; where: names them. None where nothing was scored.
    """
    rows = [row for row in rows if row.task == SUITE and _placed(row)[0] is not None]
    if not rows:
        return None
    names = [each.name for each in stages(rows) if each.name]
    marks = f"open marks {names[0]}, filled marks {names[-1]}, " if len(names) > 1 else ""
    with figure_style():
        return finish(
            _headline(rows, style),
            name=slug("headline", where),
            title=f"Scores of each cell: {where}",
            description=f"One line a lineage; {marks}"
            "with 95% intervals. The numbers stand in the table below.",
        )


def _placed(row: Row) -> tuple[float | None, float | None, float | None]:
    """Value and interval as the headline draws them."""
    if row.is_share:
        return row.normalised, row.normalised_low, row.normalised_high
    return row.value, row.low, row.high


def _headline(rows: Sequence[Row], style: Style) -> Figure:
    groups: dict[str, list[Row]] = {"": []}
    for row in rows:
        groups.setdefault(row.key.note if row.key else "", []).append(row)
    parts = {note: found for note, own in groups.items() if (found := lines(own))}
    heights = [len(block) + 0.9 for block in parts.values()]
    figure = Figure(figsize=(7.4, 0.34 * sum(heights) + 1.15))
    axes = figure.subplots(len(parts), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    share = rows[0].is_share
    for axis, (note, block) in zip(axes, parts.items(), strict=True):
        _draw_lines(axis, block, stages(rows), style=style, labels="beside", normalised=share)
        if len(parts) > 1:
            axis.set_title(note or "on their own objective")
    if share:
        # A difference of a point must not fill the figure where nothing was learned.
        low, high = axes[0].get_xlim()
        axes[0].set_xlim(min(low, -0.15), max(high, 0.35))
    axes[-1].set_xlabel(
        "chance-normalised score (0 = chance, 1 = all right)" if share else rows[0].unit
    )
    figure.legend(
        handles=_legend(style, stages(rows)),
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize=8,
    )
    return figure


def families(rows: Sequence[Row], *, style: Style, where: str) -> Drawing | None:
    """Small multiples: each ranked or greedy task, every cell, with its chance line and the spread
    over its templates.
    """
    rows = [
        row
        for row in rows
        if row.task != SUITE and not row.hole and row.is_share and row.key and not row.key.note
    ]
    tasks = list(dict.fromkeys(row.task for row in rows))
    if not tasks:
        return None
    with figure_style():
        return finish(
            _families(rows, tasks, style),
            name=slug("tasks", where),
            title=f"Accuracy on each task: {where}",
            description="One panel a task, one line a lineage; a thin line is the 95% interval, a "
            "wide pale one reaches from the worst to the best condition, the dashed line is "
            "guessing. The numbers stand in the table below.",
        )


def _families(rows: Sequence[Row], tasks: Sequence[str], style: Style) -> Figure:
    columns = min(3, len(tasks))
    number = max(len(lines([row for row in rows if row.task == task])) for task in tasks)
    grid = -(-len(tasks) // columns)
    handles = _legend(style, stages(rows), chance="chance", spread="over conditions")
    across = 4 if columns > 1 else 2  # a single task's figure is narrower than four names
    legend = 0.19 * -(-len(handles) // across) + 0.33
    figure = Figure(figsize=(2.0 + 2.3 * columns, grid * (0.27 * number + 0.65) + legend))
    axes = figure.subplots(grid, columns, sharex=True, squeeze=False)
    for place, axis in enumerate(axes.flat):
        if place >= len(tasks):
            axis.axis("off")
            continue
        own = [row for row in rows if row.task == tasks[place]]
        labels: Labels = "beside" if place % columns == 0 else "none"
        _draw_lines(axis, lines(own), stages(rows), style=style, labels=labels, normalised=False)
        role = own[0].role
        axis.set_title(tasks[place] + ("" if role == "headline" else f" ({role})"))
        if own[0].chance is not None:
            axis.axvline(own[0].chance, color=INK, linewidth=1.0, linestyle=(0, (4, 2)))
        axis.set_xlim(-0.02, 1.02)
        axis.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "¼", "½", "¾", "1"])
        axis.tick_params(labelbottom=True)
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=across,
        frameon=False,
        fontsize=8,
    )
    return figure


def curves(found: Sequence[LearningCurve], *, style: Style) -> Drawing | None:
    """Validation loss by tokens above and by training FLOPs below: one column a kind of loss, since
    losses of two kinds are no common scale.
    """
    if not found:
        return None
    there = {each.objective for each in found}
    kinds = {kind: name for kind, name in style.losses.items() if kind in there}
    kinds |= {kind: kind for kind in sorted(there - set(kinds))}
    with figure_style():
        return finish(
            _curves(found, kinds, style),
            name="curves",
            title="Validation loss by tokens seen and by training FLOPs",
            description="Two panels a kind of loss: over tokens, and over training FLOPs. "
            "One line a run; dashed lines are adapted lineages.",
        )


def _curves(found: Sequence[LearningCurve], kinds: Mapping[str, str], style: Style) -> Figure:
    labels = list(dict.fromkeys(curve.key.label for curve in found if curve.points))
    across = 3 if len(kinds) > 2 else 2
    legend = 0.19 * -(-len(labels) // across)
    figure = Figure(figsize=(2.75 * len(kinds) + 0.5, 5.2 + legend))
    panels = figure.subplots(2, len(kinds), squeeze=False, sharey="col").T
    seen: dict[str, Line2D] = {}
    for pair, kind in zip(panels, kinds, strict=True):
        for curve in found:
            if curve.objective != kind:
                continue
            for axis, amounts in zip(
                pair,
                (
                    [point.tokens for point in curve.points],
                    [point.flops for point in curve.points],
                ),
                strict=True,
            ):
                seen.setdefault(curve.key.label, _curve(axis, curve, amounts, style))
        pair[0].set_title(kinds[kind])
        for axis, name in zip(pair, ("tokens seen", "training FLOPs"), strict=True):
            axis.set_xlabel(f"{name} by the lineage")
            axis.xaxis.set_major_locator(MaxNLocator(5))
            axis.xaxis.set_major_formatter(EngFormatter(sep=""))
            # the first losses are ten times the last: on a plain scale the ends lie together
            axis.set_yscale("log", base=2)
            axis.yaxis.set_major_formatter(FuncFormatter(lambda loss, _: f"{loss:g}"))
    for axis in panels[0]:
        unit = f",\n{style.loss_unit}" if style.loss_unit else ""
        axis.set_ylabel(f"validation loss{unit} (log)")
    figure.legend(
        handles=list(seen.values()),
        labels=list(seen),
        loc="outside lower center",
        ncols=across,
        frameon=False,
        fontsize=8,
    )
    return figure


def _curve(axis: Axes, curve: LearningCurve, amounts: Sequence[int], style: Style) -> Line2D:
    (line,) = axis.plot(
        amounts,
        [point.loss for point in curve.points],
        color=colour_of(curve.key.lineage, style),
        linestyle="--" if curve.adapted else "-",
        linewidth=1.2,
        marker=marker_of(curve.key.lineage, style),
        markersize=2.6,
    )
    return line


def _draw_lines(
    axis: Axes,
    found: Sequence[CellLine],
    places: Sequence[CellStage],
    *,
    style: Style,
    labels: Labels,
    normalised: bool,
) -> None:
    apart = len(places) - 1
    for place, line in enumerate(found):
        colour = colour_of(line.key.lineage, style)
        for stage, row in line.scores.items():
            at = place + (LIFT * (2 * places.index(stage) / apart - 1) if apart else 0.0)
            value, low, high = _placed(row) if normalised else (row.value, row.low, row.high)
            if value is None or low is None or high is None:
                continue
            if not normalised and row.lowest is not None and row.highest is not None:
                axis.plot(
                    [row.lowest, row.highest],
                    [at] * 2,
                    color=colour,
                    linewidth=4.5,
                    alpha=0.22,
                    solid_capstyle="butt",
                )
            axis.plot([low, high], [at] * 2, color=colour, linewidth=1.1, alpha=0.75)
            axis.plot(
                [value],
                [at],
                marker=marker_of(line.key.lineage, style),
                markersize=5.5,
                color=colour,
                markerfacecolor=colour if stage == places[-1] else PAPER,
                linestyle="none",
            )
        if place and line.tokens != found[place - 1].tokens:
            axis.axhline(place - 0.5, color="#999999", linewidth=0.8)
    if normalised:
        axis.axvline(0, color=INK, linewidth=1.0, linestyle=(0, (4, 2)))
    named = [
        f"{line.label}  ·  {budget(line.tokens) if line.tokens else 'tokens not known'}"
        for line in found
    ]
    axis.set_yticks(range(len(found)), named if labels == "beside" else [""] * len(found))
    axis.set_ylim(len(found) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)


def _legend(
    style: Style, places: Sequence[CellStage], *, chance: str = "", spread: str = ""
) -> list[Line2D]:
    def mark(label: str, **look: object) -> Line2D:
        # matplotlib types each look by itself, not a dict of them
        return Line2D([], [], linestyle="none", label=label, **look)  # type: ignore[arg-type]

    handles = [
        mark(style.colours[key], marker="o", color=colour) for key, colour in colours(style).items()
    ]
    handles += [
        mark(style.markers[key], marker=marker, color=OTHER)
        for key, marker in markers(style).items()
    ]
    if len(places) > 1:
        handles += [
            mark(places[0].name, marker="o", color=OTHER, markerfacecolor=PAPER),
            mark(places[-1].name, marker="o", color=OTHER),
        ]
    if chance:
        handles.append(Line2D([], [], color=INK, linestyle=(0, (4, 2)), label=chance))
    if spread:
        handles.append(Line2D([], [], color=OTHER, linewidth=4.5, alpha=0.3, label=spread))
    return handles
