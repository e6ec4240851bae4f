"""The ledger: what every scored lineage cost, and what sharing stages saved."""

from __future__ import annotations

from eval.report import account_grids, accounts, mixing, prose
from eval.report.material import Material
from study.costs import ledger
from study.show.table import Details, Section, Text, blocks

CAPTION = (
    "Cost of each scored lineage from its first step. Lineages are compared at equal tokens seen, "
    "which are rows times their length; the other columns show what that leaves unequal. Not "
    "padding: what the rows held, as counted in training; with document masking span corruption "
    "gives every document its own sentinels, so its rows hold more than the plain length. FLOPs "
    "are training FLOPs by formula, forward and backward; an encoder-decoder of equal depth has "
    "more parameters than a decoder and spends other FLOPs on the same tokens, and span corruption "
    "has loss on fewer of them."
)
UNMATCHED = (
    " This plan has no cells matched by parameters, by FLOPs or by loss tokens unless two rows "
    "happen to agree."
)


def section(material: Material) -> Section:
    mixed = mixing.several(material.runs) and any(panel.cells for panel in material.panels)
    rows = ledger.rows(material.runs, store=material.store)
    return Section(
        anchor="ledger",
        title="Ledger",
        blocks=blocks(
            Text(text=CAPTION + ("" if mixed else UNMATCHED), style="caption"),
            account_grids.cost_grid(accounts.costs(material.runs, store=material.store)),
            Details(
                summary="By stage and cell, and what sharing saved",
                blocks=blocks(
                    account_grids.total_grid(ledger.totals(rows, material.runs)),
                    Text(text=prose.sharing(ledger.sharing(material.runs))),
                ),
            ),
        ),
    )
