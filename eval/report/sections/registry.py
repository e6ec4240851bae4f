"""Which sections a report has, in the order of the page.

A new section is a function of the `Material` and one entry here; it returns
None where a plan has nothing for it. HTML, Markdown and LaTeX render all of them alike.
"""

from __future__ import annotations

from collections.abc import Callable

from eval.report.material import Material
from eval.report.sections import checks, claims, differences, record, scores, tasks
from study.show.table import Section

Make = Callable[[Material], Section | None]

SECTIONS: tuple[Make, ...] = (
    scores.scores_section,
    claims.claims_section,
    differences.differences_section,
    checks.calibration_section,
    tasks.tasks_section,
    scores.measures_section,
    differences.variance_section,
    tasks.prompts_section,
    checks.leakage_section,
    scores.curves_section,
    differences.mixers_section,
    record.ledger_section,
    record.adaptation_section,
    tasks.scoring_section,
    scores.holes_section,
    record.provenance_section,
    record.downloads_section,
)


def sections_of(material: Material) -> tuple[Section, ...]:
    """Those that this report has; a domain's own stand after the scores' checks."""
    found: list[Section] = []
    for make in SECTIONS:
        if (section := make(material)) is not None:
            found.append(section)
        if make is checks.leakage_section:
            found += material.reporting.sections(material.runs, store=material.store)
    return tuple(found)
