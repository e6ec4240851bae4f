"""Where the spread of a score comes from: seeds, prompts and items, each by itself."""

from __future__ import annotations

from eval.evidence.components import Spread, spreads
from eval.evidence.table import SUITE
from eval.report.grids import percent
from eval.report.material import Material
from study.show.table import Block, Grid, Heading, Section, Text, line

CAPTION = (
    "Standard deviations of single answers, in points, by the method of moments (unbiased "
    "variances, averaged over the cells of a stage; below zero they print as 0, and a dash cannot "
    "be told). Seed: how far a cell's score moves with the pretraining seed. Prompt: how far it "
    "moves with the template. Item: how much items differ in difficulty for a cell. Seed × prompt: "
    "seeds that do better under one template, and so on; the rest is mostly the chance of single "
    "answers. A mean over S seeds, K prompts and I items has the variance seed²/S + prompt²/K + "
    "item²/I + (seed × prompt)²/SK and so on. The study holds prompts fixed: their spread is shown "
    "and enters no error."
)
_COLUMNS = (
    ("seed", "seed"),
    ("prompt", "template"),
    ("item", "item"),
    ("seed × prompt", "seed_template"),
    ("seed × item", "seed_item"),
    ("prompt × item", "template_item"),
    ("rest", "rest"),
)


def section(material: Material) -> Section | None:
    parts: list[Block] = []
    for panel in material.panels:
        found = spreads(panel)
        if not found:
            continue
        if len(material.panels) > 1:
            parts.append(Heading(text=material.name(panel)))
        parts.append(_grid(found, caption=f"Sources of spread: {material.name(panel)}"))
    if not parts:
        return None
    return Section(
        anchor="spread",
        title="Spread over seeds, prompts and items",
        name="Spread",
        blocks=(Text(text=CAPTION, style="caption"), *parts),
    )


def _grid(found: tuple[Spread, ...], *, caption: str) -> Grid:
    return Grid(
        caption=caption,
        head=(
            ("finetuning", "w"),
            ("task", "w"),
            ("cells", "n"),
            ("seeds", "n"),
            ("prompts", "n"),
            ("items", "n"),
            *((name, "n") for name, _ in _COLUMNS),
        ),
        rows=tuple(
            line(
                each.stage,
                each.task,
                str(each.cells),
                f"{each.seeds:g}",
                f"{each.templates:.3g}",
                f"{each.items:,.0f}",
                *(percent(each.deviation(name)) for _, name in _COLUMNS),
                style="block" if each.task == SUITE else "",
            )
            for each in found
        ),
    )
