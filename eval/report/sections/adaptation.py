"""What adaptations did to their parents' tensors. A plan without adaptations has none."""

from __future__ import annotations

from eval.report import account_grids, accounts
from eval.report.material import Material
from study.show.table import Section, Text


def section(material: Material) -> Section | None:
    found = accounts.adaptations(material.runs, store=material.store)
    if not found:
        return None
    return Section(
        anchor="adaptation",
        title="Adaptation",
        blocks=(
            Text(
                text="Every tensor of a parent is accounted for: copied, converted, initialised or "
                "dropped. The losses are of the adaptation's own objective at its first and last "
                "validation.",
                style="caption",
            ),
            account_grids.adaptation_grid(found),
        ),
    )
