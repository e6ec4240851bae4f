"""Figures as inline SVG, drawn from the table and from learning curves.

Owns looks: one colour an architecture (Okabe and Ito's, told apart without red-green vision), one
marker an objective, filled after finetuning and open before. Text stays text, so a page is read
aloud, searched and scaled.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from eval.table import Row, Table

COLOURS = {"CD": "#0072B2", "ND": "#D55E00", "ED": "#009E73"}
OTHER = "#555555"
MARKERS = {"FLM": "o", "PLM": "s", "MLM": "^"}
NAMES = {"CD": "causal decoder", "ND": "non-causal decoder", "ED": "encoder-decoder"}
OBJECTIVES = {"FLM": "full LM", "PLM": "prefix LM", "MLM": "span corruption"}
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "archstudy",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.6,
}


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """Validation loss (nats per loss token) after this many tokens of the lineage."""

    tokens: int
    loss: float


@dataclass(frozen=True, kw_only=True)
class LearningCurve:
    """One run's curve. objective: its stage's (`FLM`); label: its lineage."""

    objective: str
    label: str
    seed: int
    points: tuple[CurvePoint, ...]


def headline(table: Table, *, suite: str, size: str) -> str | None:
    """Cells before and after finetuning on the suite, chance-normalised; unadapted span-corruption
    models before finetuning below, apart. None where nothing was scored.
    """
    rows = [
        row
        for row in table.suite_rows()
        if row.suite == suite and row.size == size and row.normalised is not None
    ]
    if not rows:
        return None
    main = [row for row in rows if row.stage != "before finetuning, off-objective"]
    apart = [row for row in rows if row.stage == "before finetuning, off-objective"]
    blocks = [block for block in (_lines(main), _lines(apart)) if block]
    heights = [len(block) + 0.9 for block in blocks]
    with figure_style():
        figure = Figure(figsize=(7.4, 0.34 * sum(heights) + 1.15))
        axes = figure.subplots(len(blocks), 1, sharex=True, squeeze=False, height_ratios=heights)[
            :, 0
        ]
        for axis, block, is_main in zip(axes, blocks, (bool(main), False), strict=False):
            _draw_lines(axis, block)
            axis.set_title(
                "on their own objective, or finetuned"
                if is_main
                else "off-objective: span-corruption models asked to continue text, untuned"
            )
        # A difference of a point must not fill the figure where nothing was learned.
        low, high = axes[0].get_xlim()
        axes[0].set_xlim(min(low, -0.15), max(high, 0.35))
        axes[-1].set_xlabel("chance-normalised score (0 = chance, 1 = all right)")
        figure.legend(
            handles=_legend(), loc="outside lower center", ncols=4, frameon=False, fontsize=8
        )
        return as_svg(figure, "scores of each cell before and after finetuning")


def families(table: Table, *, suite: str, size: str) -> str | None:
    """Small multiples: each ranked or greedy task, every cell, with its chance line."""
    rows = [
        row
        for row in table.task_rows()
        if row.suite == suite
        and row.size == size
        and row.unit == "accuracy"
        and row.stage != "before finetuning, off-objective"
    ]
    tasks = list(dict.fromkeys(row.task for row in rows))
    if not tasks:
        return None
    columns = min(3, len(tasks))
    lines = max(len(_lines([row for row in rows if row.task == task])) for task in tasks)
    grid = -(-len(tasks) // columns)
    with figure_style():
        figure = Figure(figsize=(2.0 + 2.3 * columns, grid * (0.27 * lines + 0.65) + 0.75))
        axes = figure.subplots(grid, columns, sharex=True, squeeze=False)
        for place, axis in enumerate(axes.flat):
            if place >= len(tasks):
                axis.axis("off")
                continue
            own = [row for row in rows if row.task == tasks[place]]
            _draw_lines(axis, _lines(own), normalised=False, labels=place % columns == 0)
            role = own[0].role
            axis.set_title(tasks[place] + ("" if role == "headline" else f" ({role})"))
            if own[0].chance is not None:
                axis.axvline(own[0].chance, color="black", linewidth=1.0, linestyle=(0, (4, 2)))
            axis.set_xlim(-0.02, 1.02)
            axis.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "¼", "½", "¾", "1"])
            axis.tick_params(labelbottom=True)
        figure.legend(
            handles=_legend(chance="chance"),
            loc="outside lower center",
            ncols=4,
            frameon=False,
            fontsize=8,
        )
        return as_svg(figure, "accuracy on each task")


def curves(found: Sequence[LearningCurve]) -> str | None:
    """Validation loss by tokens: one panel an objective, since losses of two objectives are no
    common scale.
    """
    kinds = [k for k in ("FLM", "PLM", "MLM", "MTF") if any(c.objective == k for c in found)]
    if not kinds:
        return None
    names = OBJECTIVES | {"MTF": "multitask finetuning"}
    with figure_style():
        figure = Figure(figsize=(2.75 * len(kinds) + 0.5, 3.3))
        axes = figure.subplots(1, len(kinds), squeeze=False)[0]
        seen: dict[str, Line2D] = {}
        for axis, kind in zip(axes, kinds, strict=True):
            own = [curve for curve in found if curve.objective == kind and curve.points]
            for curve in own:
                colour, style = _curve_look(curve)
                (line,) = axis.plot(
                    [point.tokens / 1e6 for point in curve.points],
                    [point.loss for point in curve.points],
                    color=colour,
                    linestyle=style,
                    linewidth=1.2,
                    marker=_marker(curve.label),
                    markersize=2.6,
                )
                seen.setdefault(curve.label, line)
            axis.set_title(names[kind])
            axis.set_xlabel("tokens seen by the lineage, M")
            # the first losses are ten times the last: on a plain scale the ends lie on each other
            axis.set_yscale("log", base=2)
            axis.yaxis.set_major_formatter(FuncFormatter(lambda loss, _: f"{loss:g}"))
        axes[0].set_ylabel("validation loss, nats per loss token (log)")
        rows = -(-len(seen) // 3)
        figure.set_size_inches(2.75 * len(kinds) + 0.5, 3.1 + 0.19 * rows)
        figure.legend(
            handles=list(seen.values()),
            labels=list(seen),
            loc="outside lower center",
            ncols=3 if len(kinds) > 2 else 2,
            frameon=False,
            fontsize=8,
        )
        return as_svg(figure, "validation loss by tokens seen, one panel an objective")


@dataclass(frozen=True, kw_only=True)
class _Line:
    """One horizontal line of a dot plot: a pretraining lineage before and after finetuning."""

    label: str
    tokens: int
    before: Row | None
    after: Row | None


def _lines(rows: Sequence[Row]) -> list[_Line]:
    """By token budget, then as the plan has them."""
    found: dict[tuple[int, str], dict[str, Row]] = {}
    for row in rows:
        parts = row.cell.split(" → ")
        finetuned = row.stage == "after finetuning"
        name = " → ".join(parts[:-1]) if finetuned else row.cell
        if finetuned and parts[-1][:2] != parts[-2][:2]:
            name += f" → {parts[-1]}"
        found.setdefault((row.tokens, name), {})["after" if finetuned else "before"] = row
    return [
        _Line(label=name, tokens=tokens, before=pair.get("before"), after=pair.get("after"))
        for (tokens, name), pair in sorted(found.items(), key=lambda each: each[0][0])
    ]


def _draw_lines(
    axis: Axes, lines: Sequence[_Line], *, normalised: bool = True, labels: bool = True
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
            axis.plot([low, high], [place + lift] * 2, color=colour, linewidth=1.1, alpha=0.75)
            axis.plot(
                [value],
                [place + lift],
                marker=_marker(line.label),
                markersize=5.5,
                color=colour,
                markerfacecolor=colour if filled else "white",
                linestyle="none",
            )
        if place and line.tokens != lines[place - 1].tokens:
            axis.axhline(place - 0.5, color="#999999", linewidth=0.8)
    if normalised:
        axis.axvline(0, color="black", linewidth=1.0, linestyle=(0, (4, 2)))
    axis.set_yticks(
        range(len(lines)),
        [f"{line.label}  ·  {tokens(line.tokens)}" for line in lines]
        if labels
        else [""] * len(lines),
    )
    axis.set_ylim(len(lines) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)


def tokens(number: int) -> str:
    """A token count for people: 1.20M."""
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)


def _marker(label: str) -> str:
    return MARKERS.get(_last_text_cell(label)[3:], "D")


def _last_text_cell(label: str) -> str:
    """What a lineage was before finetuning: `ND:MLM` of `CD:FLM → ND:MLM → ND:MTF`."""
    named = re.findall(r"\b(?:CD|ND|ED):(?:FLM|PLM|MLM)\b", label)
    return named[-1] if named else ""


def _curve_look(curve: LearningCurve) -> tuple[str, str]:
    adapted = curve.label.count("→") - (curve.objective == "MTF")
    return COLOURS.get(curve.label.split(" → ")[-1][:2], OTHER), "--" if adapted else "-"


def _legend(*, chance: str = "") -> list[Line2D]:
    def mark(label: str, **look: object) -> Line2D:
        # matplotlib types each look by itself, not a dict of them
        return Line2D([], [], linestyle="none", label=label, **look)  # type: ignore[arg-type]

    handles = [mark(NAMES[key], marker="o", color=colour) for key, colour in COLOURS.items()]
    handles += [
        mark(f"{OBJECTIVES[key]}", marker=marker, color=OTHER) for key, marker in MARKERS.items()
    ]
    handles += [
        mark("before finetuning", marker="o", color=OTHER, markerfacecolor="white"),
        mark("after finetuning", marker="o", color=OTHER),
    ]
    if chance:
        handles.append(Line2D([], [], color="black", linestyle=(0, (4, 2)), label=chance))
    return handles


@contextmanager
def figure_style() -> Iterator[None]:
    # its stubs list the legal keys one by one
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        yield


def as_svg(figure: Figure, title: str) -> str:
    """The figure as an <svg> element with a name for readers that do not see it."""
    figure.set_layout_engine("constrained")
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    # Two figures of one page must not share ids.
    mark = re.sub(r"[^a-z]+", "-", title)
    text = re.sub(r'(id="|href="#|url\(#)', rf"\1{mark}-", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
