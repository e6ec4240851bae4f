"""The same contrast under another match than tokens: at equal training FLOPs, and how unequal its
cells are in everything else.

Owns interpolation between budgets and the ratios printed beside a comparison. FLOPs are those of
the stages that count towards the budget, by the domain's formula, as tokens are. A cell that was
scored at several budgets is read between two of them, linearly in log FLOPs; nothing is read beyond
its smallest or largest. A cell of one budget has the view only where the others reach its FLOPs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from eval.evidence.budgets import CLOSE, matched
from eval.evidence.contrast import CHANCE, Contrast
from eval.evidence.estimates import OwnRuns
from eval.evidence.panel import Panel
from study.costs.ledger import share
from study.runs import domain
from study.runs.cells import Cell, CellKey, label
from study.runs.domain import cost
from study.runs.node import Trained, taken_steps
from study.store.directory import RunDirectory, Store


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What a cell at one budget took, before finetuning. loss_tokens: None where unknown."""

    flops: int
    parameters: int
    loss_tokens: int | None


def spent(panel: Panel, *, store: Store | None) -> dict[CellKey, Spent]:
    """Of every cell of a panel that this study trained; seeds cost the same. store: where a seal
    tells the loss tokens that no formula knows.
    """
    found: dict[CellKey, Spent] = {}
    for scored in panel.runs:
        run = scored.run.run
        if not isinstance(run, Trained) or scored.key in found:
            continue
        taken = [
            (stage, steps)
            for stage, steps in taken_steps(run, scored.run.step)
            if domain.of(stage).in_budget(stage)
        ]
        counts = [_loss_tokens(stage, steps, store=store) for stage, steps in taken]
        found[scored.key] = Spent(
            flops=sum(share(stage, steps, cost(stage).flops) for stage, steps in taken),
            parameters=cost(run).parameters,
            loss_tokens=None if None in counts else sum(each or 0 for each in counts),
        )
    return found


def _loss_tokens(stage: Trained, steps: int, *, store: Store | None) -> int | None:
    known = cost(stage).loss_tokens
    if known is None and store is not None:
        done = RunDirectory(store.directory(stage)).done()
        known = None if done is None else done.get("loss_tokens")
    return None if known is None else share(stage, steps, known)


class AtEqualFlops(OwnRuns):
    """An `eval.evidence.contrast.Estimator` that reads a contrast's cells at the same FLOPs."""

    def __init__(
        self,
        panels: dict[str, Panel],
        *,
        spent: Mapping[str, Mapping[CellKey, Spent]],
        decided: int,
    ) -> None:
        """spent: by suite, of the cells of its panel."""
        super().__init__(panels, decided=decided)
        self._spent = spent

    def _cells(self, panel: Panel, contrast: Contrast) -> tuple[np.ndarray, float, str] | str:
        flops = {key: each.flops for key, each in self._spent[panel.suite].items()}
        points = {
            cell: _points(panel, cell, flops) for cell, _ in contrast.weights if cell != CHANCE
        }
        if missing := [label(cell) for cell, found in points.items() if not found]:
            return f"missing {', '.join(missing)}"
        at = _common(contrast, points, panel.budgets, flops=flops)
        if isinstance(at, str):
            return at
        weights = np.zeros(len(panel.cells))
        constant = 0.0
        for cell, weight in contrast.weights:
            if cell == CHANCE:
                if panel.chance is None:
                    return f"{panel.measure.name} on {panel.suite} has no chance"
                constant += weight * panel.chance
                continue
            for index, part in _shares(points[cell], at):
                weights[index] += weight * part
        return weights, constant, f"at {at:.3g} training FLOPs before finetuning"


Points = list[tuple[float, int]]
"""(FLOPs, index of the panel's cell), ascending."""


def _points(panel: Panel, cell: Cell, flops: Mapping[CellKey, int]) -> Points:
    return sorted(
        (float(flops[key]), index)
        for index, key in enumerate(panel.cells)
        if key.name == cell and key in flops
    )


def _common(
    contrast: Contrast,
    points: Mapping[Cell, Points],
    budgets_of: Callable[[Cell], list[int]],
    *,
    flops: Mapping[CellKey, int],
) -> float | str:
    """FLOPs that every cell can be read at: the least, else the most, that any of them has spent at
    the budget of the token view.
    """
    lowest = max(found[0][0] for found in points.values())
    highest = min(found[-1][0] for found in points.values())
    if contrast.matching == "flops":
        meant = [highest]
    else:
        found = matched(contrast, budgets_of)
        if isinstance(found, str):
            return found
        own = [
            float(spent)
            for key, spent in flops.items()
            if key.name in found.tokens
            and abs(key.tokens - found.tokens[key.name]) <= CLOSE * found.tokens[key.name]
        ]
        meant = [min(own), max(own)]
    for at in meant:
        if lowest * (1 - CLOSE) <= at <= highest * (1 + CLOSE):
            return at
    single = [label(cell) for cell, found in points.items() if len(found) == 1]
    why = f"{' and '.join(single)} at one budget only" if single else "no FLOPs that all reach"
    return f"cannot be read at equal FLOPs: {why}"


def _shares(points: Points, at: float) -> list[tuple[int, float]]:
    """(index, share) of the one or two budgets that a cell is read between."""
    for spent, index in points:
        if abs(spent - at) <= CLOSE * spent:
            return [(index, 1.0)]
    for (low, first), (high, second) in pairwise(points):
        if low < at < high:
            share = math.log(at / low) / math.log(high / low)
            return [(first, 1 - share), (second, share)]
    raise AssertionError("the FLOPs lie within the cell's own")


@dataclass(frozen=True, kw_only=True)
class Ratios:
    """The first cell of a comparison of two over the second. loss_tokens: None where unknown."""

    parameters: float
    flops: float
    loss_tokens: float | None

    @property
    def description(self) -> str:
        loss = "unknown" if self.loss_tokens is None else f"x{self.loss_tokens:.2f}"
        return f"FLOPs x{self.flops:.2f}, parameters x{self.parameters:.2f}, loss tokens {loss}"


def ratios(contrast: Contrast, panel: Panel, taken: Mapping[CellKey, Spent]) -> Ratios | None:
    """How unequal the two cells are that the token view compares; None for other comparisons."""
    cells = [cell for cell, _ in contrast.weights if cell != CHANCE]
    if len(cells) != 2 or contrast.measure != "score":
        return None
    found = matched(contrast, panel.budgets)
    if isinstance(found, str):
        return None
    pair = []
    for cell in cells:
        index = panel.cell(cell, found.tokens[cell])
        if index is None or panel.cells[index] not in taken:
            return None
        pair.append(taken[panel.cells[index]])
    first, second = pair
    # neither is None where both are known, which a name for the test hides from the checker
    return Ratios(
        parameters=first.parameters / second.parameters,
        flops=first.flops / second.flops,
        loss_tokens=None
        if first.loss_tokens is None or not second.loss_tokens
        else first.loss_tokens / second.loss_tokens,
    )
