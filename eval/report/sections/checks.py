"""Evaluation rows in the training data, and scores without the tasks that weigh on them.

And calibration: our scores of public checkpoints beside published ones, where numbers are declared.
"""

from __future__ import annotations

from collections.abc import Iterator

from eval.evidence import calibration, clean_scores, subpanels
from eval.evidence.calibration import Difference
from eval.evidence.clean_scores import CleanRow, TaskOverlap
from eval.evidence.panel import Panel
from eval.evidence.subpanels import ViewScores
from eval.report.grids import cell_columns
from eval.report.material import Material
from study.show.columns import Columns, grid, label, number
from study.show.numbers import between, count, over_chance, percent
from study.show.table import (
    Block,
    Cell,
    Details,
    Grid,
    Head,
    Hole,
    Line,
    Lines,
    Section,
    Text,
    blocks,
    hole,
    line,
)


def leakage_section(material: Material) -> Section | None:
    parts = material.by_panel(lambda panel: (*_overlap(material, panel), *_views(material, panel)))
    if not parts:
        return None
    search = material.reporting.overlap
    caption = (Text(text=search.caption, style="caption"),) if search else ()
    return Section(
        anchor="leakage",
        title="Contamination and leaked tasks",
        name="Leakage",
        blocks=(*caption, *parts),
    )


def _overlap(material: Material, panel: Panel) -> Iterator[Block]:
    found = clean_scores.contamination(panel, store=material.store)
    where = material.name(panel)
    search = panel.reporting.overlap
    if search and (note := search.note([each.task for each in panel.headline])):
        yield Text(text=note, style="note")
    yield from (Hole(text=each) for each in found.holes)
    corpora = grid(CORPORA, found.overlaps, caption=f"Rows found in training text: {where}")
    yield from blocks(corpora)
    if not found.rows:
        return
    if not any(row.hits for row in found.rows):
        yield Text(text=f"No item of {where} is a hit: scores without them are the scores.")
        return
    suite = [row for row in found.rows if row.task == clean_scores.SUITE]
    if found.left_out:
        yield Text(
            text=f"No item of {', '.join(found.left_out)} is left without the hits; the suite's "
            "scores here, with and without, are over the other tasks.",
            style="note",
        )
    if suite:
        yield grid(_clean(panel), suite, caption=f"The suite with and without the hits: {where}")
    yield Details(
        summary=f"Every task of {where} with and without the hits",
        blocks=blocks(
            grid(
                _clean(panel),
                [row for row in found.rows if row.task != clean_scores.SUITE],
                caption=f"With and without the hits, task by task: {where}",
            )
        ),
    )


def _share(part: int, whole: int) -> str:
    return percent(part / whole if whole > 0 else None)


CORPORA: Columns[TaskOverlap] = (
    label("task", lambda each: each.task),
    label("corpus", lambda each: each.corpus),
    number("rows", lambda each: count(each.rows)),
    number("hits", lambda each: count(each.hits)),
    number("of the rows long enough, %", lambda each: _share(each.hits, each.rows - each.short)),
    number("too short to say", lambda each: count(each.short)),
    number("n-grams found, %", lambda each: _share(each.found, each.grams)),
)


def _clean(panel: Panel) -> Columns[CleanRow]:
    return (
        *cell_columns(panel.reporting.words),
        label("task", lambda row: row.task),
        number("items", lambda row: count(row.items)),
        number("hits", lambda row: count(row.hits)),
        number("all, %", lambda row: percent(row.whole)),
        number("without the hits, %", lambda row: percent(row.clean)),
        number("95% interval", lambda row: between(row.low, row.high)),
        number("the hits alone, %", lambda row: percent(row.hit)),
    )


def _views(material: Material, panel: Panel) -> Iterator[Block]:
    found = subpanels.view_scores(panel)
    if not found:
        return
    yield Lines(items=tuple(f"{each.view.name}: {each.view.why}" for each in found))
    staged = any(row.stage for row in found[0].rows)
    stage: Head = ((panel.reporting.words.stage, "w"),) if staged else ()
    yield Grid(
        caption=f"Scores over part of the tasks: {material.name(panel)}",
        head=(
            ("lineage", "w"),
            *stage,
            (panel.reporting.words.budget, "n"),
            *((f"{each.view.name}, %", "n") for each in found),
            *((f"{each.view.name}, over chance", "n") for each in found),
        ),
        rows=tuple(_view_line(found, place) for place in range(len(found[0].rows))),
    )


def _view_line(found: tuple[ViewScores, ...], place: int) -> Line:
    rows = [each.rows[place] for each in found]
    return line(
        rows[0].cell,
        *((rows[0].stage,) if rows[0].stage else ()),
        f"{rows[0].tokens:,}",
        *(f"{percent(row.value)} ({between(row.low, row.high)})" for row in rows),
        *(over_chance(row.normalised) for row in rows),
    )


def calibration_section(material: Material) -> Section | None:
    rows = calibration.of_sweep(material.sweep, store=material.store)
    if not rows:
        return None
    return Section(
        anchor="calibration",
        title="Calibration: public checkpoints against published numbers",
        name="Calibration",
        blocks=blocks(
            Text(text=calibration.summary(rows)),
            _grid(rows),
            Text(
                text="Each checkpoint is scored by the same rule as every cell of this report, and "
                "its prompts and tasks are averaged as the source averages them. The interval is "
                "Wilson's over items; it says nothing of another prompt or rule, which is what a "
                "number outside it is a sign of. Published numbers are rounded as in the source. "
                "The same rows stand in calibration.csv.",
                style="caption",
            ),
            *(Text(text=f"{name}: {source}.", style="caption") for name, source in _sources(rows)),
        ),
    )


def _grid(rows: tuple[Difference, ...]) -> Grid:
    kinds = ("w", "", "w", "n", "n", "n", "n", "", "")
    lines = []
    for row in rows:
        cells = [Cell(text=text) for text in calibration.cells(row)]
        if row.hole:
            cells[7] = hole(row.hole)
        lines.append(Line(cells=tuple(cells)))
    return Grid(
        head=tuple(zip(calibration.HEAD, kinds, strict=True)),
        rows=tuple(lines),
        caption="Published and own scores of public checkpoints",
    )


def _sources(rows: tuple[Difference, ...]) -> list[tuple[str, str]]:
    """Where the numbers of each checkpoint and suite were read, once."""
    named = {
        (f"{row.checkpoint} on {row.suite}", row.source.rstrip(".")) for row in rows if row.source
    }
    return sorted(named)
