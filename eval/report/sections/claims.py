"""The claims and their verdicts, one table a model size."""

from __future__ import annotations

from eval.claims.claim import digest
from eval.report import prose
from eval.report.material import Material
from study.show.table import Block, Heading, Section, Text


def claims_section(material: Material) -> Section:
    parts: list[Block] = [
        Text(text=prose.claims_note(material.claims, digest(material.claims)), style="caption")
    ]
    for block in material.verdicts:
        if len(material.verdicts) > 1:
            parts.append(Heading(text=block.name))
        if block.spread:
            parts.append(Text(text=block.spread, style="caption"))
        parts.append(prose.claim_grid(block))
    if not material.verdicts:
        parts.append(Text(text="The sweep declares no claims."))
    return Section(
        anchor="claims", title="Claims and their verdicts", name="Claims", blocks=tuple(parts)
    )
