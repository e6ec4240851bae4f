"""The report of a sweep: one self-contained HTML page, Markdown and CSV from one table.

Owns which sections there are and their words; numbers come from `eval.table`, verdicts from
`eval.verdicts`, costs and provenance from `eval.accounts`, looks from `eval.page` and `eval.plots`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from markupsafe import Markup

from eval import accounts, grids, mixer_plots, mixing, page, plots, prose, registered, table
from eval.blocks import by_size
from eval.claims import Claim, digest
from eval.grids import Grid
from eval.markdown import markdown
from eval.panel import Panel, panels
from eval.table import Table
from study import ledger, times
from study.run import Run
from study.store import Store, publish_file


class SweepLike(Protocol):
    """What a report needs of a plan (`study.plan.Sweep`)."""

    @property
    def path(self) -> Path: ...
    @property
    def title(self) -> str: ...
    @property
    def runs(self) -> tuple[Run, ...]: ...
    @property
    def module(self) -> ModuleType | None: ...


def write(sweep: SweepLike, *, store: Store, out_dir: Path) -> Path:
    """Write report.html, report.md and report.csv into `out_dir`; returns the page's path."""
    declared: dict[str, str] = getattr(sweep.module, "REPORT", {})
    claims: tuple[Claim, ...] = tuple(getattr(sweep.module, "CLAIMS", ()))
    found = panels(sweep.runs, store=store)
    scores = table.build(found)
    late = registered.post_hoc(claims, sweep.runs, store=store)
    blocks = by_size(found, claims, runs=sweep.runs, store=store, post_hoc=late)
    sections = _sections(sweep, store=store, found=found, scores=scores)
    content = sections | {
        "claim_blocks": [prose.claim_block(block) for block in blocks],
        "title": declared.get("title", sweep.title),
        "banner": declared.get("banner", ""),
        "subtitle": f"{sweep.path.name}: {sweep.title}",
        "summary": prose.summary(found, scores=scores, blocks=blocks),
        "claims_note": prose.claims_note(claims, digest(claims)),
        "component_head": grids.COMPONENT_HEAD,
        "task_note": prose.TASK_NOTE,
        "sections": prose.sections(
            adapted=bool(sections["adaptation_rows"]), mixed=bool(sections["point_rows"])
        ),
    }
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    # All are made before the first is written, so that an end in between leaves three of one kind.
    files = {
        "report.csv": scores.csv(),
        "report.md": markdown(content),
        "report.html": page.render(content),
    }
    for name, text in files.items():
        publish_file(out_dir / name, text.encode())
    return out_dir / "report.html"


def _sections(
    sweep: SweepLike, *, store: Store, found: Sequence[Panel], scores: Table
) -> dict[str, Any]:
    rows = ledger.rows(sweep.runs, store=store)
    runs, versions = accounts.provenance(sweep.runs, store=store)
    compared = mixing.several(sweep.runs)
    cells = mixing.points(found, scores) if compared else []
    measured = times.load(store.root) if compared else ()
    growths = mixing.growths(sweep.runs, measured)
    tables: dict[str, Grid] = {
        "point": mixing.point_grid(cells),
        "growth": mixing.growth_grid(growths),
        "cost": grids.cost_grid(accounts.costs(sweep.runs, store=store)),
        "total": grids.total_grid(ledger.totals(rows, sweep.runs)),
        "adaptation": grids.adaptation_grid(accounts.adaptations(sweep.runs, store=store)),
        "question": grids.question_grid(accounts.questions(found)),
        "end": grids.end_grid(found),
        "hole": grids.hole_grid(scores),
        "run": grids.run_grid(runs),
    }
    content: dict[str, Any] = {}
    for name, grid in tables.items():
        content[f"{name}_head"], content[f"{name}_rows"] = grid.head, grid.rows
    return content | {
        "parts": [_part(panel, scores) for panel in found],
        "quality": _figure(mixer_plots.quality(cells)),
        "growth": _figure(mixer_plots.growth(growths)),
        "measured": mixing.where(measured),
        "curves": _figure(plots.curves(accounts.learning_curves(sweep.runs, store=store))),
        "sharing": prose.sharing(ledger.sharing(sweep.runs)),
        "scoring": prose.scoring(found),
        "provenance": prose.provenance(runs, versions),
    }


def _part(panel: Panel, scores: Table) -> dict[str, Any]:
    suite, tasks = grids.suite_grid(panel, scores), grids.task_grid(panel, scores)
    bits = grids.bits_grid(panel, scores)
    own = [row for row in scores.rows if row.suite == panel.suite and row.size == panel.size]
    return {
        "name": f"{panel.suite}, {panel.size}",
        "headline": _figure(plots.headline(scores, suite=panel.suite, size=panel.size)),
        "families": _figure(plots.families(scores, suite=panel.suite, size=panel.size)),
        "headline_tasks": prose.headline_tasks(panel),
        "off_objective": any(row.stage == "before finetuning, off-objective" for row in own),
        "bars": prose.bars(own),
        "findings": prose.findings(own),
        "methods": prose.methods(own),
        "suite_head": suite.head,
        "suite_rows": suite.rows,
        "task_head": tasks.head,
        "task_rows": tasks.rows,
        "bits_head": bits.head,
        "bits_rows": bits.rows,
    }


def _figure(svg: str | None) -> Markup | None:
    return None if svg is None else Markup(svg)
