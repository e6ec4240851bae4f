"""What lies beside the page, and how to cite it.

Owns the list of files; the page links to them by name, so the folder can be moved as a whole.
"""

from __future__ import annotations

from eval.report.material import Material
from eval.report.sections import citation
from study.show.table import Cell, Code, Grid, Heading, Section, Text, line

TABLES = (
    ("report.csv", "the table behind every form of this report, one row a cell and task"),
    ("sources.csv", "the published scores behind its numbers: runs, directories, digests"),
    ("report.md", "this report as Markdown"),
    ("report.tex", "this report as LaTeX (booktabs, longtable)"),
)


def section(material: Material) -> Section:
    rows = [line(Cell(text=name, href=name), what, "–") for name, what in TABLES]
    rows += [
        line(
            Cell(text=name, href=name),
            "every answer: log-likelihoods of each choice, gold, credit (Parquet)",
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
            Code(text=citation.BIBTEX),
        ),
    )
