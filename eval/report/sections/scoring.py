"""How scores were made: the rule's options, what was asked, skipped and truncated."""

from __future__ import annotations

from eval.report import account_grids, accounts, grids, prose
from eval.report.material import Material
from study.show.table import Details, Lines, Section, Text, blocks

CAPTION = (
    "Skipped rows are those that a template does not apply to, the same for every cell. Truncated: "
    "items whose context lost tokens. Ties: items where several choices share the highest score; a "
    "tie gives its share of a point."
)


def section(material: Material) -> Section:
    questions = account_grids.question_grid(accounts.questions(material.panels))
    return Section(
        anchor="scoring",
        title="Scoring",
        blocks=blocks(
            Lines(items=tuple(prose.scoring(material.panels))),
            grids.end_grid(material.panels),
            Details(
                summary="Rows asked, skipped and truncated, by task and template",
                blocks=(questions, Text(text=CAPTION, style="caption")),
            )
            if questions.rows
            else None,
        ),
    )
