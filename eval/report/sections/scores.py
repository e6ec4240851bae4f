"""The headline: each lineage before and after finetuning, one suite and model size at a time.

Owns the refusal to put unequal token budgets into one table: each budget has its own, unless the
report was asked to label them instead.
"""

from __future__ import annotations

from collections.abc import Iterator

from eval.evidence.lineages import by_budget
from eval.evidence.panel import Panel
from eval.evidence.table import SUITE, Row
from eval.report import grids, prose
from eval.report.figures import scores as plots
from eval.report.material import Material
from study.show.table import Block, Details, Heading, Hole, Section, Text, blocks


def section(material: Material) -> Section:
    parts: list[Block] = []
    for panel in material.panels:
        if len(material.panels) > 1:
            parts.append(Heading(text=material.name(panel)))
        parts += _part(material, panel)
    return Section(
        anchor="scores",
        title="Scores before and after finetuning",
        name="Scores",
        blocks=tuple(parts),
    )


def _part(material: Material, panel: Panel) -> Iterator[Block]:
    where = material.name(panel)
    rows = material.rows(panel)
    own = [row for row in rows if row.task == SUITE]
    if all(row.hole for row in own):
        planned = f": {len(own)} scores are planned" if own else ""
        yield Hole(text=f"Nothing is scored on {where} yet{planned}.")
        return
    chance = panel.chance if panel.headline else None
    groups = budget_groups(material, own)
    if len(groups) == 1 and len(by_budget(own)) > 1:
        yield Text(text=_unequal(own), style="note")
    elif len(groups) > 1:
        told = ", ".join(f"{tokens:,}" if tokens else "not known" for tokens, _ in groups)
        yield Text(
            text=f"Scored at {len(groups)} token budgets before finetuning ({told}). Cells of "
            "unequal budgets are no comparison, so each budget has a table of its own; "
            "study report --unequal-budgets puts them into one, labelled.",
            style="caption",
        )
    for tokens, group in groups:
        named = where if len(groups) == 1 else f"{where}, {budget_name(tokens)}"
        drawn = plots.headline(group, where=named)
        if drawn is not None:
            yield drawn
            yield Text(text=_caption(panel, rows, group), style="caption")
        yield grids.headline_grid(
            group, chance=chance, caption=f"Scores before and after finetuning: {named}"
        )
    yield Details(
        summary=f"Every column of {where}: stages below each other, plain intervals, nats",
        blocks=blocks(
            grids.suite_grid(rows, chance=chance, caption=f"Scores stage by stage: {where}")
        ),
    )


def budget_groups(material: Material, rows: list[Row]) -> list[tuple[int, list[Row]]]:
    """(tokens, rows) of what may stand in one table."""
    if material.budgets == "label":
        return [(min(row.tokens for row in rows), rows)]
    return by_budget(rows)


def budget_name(tokens: int) -> str:
    return f"{plots.tokens(tokens)} tokens" if tokens else "tokens not known"


def _unequal(rows: list[Row]) -> str:
    told = ", ".join(f"{tokens:,}" if tokens else "not known" for tokens, _ in by_budget(rows))
    return (
        f"Unequal token budgets stand in one table here, as asked: {told} tokens before "
        "finetuning. A difference between two of them is one of budget as well."
    )


def _caption(panel: Panel, rows: list[Row], own: list[Row]) -> str:
    off = any(row.stage == plots.OFF for row in own)
    return " ".join(
        part
        for part in (
            "Each line is a pretraining lineage at the token budget named beside it. Score: per "
            "task the median over prompt templates, then the mean over the "
            f"{prose.headline_tasks(panel)}, averaged over seeds and rescaled so that 0 is "
            f"guessing and 1 is all right. Bars: {prose.bars(rows)}.",
            "Span-corruption models before finetuning have never continued a text; their block is "
            "not an estimate of what they know."
            if off
            else "",
            "A model can be below 0: it then prefers wrong answers more often than guessing would.",
            "Each score links to the runs behind it.",
        )
        if part
    )
