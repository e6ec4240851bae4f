"""Held-out losses of finished runs as arrays, by the tokens that each run had seen.

Owns reading them and saying which may stand side by side: two curves answer one question only where
held-out text, objective, packing and rows a batch are the same, since these say which tokens were
predicted. A run that has not ended is left out: its curve would read as one that stays above, and
a damaged event file is a hole, not the end of a report. No torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from study.costs.ledger import share
from study.runs import domain
from study.runs.cells import Cell, Naming
from study.runs.domain import cost
from study.runs.node import Run, Trained, root, taken_steps
from study.store.directory import RunDirectory, Store
from study.store.events import read_curve

Unit = Literal["tokens", "flops"]


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldOut:
    """The curve of one run's own stage.

    tokens: (V,) of this stage, ascending, as the ledger counts them; losses: (V,) nats per loss
    token. before: (tokens, training FLOPs) of the stages before it. flops: of one own token.
    question: what was predicted, by which two curves may be compared; description: the
    same in words.
    """

    cell: Cell
    size: str
    seed: int
    tokens: np.ndarray
    losses: np.ndarray
    before: tuple[int, int]
    flops: float
    question: str
    description: str

    def spent(self, unit: Unit) -> np.ndarray:
        """(V,) of this stage alone."""
        return self.tokens * (1.0 if unit == "tokens" else self.flops)

    def spent_before(self, unit: Unit) -> int:
        return self.before[0 if unit == "tokens" else 1]


def read(runs: Iterable[Run], *, store: Store) -> list[HeldOut]:
    """The curve of every finished pretraining and adaptation that validated."""
    runs = tuple(runs)
    naming = Naming(runs)
    states = store.statuses(runs)
    found = []
    for run in runs:
        if not isinstance(run, Trained) or states[run.id] != "done":
            continue
        if not domain.of(run).in_budget(run):
            continue
        points = validations(run, store=store)
        if points:
            found.append(_curve(run, points, naming=naming))
    return found


def _curve(run: Trained, points: Iterable[dict], *, naming: Naming) -> HeldOut:
    own, target = cost(run), domain.of(run).validation_target(run)
    form = json.dumps(target.form, sort_keys=True)
    steps = np.array([each["step"] for each in points])
    earlier = taken_steps(run, run.training.steps)[:-1]
    return HeldOut(
        cell=naming.key(run, run.training.steps).name,
        size=naming.size(run),
        seed=root(run).seed,
        tokens=own.tokens * steps / run.training.steps,
        losses=np.array([each["loss"] for each in points]),
        before=(
            sum(share(stage, taken, cost(stage).tokens) for stage, taken in earlier),
            sum(share(stage, taken, cost(stage).flops) for stage, taken in earlier),
        ),
        flops=own.flops / own.tokens,
        question=hashlib.sha256(form.encode()).hexdigest(),
        description=target.description,
    )


def validations(run: Trained, *, store: Store) -> tuple[dict[str, Any], ...]:
    """The validation events that count, none where the file is damaged (`damaged` tells)."""
    try:
        return read_curve(RunDirectory(store.directory(run)).events).validations
    except ValueError:
        return ()


def damaged(runs: Iterable[Run], *, store: Store) -> list[tuple[str, str]]:
    """(run, what is wrong) of every event file that cannot be read."""
    found = []
    for run in runs:
        if not isinstance(run, Trained):
            continue
        try:
            read_curve(RunDirectory(store.directory(run)).events)
        except ValueError as error:
            found.append((run.slug, str(error)))
    return found
