"""What each condition (each prompt) scores when the question is left away.

Owns the comparison of its accuracy with the accuracy of the same answers ranked after an empty
context (a measure's `blind` column), which no reading of the question can explain: it comes from
the answers' wording alone. Pairs of twins give exactly one half there.

Axes: C cells, S seeds, K conditions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eval.evidence.panel import Panel
from eval.evidence.statistics import wilson


@dataclass(frozen=True, kw_only=True)
class ConditionRow:
    """One condition of one task under one cell, seeds averaged.

    score, context_free: accuracies. low, high: Wilson's 95% interval of context_free over items,
    which is the most that they can be worth. spread: score of the task's best condition minus that
    of its worst, under this cell; None with one condition.
    """

    suite: str
    size: str
    cell: str
    stage: str
    tokens: int
    task: str
    condition: str
    chance: float | None
    seeds: int
    items: int
    score: float
    context_free: float
    low: float
    high: float
    spread: float | None


@dataclass(frozen=True, kw_only=True)
class ConditionSummary:
    """One condition over all cells of a stage: means, and the extremes of the context-free one."""

    suite: str
    size: str
    stage: str
    task: str
    condition: str
    chance: float | None
    cells: int
    score: float
    context_free: float
    lowest: float
    highest: float
    spread: float | None


def rows(panel: Panel) -> tuple[ConditionRow, ...]:
    """Cell by cell, task by task, condition by condition; nothing where nobody asked."""
    found: list[ConditionRow] = []
    for task in panel.tasks:
        without = task.blind()
        if without is None:
            continue
        scores = task.by_condition()
        for cell, key in enumerate(panel.cells):
            means = {
                place: float(np.nanmean(scores[cell, :, place]))
                for place in range(len(task.conditions))
                if np.isfinite(scores[cell, :, place]).any()
                and np.isfinite(without[cell, :, place]).any()
            }
            spread = max(means.values()) - min(means.values()) if len(means) > 1 else None
            for place, score in means.items():
                items = int(task.known[cell, :, place].any(axis=0).sum())
                alone = float(np.nanmean(without[cell, :, place]))
                low, high = wilson(alone, items)
                found.append(
                    ConditionRow(
                        suite=panel.suite,
                        size=panel.size,
                        cell=key.label,
                        stage=key.stage_label,
                        tokens=key.tokens,
                        task=task.task.name,
                        condition=task.conditions[place],
                        chance=task.at_chance,
                        seeds=int(np.isfinite(scores[cell, :, place]).sum()),
                        items=items,
                        score=score,
                        context_free=alone,
                        low=low,
                        high=high,
                        spread=spread,
                    )
                )
    return tuple(found)


def summaries(found: tuple[ConditionRow, ...]) -> tuple[ConditionSummary, ...]:
    """One row a stage, task and condition: what a page has room for."""
    groups: dict[tuple[str, str, str, str, str], list[ConditionRow]] = {}
    for each in found:
        place = (each.suite, each.size, each.stage, each.task, each.condition)
        groups.setdefault(place, []).append(each)
    return tuple(
        ConditionSummary(
            suite=suite,
            size=size,
            stage=stage,
            task=task,
            condition=condition,
            chance=own[0].chance,
            cells=len(own),
            score=float(np.mean([each.score for each in own])),
            context_free=float(np.mean([each.context_free for each in own])),
            lowest=min(each.context_free for each in own),
            highest=max(each.context_free for each in own),
            spread=_mean([each.spread for each in own if each.spread is not None]),
        )
        for (suite, size, stage, task, condition), own in groups.items()
    )


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
