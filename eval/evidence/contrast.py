"""A contrast over cells and its estimate: what is asked of scores, and what they answer.

Owns both values, which every estimator takes and gives, and the level and the fewest seeds that
claims are decided by. Holds no numbers of any run. Sweeps import it with their claims, so scipy is
imported where a tail is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from study.runs.cells import Cell

ALPHA = 0.025
LEAST_SEEDS = 3

CHANCE: Cell = ("chance",)
"""The pseudo-cell whose score is the suite's chance."""

ContrastKind = Literal["greater", "positive", "equivalent", "not_greater"]
Measure = Literal["score", "tokens_to_loss", "loss"]
Counted = Literal["incremental", "total"]
Matching = Literal["tokens", "unequal", "flops"]
Part = Literal["deciding", "shown"]
Basis = Literal["seeds and items", "seeds only", "items only", "published, items only"]


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """A weighted sum over cells, and what is said of it.

    weights: over cells; the claim is about the weighted sum of their measure.
    kind: `greater` than zero by a margin that matters; `positive` (a sign, as orders and
        interactions need); `equivalent` to zero within the margin; `not_greater` than zero by the
        margin.
    margin: in the unit of the measure.
    measure: `score`, of the suite, in [0, 1]; `tokens_to_loss`, the log of the tokens at which a
        cell first has the held-out loss that the first cell ends with; `loss`, held-out nats a
        token after equally many tokens of each cell's own last stage. The last two have no suite.
    counted: of tokens_to_loss, those of the cell's own last stage or of its whole lineage.
    part: a `shown` contrast is estimated and printed, and decides nothing.
    budget: which of the token budgets that all the cells have, ascending: -1 the largest, 0 the
        smallest. Tokens are those seen before finetuning. budgets: how many there must be.
    matching: `tokens` refuses cells of unequal budgets; `unequal` takes each cell's own and is
        labelled, for comparisons that the paper itself makes so; `flops` compares at equal training
        FLOPs, by interpolation between budgets.
    against: a suite whose mean over prompts is taken off the score, task by task, over the tasks
        that both suites have. outside: a suite whose tasks are left out; without: tasks left out.
    published: (benchmark, the paper's own number), in points; a factor for tokens_to_loss.
    """

    name: str
    suite: str
    weights: tuple[tuple[Cell, float], ...]
    kind: ContrastKind
    margin: float
    measure: Measure = "score"
    counted: Counted = "incremental"
    part: Part = "deciding"
    budget: int = -1
    budgets: int = 1
    matching: Matching = "tokens"
    against: str = ""
    outside: str = ""
    without: tuple[str, ...] = ()
    published: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        if self.measure == "score" and not self.suite:
            raise ValueError("a component without a suite; legal: a role, unless it is of losses")
        if self.measure != "score" and (self.suite or self.against or self.outside):
            raise ValueError(f"{self.measure} is of losses; legal: high and low, without a suite")
        if self.budgets < 1 or not -self.budgets <= self.budget < self.budgets:
            raise ValueError(
                f"budget {self.budget} of {self.budgets}; legal: -{self.budgets} to "
                f"{self.budgets - 1}"
            )


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A contrast's value and error.

    degrees: of the t distribution; infinite where only items vary.
    seeds: complete seeds behind it. note: what a reader must know (unequal budgets, say).
    floor: every cell of it is at chance, so that a difference could not have shown.
    minimum_effect: smallest true effect found with power 0.8 at Holm's first step, if known.
    over_tasks: 95% t interval over the suite's tasks; it asks about new tasks and never decides.
    item_variance: the part of the squared error that more items would lessen, if known.
    remedy: what would decide it where neither seeds nor items would, in words.
    is_share: a score's, printed in points.
    """

    value: float
    standard_error: float
    degrees: float
    seeds: int
    basis: Basis
    note: str = ""
    floor: bool = False
    minimum_effect: float | None = None
    over_tasks: tuple[float, float] | None = None
    item_variance: float | None = None
    remedy: str = ""
    is_share: bool = True

    def interval(self, alpha: float) -> tuple[float, float]:
        """Two one-sided bounds at `alpha` each."""
        if not self.standard_error > 0:
            return (self.value, self.value)
        half = _quantile(1 - alpha, self.degrees) * self.standard_error
        return (self.value - half, self.value + half)

    def above(self, bound: float) -> float:
        """One-sided p-value against a true value of at most `bound`."""
        return self._tail(self.value - bound)

    def below(self, bound: float) -> float:
        """One-sided p-value against a true value of at least `bound`."""
        return self._tail(bound - self.value)

    def _tail(self, distance: float) -> float:
        if not self.standard_error > 0:
            return 0.0 if distance > 0 else 1.0
        return _below(-distance / self.standard_error, self.degrees)


Estimator = Callable[[Contrast], "Estimate | str"]
"""The estimate of a contrast, or in words why there is none (a missing cell, unequal budgets)."""


def _quantile(probability: float, degrees: float) -> float:
    from scipy import special

    if math.isinf(degrees):
        return float(special.ndtri(probability))
    return float(special.stdtrit(degrees, probability))


def _below(ratio: float, degrees: float) -> float:
    from scipy import special

    return float(special.ndtr(ratio) if math.isinf(degrees) else special.stdtr(degrees, ratio))
