"""Which sections a report has, in the order of the page.

A new section is a function of the `Material` in a module of its own and one entry here; it returns
None where a plan has nothing for it. HTML, Markdown and LaTeX render all of them alike.
"""

from __future__ import annotations

from collections.abc import Callable

from eval.report.material import Material
from eval.report.sections import (
    adaptation,
    calibration,
    claims,
    curves,
    differences,
    downloads,
    holes,
    measures,
    mixers,
    prompts,
    provenance,
    scores,
    scoring,
    tasks,
    variance,
)
from eval.report.sections import (
    checks as leakage,
)
from eval.report.sections import (
    record as ledger,
)
from study.show.table import Section

Make = Callable[[Material], Section | None]

SECTIONS: tuple[Make, ...] = (
    scores.section,
    claims.section,
    differences.section,
    calibration.section,
    tasks.section,
    measures.section,
    variance.section,
    prompts.section,
    leakage.section,
    curves.section,
    mixers.section,
    ledger.section,
    adaptation.section,
    scoring.section,
    holes.section,
    provenance.section,
    downloads.section,
)


def made(material: Material) -> tuple[Section, ...]:
    """Those that this report has."""
    found = (make(material) for make in SECTIONS)
    return tuple(each for each in found if each is not None)
