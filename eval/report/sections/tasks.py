"""Task by task: small multiples with the spread over conditions, tests against guessing, and the
measures that are no share.

And every condition's score (a prompt's, say) beside what its answers score without the question;
and how scores were made: the rule's options, what was asked, skipped and truncated.
"""

from __future__ import annotations

from collections.abc import Iterator

from eval.evidence.context_free import ConditionRow, ConditionSummary, rows, summaries
from eval.evidence.panel import Panel
from eval.report import grids, prose
from eval.report.figures import scores
from eval.report.material import Material
from eval.report.sections.scores import budget_groups, budget_name
from study.show.columns import Columns, grid, label, number, words
from study.show.numbers import DASH, between, count, percent
from study.show.table import Block, Details, Heading, Lines, Section, Text, blocks


def tasks_section(material: Material) -> Section:
    parts = material.by_panel(lambda panel: _part(material, panel))
    tested = any(row.method for row in material.scores.rows)
    note = blocks(_note(prose.TASK_NOTE if tested else ""))
    return Section(anchor="tasks", title="Task by task", name="Tasks", blocks=(*note, *parts))


def _part(material: Material, panel: Panel) -> Iterator[Block]:
    where = material.name(panel)
    conditions = panel.reporting.words.conditions
    rows = material.rows(panel)
    scored = [row for row in rows if not row.hole]
    groups = budget_groups(material, scored) if scored else []
    for tokens, group in groups:
        named = where if len(groups) == 1 else f"{where}, {budget_name(tokens)}"
        drawn = scores.families(group, style=panel.reporting.style, where=named)
        if drawn is not None:
            yield drawn
            yield Text(
                text=f"Accuracy (median over {conditions}) of each cell on {named}. Tasks with a "
                "word in brackets do not count in the score above. Wide pale lines reach from the "
                f"worst to the best {panel.reporting.words.condition}. Bars: {prose.bars(rows)}.",
                style="caption",
            )
    for text in prose.findings(rows):
        yield Text(text=text)
    tasks = grids.task_grid(panel, rows, caption=f"Accuracy on each task: {where}")
    if tasks.rows:
        yield Details(
            summary="Every cell on every task, with tests",
            blocks=blocks(tasks, _note(prose.methods(rows))),
        )
    for measure in grids.numbers(rows):
        title = measure.title or measure.name
        yield Heading(text=title)
        yield grids.number_grid(panel, rows, measure, caption=f"{title}: {where}")
        yield from blocks(_note(measure.note))


def _note(text: str) -> Text | None:
    return Text(text=text, style="caption") if text else None


CAPTION = (
    "Context-free: accuracy of the same answers ranked after an empty context, which comes from "
    "their wording alone; a {condition} that scores no more than that has not been read. Means "
    "over the cells of a stage and their seeds, with the lowest and the highest cell. Between "
    "{conditions}: best less worst of the task, per cell, then the mean. Twins score one half "
    "there by construction; greedy answers score what an empty context happens to be continued by."
)


def prompts_section(material: Material) -> Section | None:
    parts = material.by_panel(lambda panel: _prompt_part(panel, where=material.name(panel)))
    if not parts:
        return None
    named = material.words
    caption = CAPTION.format(condition=named.condition, conditions=named.conditions)
    return Section(
        anchor="prompts",
        title=f"{named.conditions.capitalize()}, with and without their question",
        name=named.conditions.capitalize(),
        blocks=(Text(text=caption, style="caption"), *parts),
    )


def _prompt_part(panel: Panel, *, where: str) -> Iterator[Block]:
    found = rows(panel)
    if not found:
        return
    named = panel.reporting.words
    title = named.conditions.capitalize()
    summary: Columns[ConditionSummary] = (
        grids.stage_column(named),
        label("task", lambda each: each.task),
        words(named.condition, lambda each: each.condition or DASH),
        number("cells", lambda each: str(each.cells)),
        *_SCORES,
        number("lowest to highest cell", lambda each: between(each.lowest, each.highest)),
        number("guessing", lambda each: percent(each.chance)),
        number(f"between {named.conditions}, points", lambda each: percent(each.spread)),
    )
    every: Columns[ConditionRow] = (
        *grids.cell_columns(named),
        label("task", lambda each: each.task),
        words(named.condition, lambda each: each.condition or DASH),
        number("items", lambda each: count(each.items)),
        *_SCORES,
        number("its 95% interval (items)", lambda each: between(each.low, each.high)),
    )
    yield grid(summary, summaries(found), caption=f"{title}: {where}")
    yield Details(
        summary=f"Every cell under every {named.condition} of {where}",
        blocks=(grid(every, found, caption=f"{title}, cell by cell: {where}"),),
    )


_SCORES: Columns[ConditionRow | ConditionSummary] = (
    number("score, %", lambda each: percent(each.score)),
    number("context-free, %", lambda each: percent(each.context_free)),
)


def scoring_section(material: Material) -> Section | None:
    scored = [
        (panel.runs[0].run.suite, [each.results for each in panel.runs if each.results])
        for panel in material.panels
        if panel.runs
    ]
    rules = prose.scoring(material.panels)
    found = blocks(
        Lines(items=tuple(rules)) if rules else None,
        grids.option_grid(material.panels),
        *material.reporting.counts(scored),
    )
    return Section(anchor="scoring", title="Scoring", blocks=found) if found else None
