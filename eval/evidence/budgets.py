"""At which token budget a contrast compares its cells.

Owns the matching of budgets; knows neither scores nor runs, so that a plan can be asked before
anything has run (`eval.claims.needs`) and a panel after (`eval.evidence.estimates`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from eval.evidence.contrast import CHANCE, Contrast
from study.runs.cells import Cell, label

CLOSE = 0.01
"""Budgets that differ by this share or less are one: steps are whole."""


@dataclass(frozen=True, kw_only=True)
class Matched:
    """The tokens before finetuning at which each cell of a contrast is taken. note: what a reader
    must know.
    """

    tokens: Mapping[Cell, int]
    note: str


def matched(contrast: Contrast, budgets_of: Callable[[Cell], Sequence[int]]) -> Matched | str:
    """The budgets of a contrast's cells, or in words why there are none.

    budgets_of: the budgets that a cell has, ascending.
    """
    budgets = {cell: list(budgets_of(cell)) for cell, _ in contrast.weights if cell != CHANCE}
    if missing := [label(cell) for cell, found in budgets.items() if not found]:
        return f"missing {', '.join(missing)}"
    if contrast.matching == "unequal":
        tokens = {cell: found[contrast.budget] for cell, found in budgets.items()}
        listed = " against ".join(f"{each:,}" for each in tokens.values())
        unequal = len(set(tokens.values())) > 1
        return Matched(
            tokens=tokens,
            note=f"unequal token budgets by construction: {listed}" if unequal else "",
        )
    common = _common(list(budgets.values()))
    if not common:
        each = "; ".join(
            f"{label(cell)} {', '.join(f'{tokens:,}' for tokens in found)}"
            for cell, found in budgets.items()
        )
        return f"unequal token budgets: {each}"
    if len(common) < contrast.budgets:
        return f"needs {contrast.budgets} token budgets; there is {len(common)}"
    return Matched(tokens=dict.fromkeys(budgets, common[contrast.budget]), note="")


def _common(budgets: list[list[int]]) -> list[int]:
    """Budgets, ascending, that every list has to within 1%."""
    if not budgets:
        return []
    return [
        tokens
        for tokens in budgets[0]
        if all(any(abs(other - tokens) <= CLOSE * tokens for other in each) for each in budgets[1:])
    ]
