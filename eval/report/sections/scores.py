"""The headline: each lineage at its stages, one suite and model size at a time.

Owns the refusal to put unequal token budgets into one table: each budget has its own, unless the
report was asked to label them instead.

Beside it: every measure of every cell, with Wilson's interval beside the other; learning curves
over tokens and over FLOPs; and planned scores and curves that are not there.
"""

from __future__ import annotations

from collections.abc import Iterator

from eval.evidence import held_out
from eval.evidence.lines import by_budget
from eval.evidence.panel import Panel
from eval.evidence.table import SUITE, Row
from eval.report import accounts, grids, prose
from eval.report.figures import scores as plots
from eval.report.material import Material
from study.runs.measure import Measure
from study.show.columns import Columns, grid, label, number, words
from study.show.numbers import between, budget, decimal, percent
from study.show.table import Block, Details, Hole, Section, Text, blocks, hole


def scores_section(material: Material) -> Section:
    return Section(
        anchor="scores",
        title=material.words.scores,
        name="Scores",
        blocks=material.by_panel(lambda panel: _part(material, panel)),
    )


def _part(material: Material, panel: Panel) -> Iterator[Block]:
    where = material.name(panel)
    rows = material.rows(panel)
    own = [row for row in rows if row.task == SUITE]
    if all(row.hole for row in own):
        planned = f": {len(own)} scores are planned" if own else ""
        yield Hole(text=f"Nothing is scored on {where} yet{planned}.")
        return
    groups = budget_groups(material, own)
    if len(groups) == 1 and len(by_budget(own)) > 1:
        yield Text(text=_unequal(own), style="note")
    elif len(groups) > 1:
        listed = ", ".join(f"{tokens:,}" if tokens else "not known" for tokens, _ in groups)
        yield Text(
            text=f"Scored at {len(groups)} token budgets ({listed}). Cells of "
            "unequal budgets are no comparison, so each budget has a table of its own; "
            "study report --unequal-budgets puts them into one, labelled.",
            style="caption",
        )
    for tokens, group in groups:
        named = where if len(groups) == 1 else f"{where}, {budget_name(tokens)}"
        drawn = plots.headline(group, style=panel.reporting.style, where=named)
        if drawn is not None:
            yield drawn
            yield Text(text=_caption(panel, rows, group), style="caption")
        yield grids.headline_grid(panel, group, caption=f"{panel.reporting.words.scores}: {named}")
    yield Details(
        summary=f"Every column of {where}: stages below each other, plain intervals",
        blocks=blocks(grids.suite_grid(panel, rows, caption=f"Scores stage by stage: {where}")),
    )


def budget_groups(material: Material, rows: list[Row]) -> list[tuple[int, list[Row]]]:
    """(tokens, rows) of what may stand in one table."""
    if material.budgets == "label":
        return [(min(row.tokens for row in rows), rows)]
    return by_budget(rows)


def budget_name(tokens: int) -> str:
    return f"{budget(tokens)} tokens" if tokens else "tokens not known"


def _unequal(rows: list[Row]) -> str:
    listed = ", ".join(f"{tokens:,}" if tokens else "not known" for tokens, _ in by_budget(rows))
    return (
        f"Unequal token budgets stand in one table here, as asked: {listed} tokens. "
        "A difference between two of them is one of budget as well."
    )


def _caption(panel: Panel, rows: list[Row], own: list[Row]) -> str:
    named = panel.reporting
    notes = dict.fromkeys(row.key.note for row in own if row.key is not None and row.key.note)
    score = (
        f"Each line is a lineage at the token budget named beside it. Score: per task the median "
        f"over {named.words.conditions}, then the mean over the {prose.headline_tasks(panel)}, "
        "averaged over seeds"
    )
    if panel.measure.is_share:
        score += " and rescaled so that 0 is guessing and 1 is all right"
    parts = [f"{score}. Bars: {prose.bars(rows)}."]
    parts += [named.notes[each] for each in notes if each in named.notes]
    if panel.measure.is_share:
        parts.append(
            "A model can be below 0: it then prefers wrong answers more often than guessing would."
        )
    return " ".join((*parts, "Each score links to the runs behind it."))


CAPTION = (
    "Validation loss on held-out data of each run's own objective, over the tokens that the whole "
    "lineage had seen (above) and over its training FLOPs by formula (below). The columns have "
    "different objectives and so different losses: a lower curve in one says nothing against a "
    "curve in another. Dashed: adapted lineages, which begin where their parent stopped. "
    "One line a seed."
)


def curves_section(material: Material) -> Section:
    found_curves = accounts.learning_curves(material.runs, store=material.store)
    drawn = plots.curves(found_curves, style=material.reporting.style)
    found: tuple[Block, ...] = (
        (Hole(text="No run has validated yet."),)
        if drawn is None
        else (drawn, Text(text=CAPTION, style="caption"))
    )
    return Section(anchor="curves", title="Learning curves", blocks=found)


UNREAD: Columns[tuple[str, str]] = (
    label("run", lambda found: found[0]),
    words("why", lambda found: hole(found[1])),
)


def holes_section(material: Material) -> Section:
    missing = grids.hole_grid(material.scores, named=material.words)
    none = Text(text="None: every planned score is in the tables above.")
    note = Text(
        text="Planned scores that are not in the tables above. Means are over the seeds that are "
        "there.",
        style="caption",
    )
    damaged = held_out.damaged(material.runs, store=material.store)
    unread = grid(UNREAD, damaged, caption="Training curves that cannot be read")
    scores = (note, missing) if missing.rows else (none,)
    return Section(anchor="holes", title="Holes", blocks=(*scores, *blocks(unread)))


def measures_section(material: Material) -> Section | None:
    parts = material.by_panel(lambda panel: _measure_part(material, panel))
    if not parts:
        return None
    measures = dict.fromkeys(each for panel in material.panels for each in _beside(panel))
    return Section(
        anchor="measures",
        title="Beside accuracy",
        name="Measures",
        blocks=(
            Text(
                text="Accuracy says little of a model that sits at chance; these move before it "
                f"does. {' '.join(each.note for each in measures if each.note)} All by the "
                f"estimator of accuracy: median over {material.words.conditions} of the mean over "
                "items, then the mean over tasks and seeds. Intervals are 95%: over seeds and "
                "items with three seeds or more, else over items. Wilson's is over items alone and "
                "is there at 0 and at 1 too.",
                style="caption",
            ),
            *parts,
        ),
    )


def _beside(panel: Panel) -> list[Measure]:
    """What stands beside the shares of a panel."""
    known = {each.name: each for each in panel.domain.measures if isinstance(each, Measure)}
    shares = [each.measure for each in panel.tasks if each.measure.is_share]
    return list(dict.fromkeys(known[name] for each in shares for name in each.beside))


def _measure_part(material: Material, panel: Panel) -> Iterator[Block]:
    where = material.name(panel)
    columns = _measures(panel)
    rows = [row for row in material.rows(panel) if row.is_share and not row.hole]
    suite = [row for row in rows if row.task == SUITE]
    named = f"Measures of the suite: {where}"
    yield from blocks(grid(columns, suite, caption=named, style=grids.off))
    tasks = [row for row in rows if row.task != SUITE]
    named = f"Measures task by task: {where}"
    if tasks:
        yield Details(
            summary=f"Every measure on every task of {where}",
            blocks=blocks(grid(columns, tasks, caption=named, style=grids.off)),
        )


def _measures(panel: Panel) -> Columns[Row]:
    return (
        *grids.cell_columns(panel.reporting.words),
        label("task", lambda row: row.task),
        number("accuracy, %", lambda row: percent(row.value)),
        number("95% interval", lambda row: between(row.low, row.high)),
        number("Wilson's, items alone", lambda row: between(row.wilson_low, row.wilson_high)),
        *(column for each in _beside(panel) for column in _pair(each)),
    )


def _pair(measure: Measure) -> Columns[Row]:
    def interval(row: Row) -> str:
        found = row.of(measure.name)
        return between(found.low, found.high, decimal)

    title = measure.title or measure.name
    return (
        number(title, lambda row: decimal(row.of(measure.name).value)),
        number("interval", interval),
    )
