"""Tables of what a report says beside the scores: costs, adaptation, questions, runs.

Owns their columns; numbers are written as in `eval.report.grids`.
"""

from __future__ import annotations

from collections.abc import Sequence

from eval.report.accounts import Adaptation, Cost, Provenance, Questions
from eval.report.grids import count, percent, scientific
from study.costs.ledger import Total
from study.show.table import Cell, Grid, line


def cost_grid(costs: Sequence[Cost]) -> Grid:
    ordered = sorted(costs, key=lambda each: each.tokens)
    several = len({each.size for each in costs}) > 1
    lines = []
    for place, each in enumerate(ordered):
        new = place > 0 and each.tokens != ordered[place - 1].tokens
        lines.append(
            line(
                f"{each.size}: {each.cell}" if several else each.cell,
                count(each.parameters),
                count(each.tokens),
                count(each.content),
                count(each.loss_tokens),
                scientific(each.flops),
                f"{each.relative:.2f}",
                style="block" if new else "",
            )
        )
    return Grid(
        caption="Cost of each scored lineage",
        head=(
            ("lineage", "w"),
            ("parameters", "n"),
            ("tokens seen", "n"),
            ("not padding", "n"),
            ("loss tokens", "n"),
            ("training FLOPs", "n"),
            ("FLOPs over the cheapest of equal tokens", "n"),
        ),
        rows=tuple(lines),
    )


def total_grid(totals: Sequence[Total]) -> Grid:
    return Grid(
        caption="Cost by stage and cell",
        head=(
            ("stage", ""),
            ("cell", "w"),
            ("runs", "n"),
            ("done", "n"),
            ("parameters", "n"),
            ("tokens", "n"),
            ("loss tokens", "n"),
            ("training FLOPs", "n"),
        ),
        rows=tuple(
            line(
                each.stage,
                each.cell,
                str(each.runs),
                str(each.done),
                count(each.parameters),
                count(each.tokens),
                count(each.loss_tokens),
                "–" if each.flops is None else scientific(each.flops),
            )
            for each in totals
        ),
    )


def adaptation_grid(found: Sequence[Adaptation]) -> Grid:
    return Grid(
        caption="Adaptations",
        head=(
            ("lineage", "w"),
            ("seed", "n"),
            ("tensors", ""),
            ("optimiser state", ""),
            ("schedule", ""),
            ("first loss", "n"),
            ("last loss", "n"),
        ),
        rows=tuple(
            line(
                each.cell,
                str(each.seed),
                each.actions,
                each.optimizer_state,
                each.schedule,
                _loss(each.first_loss),
                _loss(each.last_loss),
            )
            for each in found
        ),
    )


def _loss(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def question_grid(found: Sequence[Questions]) -> Grid:
    return Grid(
        caption="Rows asked, skipped and truncated, by task and template",
        head=(
            ("suite", ""),
            ("task", "w"),
            ("template", ""),
            ("items", "n"),
            ("twins", ""),
            ("skipped", ""),
            ("truncated, a cell", "n"),
            ("ties, a cell", "n"),
            ("letters without a token, a cell", "n"),
            ("altered by the tokenizer, a cell", "n"),
            ("guessing, declared", "n"),
            ("guessing, from the choices", "n"),
        ),
        rows=tuple(
            line(
                each.suite,
                each.task,
                each.template or "–",
                count(each.items),
                "yes" if each.twins else "no",
                each.skipped,
                each.truncated,
                each.ties,
                each.unknown,
                each.altered,
                percent(each.declared_chance),
                percent(each.chance_of_choices),
            )
            for each in found
        ),
    )


def run_grid(found: Sequence[Provenance]) -> Grid:
    return Grid(
        caption="Every run of the plan",
        head=(
            ("run", "w"),
            ("kind", ""),
            ("cell", "w"),
            ("id", "w"),
            ("state", ""),
            ("digest", "w"),
            ("commit", ""),
        ),
        rows=tuple(
            line(
                each.slug,
                each.kind,
                each.cell,
                each.id,
                each.state if each.state == "done" else Cell(text=each.state, style="hole"),
                each.digest,
                each.commits,
            )
            for each in found
        ),
    )
