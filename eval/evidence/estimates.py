"""A contrast's value and error from the scores of our own runs.

Owns the standard error of a contrast over the cells that `eval.evidence.budgets` finds for it:

    SE^2 = sum over stages of sum(w^2) s^2 / S  +  SE_item^2

S complete seeds, s^2 the residual variance of a stage's own cell x seed layout, SE_item from one
joint bootstrap over items. With fewer than three seeds only items vary, and it says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from eval.evidence.budgets import matched
from eval.evidence.contrast import ALPHA, CHANCE, LEAST_SEEDS, Contrast, Estimate
from eval.evidence.panel import Panel
from eval.evidence.statistics import Residual, minimum_effect, residual
from eval.evidence.task_scores import Option
from study.runs.cells import CellStage

LEAST_ITEMS = 10
"""Independent items below which nothing is said of a contrast: the bootstrap of so few has no
error to speak of (of one item it is zero)."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The layout that a cell's residual variance is pooled over: the cells of one stage."""

    stage: CellStage
    cells: tuple[int, ...]
    residual: Residual


def layouts(panel: Panel, seeds: np.ndarray, *, option: Option = "own") -> tuple[Layout, ...]:
    """One a stage of the panel, from the cells that have all the given seeds."""
    scores = panel.scores(option=option)[:, seeds]
    found = []
    for stage in sorted({key.stage for key in panel.cells}):
        cells = tuple(
            index
            for index, key in enumerate(panel.cells)
            if key.stage == stage and np.isfinite(scores[index]).all()
        )
        found.append(Layout(stage=stage, cells=cells, residual=residual(scores[list(cells)])))
    return tuple(found)


def _unvaried(panel: Panel, weights: np.ndarray, seeds: np.ndarray, *, option: Option) -> float:
    """The item variance of a share where no resample of the items differs: every score is at 0 or
    at 1, or the cells answer alike. That is no certainty, so the cells count as independent and
    each share has the variance by which Wilson's interval is made (z = 1.96: two successes and
    failures more).
    """
    z2 = float(stats.norm.ppf(0.975)) ** 2
    variance = 0.0
    for task in panel.headline:
        trials = len(np.unique(task.groups))
        shares = task.scores(option=option)[:, seeds].mean(axis=1)
        moved = (shares * trials + z2 / 2) / (trials + z2)
        own = moved * (1 - moved) / (trials + z2)
        variance += float((weights**2)[weights != 0] @ own[weights != 0])
    return variance / len(panel.headline) ** 2


class OwnRuns:
    """An `eval.evidence.contrast.Estimator` over panels of one model size, by suite."""

    def __init__(self, panels: dict[str, Panel], *, decided: int, option: Option = "own") -> None:
        """decided: how many claims Holm will run over, for the minimum detectable effect."""
        self.panels = panels
        self.decided = max(decided, 1)
        self.option: Option = option
        self._layouts: dict[tuple[str, tuple[int, ...]], tuple[Layout, ...]] = {}

    def __call__(self, contrast: Contrast) -> Estimate | str:
        panel = self.panels.get(contrast.suite)
        if panel is None or not panel.cells:
            return f"no scores on {contrast.suite}"
        found = self._cells(panel, contrast)
        if isinstance(found, str):
            return found
        weights, constant, note = found
        return self.weighed(panel, weights, constant=constant, note=note)

    def weighed(
        self, panel: Panel, weights: np.ndarray, *, constant: float = 0.0, note: str = ""
    ) -> Estimate | str:
        """The estimate of weights (C,) over the panel's cells, or in words why there is none."""
        scores = panel.scores(option=self.option)
        used = np.flatnonzero(weights)
        if (items := sum(each.independent for each in panel.headline)) < LEAST_ITEMS:
            return f"{items} independent items on {panel.suite}; it takes {LEAST_ITEMS}"
        complete = np.flatnonzero(np.isfinite(scores[used]).all(axis=0))
        if not complete.size:
            return "no seed has all of its cells"
        if not panel.measure.resampled and complete.size < LEAST_SEEDS:
            return (
                f"{panel.measure.name} has its error from seeds alone: {complete.size} are there; "
                f"it takes {LEAST_SEEDS}"
            )
        value = float(weights[used] @ scores[used][:, complete].mean(axis=1)) + constant
        replicates = panel.replicates(option=self.option)[:, used][:, :, complete].mean(axis=2)
        item_variance = float((replicates @ weights[used]).var(ddof=1))
        if not item_variance > 0 and panel.measure.is_share:
            item_variance = _unvaried(panel, weights, complete, option=self.option)
        seeds = int(complete.size)
        seed_variance, degrees = self._seed_error(panel, weights, complete)
        known = seeds >= LEAST_SEEDS and degrees >= 1
        error = math.sqrt((seed_variance if known else 0.0) + item_variance)
        return Estimate(
            value=value,
            standard_error=error,
            degrees=degrees if known else math.inf,
            seeds=seeds,
            basis="seeds and items" if known else "items only",
            note=note,
            floor=self._at_chance(panel, used, complete),
            over_tasks=self._over_tasks(panel, weights, complete),
            item_variance=item_variance,
            is_share=panel.measure.is_share,
            minimum_effect=minimum_effect(error, degrees, alpha=ALPHA / self.decided)
            if known
            else None,
        )

    def _cells(self, panel: Panel, contrast: Contrast) -> tuple[np.ndarray, float, str] | str:
        """(weight of each cell of the panel, constant, note), or why there is none."""
        weights = np.zeros(len(panel.cells))
        constant = 0.0
        found = matched(contrast, panel.budgets)
        if isinstance(found, str):
            return found
        for cell, weight in contrast.weights:
            if cell == CHANCE:
                if panel.chance is None:
                    return f"{panel.measure.name} on {panel.suite} has no chance"
                constant += weight * panel.chance
                continue
            index = panel.cell(cell, found.tokens[cell])
            assert index is not None
            weights[index] += weight
        return weights, constant, found.note

    def _at_chance(self, panel: Panel, cells: np.ndarray, seeds: np.ndarray) -> bool:
        """Whether no cell's score is told from chance by items alone: then equal scores say that
        nothing was learned, and nothing about the cells.
        """
        if panel.chance is None:
            return False
        scores = panel.scores(option=self.option)[cells][:, seeds].mean(axis=1)
        spread = (
            panel.replicates(option=self.option)[:, cells][:, :, seeds].mean(axis=2).std(axis=0)
        )
        return bool((np.abs(scores - panel.chance) <= 2 * spread).all())

    def _over_tasks(
        self, panel: Panel, weights: np.ndarray, seeds: np.ndarray
    ) -> tuple[float, float] | None:
        """Student's 95% interval of the contrast over tasks, seeds averaged."""
        used = np.flatnonzero(weights)
        values = np.array(
            [
                # Weights that do not sum to zero compare with chance.
                weights[used] @ each.scores(option=self.option)[used][:, seeds].mean(axis=1)
                - (weights.sum() * each.at_chance if each.at_chance is not None else 0.0)
                for each in panel.headline
            ]
        )
        if values.size < 2:
            return None
        error = float(values.std(ddof=1)) / math.sqrt(values.size)
        half = float(stats.t.ppf(0.975, values.size - 1)) * error
        return float(values.mean()) - half, float(values.mean()) + half

    def _seed_error(
        self, panel: Panel, weights: np.ndarray, seeds: np.ndarray
    ) -> tuple[float, int]:
        """(variance of the contrast from seeds, degrees of freedom of the smaller layout)."""
        variance = 0.0
        degrees: list[int] = []
        for stage in self._stages(panel, seeds):
            own = sum(float(weights[index]) ** 2 for index in stage.cells)
            if not own:
                continue
            degrees.append(stage.residual.degrees)
            if stage.residual.degrees:
                variance += own * stage.residual.variance / seeds.size
        return variance, min(degrees, default=0)

    def _stages(self, panel: Panel, seeds: np.ndarray) -> tuple[Layout, ...]:
        """Kept: a matrix of differences asks for the same ones again and again."""
        place = (panel.suite, tuple(seeds.tolist()))
        if place not in self._layouts:
            self._layouts[place] = layouts(panel, seeds, option=self.option)
        return self._layouts[place]
