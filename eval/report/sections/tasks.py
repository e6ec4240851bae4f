"""Task by task: small multiples with the spread over prompts, tests against guessing, held-out
prose.
"""

from __future__ import annotations

from collections.abc import Iterator

from eval.evidence.panel import Panel
from eval.report import grids, prose
from eval.report.figures import scores as plots
from eval.report.material import Material
from eval.report.sections.scores import budget_groups, budget_name
from study.show.table import Block, Details, Grid, Heading, Section, Text, blocks

PROSE_NOTE = (
    "Bits per byte of whole documents, lower is better; the unit is its own and enters no score. "
    "Every document is scored after an empty context. That is how a full language model trains; "
    "prefix and encoder-decoder models never trained without a prefix, and span-corruption models "
    "never on running text, so this table ranks objectives and layouts together, and no cell's "
    "knowledge."
)


def section(material: Material) -> Section:
    parts: list[Block] = [Text(text=prose.TASK_NOTE, style="caption")]
    for panel in material.panels:
        if len(material.panels) > 1:
            parts.append(Heading(text=material.name(panel)))
        parts += _part(material, panel)
    return Section(anchor="tasks", title="Task by task", name="Tasks", blocks=tuple(parts))


def _part(material: Material, panel: Panel) -> Iterator[Block]:
    where = material.name(panel)
    rows = material.rows(panel)
    scored = [row for row in rows if not row.hole]
    groups = budget_groups(material, scored) if scored else []
    for tokens, group in groups:
        named = where if len(groups) == 1 else f"{where}, {budget_name(tokens)}"
        drawn = plots.families(group, where=named)
        if drawn is not None:
            yield drawn
            yield Text(
                text=f"Accuracy (median over templates) of each cell on {named}. Tasks marked "
                "stretch or probe do not count in the score above. Wide pale lines reach from the "
                f"worst to the best template. Bars: {prose.bars(rows)}.",
                style="caption",
            )
    for told in prose.findings(rows):
        yield Text(text=told)
    tasks = grids.task_grid(rows, caption=f"Accuracy on each task: {where}")
    if tasks.rows:
        yield Details(
            summary="Every cell on every task, with tests",
            blocks=blocks(tasks, _note(prose.methods(rows))),
        )
    bits: Grid = grids.bits_grid(rows, caption=f"Held-out prose: {where}")
    if bits.rows:
        yield Heading(text="Held-out prose")
        yield bits
        yield Text(text=PROSE_NOTE, style="caption")


def _note(text: str) -> Text | None:
    return Text(text=text, style="caption") if text else None
