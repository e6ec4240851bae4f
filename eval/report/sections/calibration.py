"""Calibration: our scores of public checkpoints beside published ones. Only where numbers are
declared.
"""

from __future__ import annotations

from eval.evidence import calibration
from eval.evidence.calibration import Difference
from eval.report.material import Material
from study.show.table import Cell, Grid, Line, Section, Text, blocks


def section(material: Material) -> Section | None:
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
            cells[7] = Cell(text=row.hole, style="hole")
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
