"""Task by task: small multiples with the spread over prompts, tests against guessing, held-out
prose.

And every prompt's score beside what its answers score without the question; and how scores were
made: the rule's options, what was asked, skipped and truncated.
"""

from __future__ import annotations

from collections.abc import Iterator

from eval.evidence.context_free import PromptRow, PromptSummary, rows, summaries
from eval.evidence.panel import Panel
from eval.report import accounts, grids, prose
from eval.report.figures import scores as plots
from eval.report.material import Material
from eval.report.sections.scores import budget_groups, budget_name
from study.show.columns import Columns, grid, label, number, words
from study.show.numbers import DASH, between, count, percent
from study.show.table import Block, Details, Heading, Lines, Section, Text, blocks

PROSE_NOTE = (
    "Bits per byte of whole documents, lower is better; the unit is its own and enters no score. "
    "Every document is scored after an empty context. That is how a full language model trains; "
    "prefix and encoder-decoder models never trained without a prefix, and span-corruption models "
    "never on running text, so this table ranks objectives and layouts together, and no cell's "
    "knowledge."
)


def tasks_section(material: Material) -> Section:
    parts = material.by_panel(lambda panel: _part(material, panel))
    note = Text(text=prose.TASK_NOTE, style="caption")
    return Section(anchor="tasks", title="Task by task", name="Tasks", blocks=(note, *parts))


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
    bits = grids.bits_grid(rows, caption=f"Held-out prose: {where}")
    if bits.rows:
        yield Heading(text="Held-out prose")
        yield bits
        yield Text(text=PROSE_NOTE, style="caption")


def _note(text: str) -> Text | None:
    return Text(text=text, style="caption") if text else None


CAPTION = (
    "Context-free: accuracy of the same answers ranked after an empty context, which comes from "
    "their wording alone; a prompt that scores no more than that has not been read. Means over the "
    "cells of a stage and their seeds, with the lowest and the highest cell. Between prompts: best "
    "less worst template of the task, per cell, then the mean. Twins score one half there by "
    "construction; greedy answers score what an empty context happens to be continued by."
)


def prompts_section(material: Material) -> Section | None:
    parts = material.by_panel(lambda panel: _prompt_part(rows(panel), where=material.name(panel)))
    if not parts:
        return None
    return Section(
        anchor="prompts",
        title="Prompts, with and without their question",
        name="Prompts",
        blocks=(Text(text=CAPTION, style="caption"), *parts),
    )


def _prompt_part(found: tuple[PromptRow, ...], *, where: str) -> Iterator[Block]:
    if not found:
        return
    yield grid(PROMPTS, summaries(found), caption=f"Prompts: {where}")
    yield Details(
        summary=f"Every cell under every prompt of {where}",
        blocks=(grid(CELLS, found, caption=f"Prompts, cell by cell: {where}"),),
    )


PROMPTS: Columns[PromptSummary] = (
    label("finetuning", lambda each: each.stage),
    label("task", lambda each: each.task),
    words("prompt", lambda each: each.template or DASH),
    number("cells", lambda each: str(each.cells)),
    number("score, %", lambda each: percent(each.score)),
    number("context-free, %", lambda each: percent(each.context_free)),
    number("lowest to highest cell", lambda each: between(each.lowest, each.highest)),
    number("guessing", lambda each: percent(each.chance)),
    number("between prompts, points", lambda each: percent(each.spread)),
)
CELLS: Columns[PromptRow] = (
    *grids.CELL,
    label("task", lambda each: each.task),
    words("prompt", lambda each: each.template or DASH),
    number("items", lambda each: count(each.items)),
    number("score, %", lambda each: percent(each.score)),
    number("context-free, %", lambda each: percent(each.context_free)),
    number("its 95% interval (items)", lambda each: between(each.low, each.high)),
)


SCORING_CAPTION = (
    "Skipped rows are those that a template does not apply to, the same for every cell. Truncated: "
    "items whose context lost tokens. Ties: items where several choices share the highest score; a "
    "tie gives its share of a point."
)


def scoring_section(material: Material) -> Section:
    asked = "Rows asked, skipped and truncated, by task and template"
    questions = grid(accounts.QUESTIONS, accounts.questions(material.panels), caption=asked)
    return Section(
        anchor="scoring",
        title="Scoring",
        blocks=blocks(
            Lines(items=tuple(prose.scoring(material.panels))),
            grids.end_grid(material.panels),
            Details(
                summary=asked,
                blocks=(questions, Text(text=SCORING_CAPTION, style="caption")),
            )
            if questions.rows
            else None,
        ),
    )
