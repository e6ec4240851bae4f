"""Planned scores and training curves that are not there."""

from __future__ import annotations

from eval.evidence import curves
from eval.report import grids
from eval.report.material import Material
from study.show.table import Cell, Grid, Section, Text, blocks, line


def section(material: Material) -> Section:
    grid = grids.hole_grid(material.scores)
    none = Text(text="None: every planned score is in the tables above.")
    note = Text(
        text="Planned scores that are not in the tables above. Means are over the seeds that are "
        "there.",
        style="caption",
    )
    unread = Grid(
        caption="Training curves that cannot be read",
        head=(("run", "w"), ("why", "")),
        rows=tuple(
            line(run, Cell(text=why, style="hole"))
            for run, why in curves.damaged(material.runs, store=material.store)
        ),
    )
    scores = (note, grid) if grid.rows else (none,)
    return Section(anchor="holes", title="Holes", blocks=(*scores, *blocks(unread)))
