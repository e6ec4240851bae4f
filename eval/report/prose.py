"""The report's sentences: what the numbers are, and what they do not show.

Owns every word that depends on a result; fixed captions stand in `eval.report.sections`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from eval.claims.claim import Claim
from eval.evidence.contrast import LEAST_SEEDS
from eval.evidence.estimates import layouts
from eval.evidence.panel import Panel
from eval.evidence.table import Row, Table
from eval.report.accounts import Provenance
from study.costs.ledger import Sharing
from study.show.numbers import counted, scientific

if TYPE_CHECKING:
    from eval.claims.decided import Block

TASK_NOTE = (
    "Every test against guessing is two-sided; p is adjusted by Holm over all cells and tasks of "
    "one stage, at 0.05. Below chance is reported as interference: something learned that answers "
    "these questions wrongly. Twins are two items with the same choices and opposite "
    "answers, so a model that ignores its input scores exactly one half; their test flips the "
    "signs of whole pairs. Seeds are averaged first, so a test is about the models that were "
    "trained, and not about another seed."
)


def summary(panels: Sequence[Panel], *, scores: Table, blocks: Sequence[Block]) -> list[str]:
    """The page in a few lines, before any figure."""
    lines = []
    for panel in panels:
        whole = len(panel.runs) + len(panel.holes)
        lines.append(
            f"{panel.suite}, {panel.size}: {len(panel.runs)} of {whole} planned scores, "
            f"{len(panel.cells)} cells, {counted(len(panel.seeds), 'seed')}, "
            f"{headline_tasks(panel)}."
        )
        lines += findings(
            [row for row in scores.rows if row.suite == panel.suite and row.size == panel.size]
        )
    for block in blocks:
        counts: dict[str, int] = {}
        for each in block.verdicts:
            final = block.resolved(each)
            at_floor = "at floor" in final.qualifier
            name = f"{final.verdict} at floor" if at_floor else final.verdict
            counts[name] = counts.get(name, 0) + 1
        listed = ", ".join(f"{number} {name}" for name, number in counts.items())
        lines.append(f"Claims{f' ({block.name})' if len(blocks) > 1 else ''}: {listed}.")
    if any(len(panel.seeds) < LEAST_SEEDS for panel in panels if panel.runs):
        lines.append(
            f"With fewer than {LEAST_SEEDS} seeds nothing here separates a cell from a lucky seed; "
            "intervals and tests cover items only."
        )
    return lines


_NAMED = 12
"""Cells of one stage that a sentence names; more are counted."""


def findings(rows: Sequence[Row]) -> list[str]:
    """Which cells of the last stage are told from guessing, and on which tasks; nothing where no
    task has such a test.
    """
    last = max((row.key.stage for row in rows if row.key and not row.key.note), default=None)
    own = [row for row in rows if row.key and not row.key.note and row.key.stage == last]
    if last is None or not any(row.is_share for row in own):
        return []
    stage = f" {last.name}" if last.name else ""
    found = []
    for finding, name in (
        ("above chance", f"Above chance{stage}"),
        ("below chance: interference", f"Below chance{stage} (interference)"),
    ):
        listed = _described([row for row in own if row.finding == finding], among=own)
        if listed or finding == "above chance":
            found.append(f"{name}, two-sided, p (Holm) < 0.05: {listed or 'no cell on any task'}.")
    return found


def _described(found: Sequence[Row], *, among: Sequence[Row]) -> str:
    """Each cell with its tasks; of many cells, each task with how many of its cells."""
    cells: dict[tuple[str, int], list[str]] = {}
    for row in found:
        cells.setdefault((row.cell, row.tokens), []).append(row.task)
    if len({(row.cell, row.tokens) for row in among}) <= _NAMED:
        return "; ".join(f"{cell} on {', '.join(tasks)}" for (cell, _), tasks in cells.items())
    tested = Counter(row.task for row in among)
    counts = Counter(row.task for row in found)
    return "; ".join(f"{task} in {n} of {tested[task]} cells" for task, n in counts.items())


def headline_tasks(panel: Panel) -> str:
    """How many tasks count."""
    return counted(len(panel.headline), "headline task")


def methods(rows: Sequence[Row]) -> str:
    """Which test each task had."""
    tasks: dict[str, list[str]] = {}
    for row in rows:
        if row.method and row.task not in tasks.setdefault(row.method, []):
            tasks[row.method].append(row.task)
    listed = "; ".join(f"{method}: {', '.join(names)}" for method, names in tasks.items())
    return f"Tests against guessing: {listed}." if listed else ""


def bars(rows: Sequence[Row]) -> str:
    kinds = {row.interval for row in rows if row.interval in ("seeds and items", "items only")}
    if kinds == {"seeds and items"}:
        return "95% intervals over seeds and items together (Student's t)"
    if kinds == {"items only"}:
        return (
            "95% intervals over items only (Wilson, at the number of independent items); "
            "they say nothing about another seed"
        )
    return (
        "95% intervals over seeds and items where a cell has three seeds, over items only elsewhere"
    )


def claims_note(claims: tuple[Claim, ...], digest: str) -> str:
    if not claims:
        return "No claims are declared."
    return (
        f"Claims are data, declared with the sweep (digest {digest[:16]}). A claim is replicated "
        "when every contrast is, contradicted when one contrast is (Holm inside the claim), else "
        "underpowered; Holm runs over the claims that ran, one-sided at 0.025. Errors join the "
        "residual variance of the cell x seed layout with a paired bootstrap over items. A "
        "contradicted claim whose cells all sit at chance is marked: equal scores then say that "
        "nothing was learned. Verdicts are of the token-matched view. Beside it stands the view "
        "at equal training FLOPs, where cells have the budgets to be read between; a verdict whose "
        "sign it turns reads view-dependent, one that the scoring rule's other option overturns "
        "scorer-dependent. Parameters and loss tokens are not matched: their ratios stand beside "
        "each comparison. A claim reads post hoc if it was not recorded in the store before what "
        "decides it was there."
    )


def spread(panels: dict[str, Panel]) -> str:
    """The residual standard deviation of each layout, and whether cells differ in it."""
    parts = []
    for panel in panels.values():
        if not panel.headline:
            continue
        for layout in layouts(panel, np.arange(len(panel.seeds))):
            found = layout.residual
            if not found.degrees:
                continue
            stage = f" {layout.stage.name}" if layout.stage.name else ""
            p = "–" if found.unequal_p is None else f"{found.unequal_p:.2f}"
            share = panel.measure.is_share
            deviation = found.variance**0.5
            size = f"{100 * deviation:.2f} points" if share else f"{deviation:.3g}"
            parts.append(
                f"{panel.suite}{stage}: residual SD {size} "
                f"over {len(layout.cells)} cells x {len(panel.seeds)} seeds "
                f"({found.degrees} degrees of freedom; Brown–Forsythe p {p})"
            )
    return "; ".join(parts)


def sharing(found: Sharing) -> str:
    saved = 1 - found.flops / found.alone_flops if found.alone_flops else 0.0
    return (
        f"{found.paths} paths from scratch would take {found.alone_tokens:,} tokens and "
        f"{scientific(found.alone_flops)} training FLOPs; sharing their stages takes "
        f"{found.tokens:,} and {scientific(found.flops)}: {saved:.0%} of the FLOPs saved."
    )


def scoring(panels: Sequence[Panel]) -> list[str]:
    """How each suite was scored, as its domain says it."""
    found: list[str] = []
    for panel in panels:
        results = [each.results for each in panel.runs if each.results]
        if results:
            found += panel.reporting.scoring(panel.runs[0].run.suite, results)
    options = dict.fromkeys(panel.measure.option for panel in panels if panel.headline)
    found += [
        f"Scores under both options ({each}) come from the same forward passes:"
        for each in options
        if each
    ]
    return list(dict.fromkeys(found))


def provenance(runs: Sequence[Provenance], versions: dict[str, str]) -> list[str]:
    commits = ", ".join(dict.fromkeys(each.commits for each in runs if each.commits)) or "none yet"
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    done = sum(each.state == "done" for each in runs)
    digests = "scores/<digest>/items.parquet in an evaluation's directory holds every answer"
    return [
        f"{done} of {len(runs)} runs done.",
        f"Code: {commits}.",
        f"Versions: {packages or 'none recorded'}.",
        f"A run's directory is its name and id in the store; {digests}, keyed by the digests of "
        "weights, tokenizer, questions, options and scorer.",
    ]
