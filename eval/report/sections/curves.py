"""Learning curves over tokens and over FLOPs."""

from __future__ import annotations

from eval.report import accounts
from eval.report.figures import scores as plots
from eval.report.material import Material
from study.show.table import Block, Hole, Section, Text

CAPTION = (
    "Validation loss on held-out data of each run's own objective, over the tokens that the whole "
    "lineage had seen (above) and over its training FLOPs by formula (below). The columns have "
    "different objectives and so different losses: a lower curve in one says nothing against a "
    "curve in another. Dashed: adapted lineages, which begin where their parent stopped. "
    "One line a seed."
)


def section(material: Material) -> Section:
    drawn = plots.curves(accounts.learning_curves(material.runs, store=material.store))
    found: tuple[Block, ...] = (
        (Hole(text="No run has validated yet."),)
        if drawn is None
        else (drawn, Text(text=CAPTION, style="caption"))
    )
    return Section(anchor="curves", title="Learning curves", blocks=found)
