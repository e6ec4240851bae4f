"""Figures of the scores and of the learning curves.

Owns what they show: one colour an architecture, one marker an objective, filled after finetuning
and open before. Style and files are `eval.report.figures.drawing`'s.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator

from eval.evidence.table import SUITE, Pair, Row, pairs
from eval.report.figures.drawing import (
    COLOURS,
    INK,
    OTHER,
    PAPER,
    figure_style,
    finish,
    slug,
)
from study.show.numbers import budget
from study.show.table import Drawing

MARKERS = {"FLM": "o", "PLM": "s", "MLM": "^"}
NAMES = {"CD": "causal decoder", "ND": "non-causal decoder", "ED": "encoder-decoder"}
Labels = Literal["beside", "none"]
OFF = "before finetuning, off-objective"
OBJECTIVES = {"FLM": "full LM", "PLM": "prefix LM", "MLM": "span corruption"}


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """Validation loss (nats per loss token) after this much of the lineage's training."""

    tokens: int
    flops: int
    loss: float


@dataclass(frozen=True, kw_only=True)
class LearningCurve:
    """One run's curve. objective: its stage's (`FLM`); label: its lineage."""

    objective: str
    label: str
    seed: int
    points: tuple[CurvePoint, ...]


def headline(rows: Sequence[Row], *, where: str) -> Drawing | None:
    """Cells before and after finetuning on a suite, chance-normalised; unadapted span-corruption
    models before finetuning below, apart. rows: of one suite and size; where: names them. None
    where nothing was scored.
    """
    rows = [row for row in rows if row.task == SUITE and row.normalised is not None]
    if not rows:
        return None
    with figure_style():
        return finish(
            _headline(rows),
            name=slug("headline", where),
            title=f"Scores of each cell before and after finetuning: {where}",
            description="One line a lineage; open marks before, filled marks after finetuning, "
            "with 95% intervals. The numbers stand in the table below.",
        )


def _headline(rows: Sequence[Row]) -> Figure:
    main = [row for row in rows if row.stage != OFF]
    apart = [row for row in rows if row.stage == OFF]
    parts = [block for block in (pairs(main), pairs(apart)) if block]
    heights = [len(block) + 0.9 for block in parts]
    figure = Figure(figsize=(7.4, 0.34 * sum(heights) + 1.15))
    axes = figure.subplots(len(parts), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axis, block, is_main in zip(axes, parts, (bool(main), False), strict=False):
        _draw_lines(axis, block, labels="beside")
        axis.set_title(
            "on their own objective, or finetuned"
            if is_main
            else "off-objective: span corruption, untuned"
        )
    # A difference of a point must not fill the figure where nothing was learned.
    low, high = axes[0].get_xlim()
    axes[0].set_xlim(min(low, -0.15), max(high, 0.35))
    axes[-1].set_xlabel("chance-normalised score (0 = chance, 1 = all right)")
    figure.legend(handles=_legend(), loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure


def families(rows: Sequence[Row], *, where: str) -> Drawing | None:
    """Small multiples: each ranked or greedy task, every cell, with its chance line and the spread
    over its templates.
    """
    rows = [
        row
        for row in rows
        if row.task != SUITE and not row.hole and row.unit == "accuracy" and row.stage != OFF
    ]
    tasks = list(dict.fromkeys(row.task for row in rows))
    if not tasks:
        return None
    with figure_style():
        return finish(
            _families(rows, tasks),
            name=slug("tasks", where),
            title=f"Accuracy on each task: {where}",
            description="One panel a task, one line a lineage; a thin line is the 95% interval, a "
            "wide pale one reaches from the worst to the best prompt template, the dashed line is "
            "guessing. The numbers stand in the table below.",
        )


def _families(rows: Sequence[Row], tasks: Sequence[str]) -> Figure:
    columns = min(3, len(tasks))
    lines = max(len(pairs([row for row in rows if row.task == task])) for task in tasks)
    grid = -(-len(tasks) // columns)
    handles = _legend(chance="chance", spread="over prompt templates")
    across = 4 if columns > 1 else 2  # a single task's figure is narrower than four names
    legend = 0.19 * -(-len(handles) // across) + 0.33
    figure = Figure(figsize=(2.0 + 2.3 * columns, grid * (0.27 * lines + 0.65) + legend))
    axes = figure.subplots(grid, columns, sharex=True, squeeze=False)
    for place, axis in enumerate(axes.flat):
        if place >= len(tasks):
            axis.axis("off")
            continue
        own = [row for row in rows if row.task == tasks[place]]
        labels: Labels = "beside" if place % columns == 0 else "none"
        _draw_lines(axis, pairs(own), normalised=False, labels=labels)
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


def curves(found: Sequence[LearningCurve]) -> Drawing | None:
    """Validation loss by tokens above and by training FLOPs below: one column an objective, since
    losses of two objectives are no common scale.
    """
    kinds = [k for k in ("FLM", "PLM", "MLM", "MTF") if any(c.objective == k for c in found)]
    if not kinds:
        return None
    with figure_style():
        return finish(
            _curves(found, kinds),
            name="curves",
            title="Validation loss by tokens seen and by training FLOPs",
            description="Two panels an objective: over tokens, and over training FLOPs. "
            "One line a run; dashed lines are adapted lineages.",
        )


def _curves(found: Sequence[LearningCurve], kinds: Sequence[str]) -> Figure:
    names = OBJECTIVES | {"MTF": "multitask finetuning"}
    labels = list(dict.fromkeys(curve.label for curve in found if curve.points))
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
                seen.setdefault(curve.label, _curve(axis, curve, amounts))
        pair[0].set_title(names[kind])
        for axis, name in zip(pair, ("tokens seen", "training FLOPs"), strict=True):
            axis.set_xlabel(f"{name} by the lineage")
            axis.xaxis.set_major_locator(MaxNLocator(5))
            axis.xaxis.set_major_formatter(EngFormatter(sep=""))
            # the first losses are ten times the last: on a plain scale the ends lie together
            axis.set_yscale("log", base=2)
            axis.yaxis.set_major_formatter(FuncFormatter(lambda loss, _: f"{loss:g}"))
    for axis in panels[0]:
        axis.set_ylabel("validation loss,\nnats per loss token (log)")
    figure.legend(
        handles=list(seen.values()),
        labels=list(seen),
        loc="outside lower center",
        ncols=across,
        frameon=False,
        fontsize=8,
    )
    return figure


def _curve(axis: Axes, curve: LearningCurve, amounts: Sequence[int]) -> Line2D:
    colour, style = _curve_look(curve)
    (line,) = axis.plot(
        amounts,
        [point.loss for point in curve.points],
        color=colour,
        linestyle=style,
        linewidth=1.2,
        marker=_marker(curve.label),
        markersize=2.6,
    )
    return line


def _draw_lines(
    axis: Axes, lines: Sequence[Pair], *, labels: Labels, normalised: bool = True
) -> None:
    for place, line in enumerate(lines):
        for row, filled, lift in ((line.before, False, -0.13), (line.after, True, 0.13)):
            if row is None:
                continue
            value, low, high = (
                (row.normalised, row.normalised_low, row.normalised_high)
                if normalised
                else (row.value, row.low, row.high)
            )
            if value is None or low is None or high is None:
                continue
            colour = COLOURS.get(_last_text_cell(line.label)[:2], OTHER)
            if not normalised and row.lowest is not None and row.highest is not None:
                axis.plot(
                    [row.lowest, row.highest],
                    [place + lift] * 2,
                    color=colour,
                    linewidth=4.5,
                    alpha=0.22,
                    solid_capstyle="butt",
                )
            axis.plot([low, high], [place + lift] * 2, color=colour, linewidth=1.1, alpha=0.75)
            axis.plot(
                [value],
                [place + lift],
                marker=_marker(line.label),
                markersize=5.5,
                color=colour,
                markerfacecolor=colour if filled else PAPER,
                linestyle="none",
            )
        if place and line.tokens != lines[place - 1].tokens:
            axis.axhline(place - 0.5, color="#999999", linewidth=0.8)
    if normalised:
        axis.axvline(0, color=INK, linewidth=1.0, linestyle=(0, (4, 2)))
    named = [
        f"{line.label}  ·  {budget(line.tokens) if line.tokens else 'tokens not known'}"
        for line in lines
    ]
    axis.set_yticks(range(len(lines)), named if labels == "beside" else [""] * len(lines))
    axis.set_ylim(len(lines) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)


def _marker(label: str) -> str:
    return MARKERS.get(_last_text_cell(label)[3:], "D")


def _last_text_cell(label: str) -> str:
    """What a lineage was before finetuning: `ND:MLM` of `CD:FLM → ND:MLM → ND:MTF`."""
    named = re.findall(r"\b(?:CD|ND|ED):(?:FLM|PLM|MLM)\b", label)
    return named[-1] if named else ""


def _curve_look(curve: LearningCurve) -> tuple[str, str]:
    adapted = curve.label.count("→") - (curve.objective == "MTF")
    return COLOURS.get(curve.label.split(" → ")[-1][:2], OTHER), "--" if adapted else "-"


def _legend(*, chance: str = "", spread: str = "") -> list[Line2D]:
    def mark(label: str, **look: object) -> Line2D:
        # matplotlib types each look by itself, not a dict of them
        return Line2D([], [], linestyle="none", label=label, **look)  # type: ignore[arg-type]

    handles = [mark(NAMES[key], marker="o", color=colour) for key, colour in COLOURS.items()]
    handles += [
        mark(f"{OBJECTIVES[key]}", marker=marker, color=OTHER) for key, marker in MARKERS.items()
    ]
    handles += [
        mark("before finetuning", marker="o", color=OTHER, markerfacecolor=PAPER),
        mark("after finetuning", marker="o", color=OTHER),
    ]
    if chance:
        handles.append(Line2D([], [], color=INK, linestyle=(0, (4, 2)), label=chance))
    if spread:
        handles.append(Line2D([], [], color=OTHER, linewidth=4.5, alpha=0.3, label=spread))
    return handles
