"""Planned scores that are not there."""

from __future__ import annotations

from eval import grids
from eval.material import Material
from eval.section import Section, Text


def section(material: Material) -> Section:
    grid = grids.hole_grid(material.scores)
    none = Text(text="None: every planned score is in the tables above.")
    note = Text(
        text="Planned scores that are not in the tables above. Means are over the seeds that are "
        "there.",
        style="caption",
    )
    return Section(anchor="holes", title="Holes", blocks=(note, grid) if grid.rows else (none,))
