"""Where every number comes from: code, versions, runs, directories and digests."""

from __future__ import annotations

from eval.report import account_grids, accounts, prose
from eval.report.material import Material
from eval.report.sources import source_grid, sources
from study.show.table import Details, Lines, Section, Text, blocks


def section(material: Material) -> Section:
    runs, versions = accounts.provenance(material.runs, store=material.store)
    found = sources(material.panels, store=material.store, out_dir=material.out_dir)
    grid = source_grid(found)
    note = (
        "Each score in the tables above links to its first line here. A cell's number is the mean "
        "over the seeds listed."
    )
    if found and not any(each.link for each in found):
        note += " The store does not lie beside this report, so directories are named, not linked."
    return Section(
        anchor="provenance",
        title="Provenance",
        blocks=blocks(
            Lines(items=tuple(prose.provenance(runs, versions))),
            Details(
                summary=f"The {len(found)} published scores behind the numbers",
                blocks=(grid, Text(text=note, style="caption")),
            )
            if found
            else None,
            Details(summary="Every run of the plan", blocks=(account_grids.run_grid(runs),)),
        ),
    )
