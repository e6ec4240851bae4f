"""The ledger: what every scored lineage cost, and what sharing stages saved.

Beside it: what adaptations did to their parents' tensors; where every number comes from (code,
versions, runs, directories, digests); what lies beside the page, to which it links by name, so that
the folder can be moved as a whole; and how to cite this software and the study that it re-runs
(CITATION.cff in the repository says the same of the software, and a test holds them together).
"""

from __future__ import annotations

from eval.report import accounts, mixers, prose
from eval.report.material import Material
from eval.report.sources import source_grid, sources
from study.costs import ledger
from study.show.columns import grid
from study.show.numbers import DASH
from study.show.table import Cell, Code, Details, Grid, Heading, Lines, Section, Text, blocks, line

CAPTION = (
    "Cost of each scored lineage from its first step. Lineages are compared at equal tokens seen, "
    "which are rows times their length; the other columns show what that leaves unequal. Not "
    "padding: what the rows held, as counted in training. FLOPs are training FLOPs by formula, "
    "forward and backward."
)
UNMATCHED = (
    " This plan has no cells matched by parameters, by FLOPs or by loss tokens unless two rows "
    "happen to agree."
)


def _caption(material: Material, *, mixed: bool) -> str:
    note = material.reporting.cost_note
    return CAPTION + (f" {note}" if note else "") + ("" if mixed else UNMATCHED)


def ledger_section(material: Material) -> Section:
    mixed = mixers.several(material.runs) and any(panel.cells for panel in material.panels)
    rows = ledger.rows(material.runs, store=material.store)
    totals = ledger.totals(rows, material.runs)
    return Section(
        anchor="ledger",
        title="Ledger",
        blocks=blocks(
            Text(text=_caption(material, mixed=mixed), style="caption"),
            accounts.cost_grid(accounts.costs(material.runs, store=material.store)),
            Details(
                summary="By stage and cell, and what sharing saved",
                blocks=blocks(
                    grid(accounts.TOTALS, totals, caption="Cost by stage and cell"),
                    Text(text=prose.sharing(ledger.sharing(material.runs))),
                ),
            ),
        ),
    )


def adaptation_section(material: Material) -> Section | None:
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
            grid(accounts.ADAPTATIONS, found, caption="Adaptations"),
        ),
    )


TITLE = "archstudy: architecture and pretraining objective for zero-shot generalisation, as a study"
AUTHOR = "The archstudy contributors"
VERSION = "0.1.0"
LICENSE = "Apache-2.0"

SOFTWARE = f"""@software{{archstudy,
  title   = {{{TITLE}}},
  author  = {{{{{AUTHOR}}}}},
  version = {{{VERSION}}},
  license = {{{LICENSE}}},
}}"""


TABLES = (
    ("report.csv", "the table behind every form of this report, one row a cell and task"),
    ("sources.csv", "the published scores behind its numbers: runs, directories, digests"),
    ("report.md", "this report as Markdown"),
    ("report.tex", "this report as LaTeX (booktabs, longtable)"),
)


def downloads_section(material: Material) -> Section:
    rows = [line(Cell(text=name, href=name), what, DASH) for name, what in TABLES]
    rows += [
        line(
            Cell(text=name, href=name),
            "every item of every score (Parquet)",
            f"{len(data) / 1e6:.2f}",
        )
        for name, data in material.items.items()
    ]
    return Section(
        anchor="files",
        title="Files and citation",
        name="Files",
        blocks=(
            Text(text="They lie beside this page. Each figure names its own SVG and PDF."),
            Grid(
                caption="Files beside this page",
                head=(("file", "w"), ("what it holds", "c"), ("megabytes", "n")),
                rows=tuple(rows),
            ),
            Heading(text="Citation"),
            Code(text="\n\n".join(filter(None, (SOFTWARE, material.reporting.citation)))),
        ),
    )


def provenance_section(material: Material) -> Section:
    runs, versions = accounts.provenance(material.runs, store=material.store)
    every = grid(accounts.RUNS, runs, caption="Every run of the plan")
    found = sources(material.panels, store=material.store, out_dir=material.out_dir)
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
                blocks=(source_grid(found, named=material.words), Text(text=note, style="caption")),
            )
            if found
            else None,
            Details(summary="Every run of the plan", blocks=(every,)),
        ),
    )
