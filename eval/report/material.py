"""What the sections of one report are made from, read and computed once.

Owns no numbers: scores come from `eval.evidence.table`, verdicts from `eval.claims.verdicts`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from eval.claims import decided, files
from eval.claims.claim import Claim
from eval.claims.decided import Block as Decided
from eval.claims.decided import by_size
from eval.evidence import table
from eval.evidence.panel import Panel, panels
from eval.evidence.table import Row, Table
from eval.report import sources
from study.runs.node import Run
from study.runs.reporting import Reporting, Words
from study.show.table import Block, Heading
from study.store.directory import Store

Budgets = Literal["refuse", "label"]
"""Whether cells of unequal token budgets stand in one table: never, or labelled."""


class SweepLike(files.SweepLike, Protocol):
    """What a report needs of a plan (`study.runs.plan.Sweep`)."""

    @property
    def title(self) -> str: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """panels: scores as arrays, one a suite and model size; scores: the one table of them;
    verdicts: the claims as each model size decides them. out_dir: where the page will lie.
    """

    sweep: SweepLike
    store: Store
    panels: tuple[Panel, ...]
    scores: Table
    claims: tuple[Claim, ...]
    verdicts: tuple[Decided, ...]
    out_dir: Path
    budgets: Budgets = "refuse"

    @functools.cached_property
    def items(self) -> dict[str, bytes]:
        """Files of every answer, by name."""
        return sources.items(self.panels)

    @functools.cached_property
    def reporting(self) -> Reporting:
        """What the domain of the plan's scores adds to a report."""
        return self.panels[0].reporting if self.panels else Reporting()

    @property
    def words(self) -> Words:
        return self.reporting.words

    @property
    def runs(self) -> tuple[Run, ...]:
        return self.sweep.runs

    @property
    def declared(self) -> dict[str, str]:
        """What the sweep says of its report: title, banner."""
        return getattr(self.sweep.module, "REPORT", {})

    def rows(self, panel: Panel) -> list[Row]:
        """The table's rows of one panel."""
        return own_rows(panel, self.scores.rows)

    def by_panel(self, make: Callable[[Panel], Iterable[Block]]) -> tuple[Block, ...]:
        """What is made of each panel, under its name where there are several."""
        parts: list[Block] = []
        for panel in self.panels:
            own = tuple(make(panel))
            if own and len(self.panels) > 1:
                parts.append(Heading(text=self.name(panel)))
            parts += own
        return tuple(parts)

    def name(self, panel: Panel) -> str:
        """As a heading says it."""
        return f"{panel.suite}, {panel.size}"


def gather(
    sweep: SweepLike, *, store: Store, out_dir: Path, budgets: Budgets = "refuse"
) -> Material:
    """Reads every published score of the plan."""
    claims: tuple[Claim, ...] = tuple(getattr(sweep.module, "CLAIMS", ()))
    found = tuple(panels(sweep.runs, store=store))
    return Material(
        sweep=sweep,
        store=store,
        panels=found,
        scores=table.build(found),
        claims=claims,
        verdicts=tuple(
            by_size(
                found,
                claims,
                runs=sweep.runs,
                store=store,
                post_hoc=decided.post_hoc(claims, sweep.runs, store=store),
            )
        ),
        out_dir=Path(out_dir),
        budgets=budgets,
    )


def own_rows(panel: Panel, rows: Sequence[Row]) -> list[Row]:
    """The rows of one suite and size."""
    return [row for row in rows if row.suite == panel.suite and row.size == panel.size]
