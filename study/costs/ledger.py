"""What a plan costs: one row a run, totals by stage and cell, and what sharing saved.

Owns the table of `study plan`. The numbers are the domains'; the one measured number is the loss
tokens that only the data knows, which a finished run's seal tells. No torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from study.runs import domain
from study.runs.cells import Naming
from study.runs.domain import cost
from study.runs.node import Evaluation, Run, Trained, parent_of, start_checkpoint, taken_steps
from study.store.directory import RunDirectory, State, Store


@dataclass(frozen=True, kw_only=True)
class Row:
    """One run of the ledger. parent: the slug of the run whose weights it starts from or scores.

    tokens: content positions seen; loss_tokens: those with loss; both of this run alone, None where
    they don't apply or aren't known before the run.
    """

    id: str
    slug: str
    kind: str
    architecture: str | None
    objective: str | None
    mixer: str | None
    parent: str | None
    parameters: int | None
    tokens: int | None
    loss_tokens: int | None
    flops: int | None
    state: State

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Total:
    """The runs of one stage and cell together; a number is None where a run's is unknown."""

    stage: str
    cell: str
    runs: int
    done: int
    parameters: int | None
    tokens: int | None
    loss_tokens: int | None
    flops: int | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """The training of a plan against every path of it run from scratch on its own."""

    paths: int
    tokens: int
    flops: int
    alone_tokens: int
    alone_flops: int

    def as_json(self) -> dict[str, int]:
        return asdict(self) | {
            "saved_tokens": self.alone_tokens - self.tokens,
            "saved_flops": self.alone_flops - self.flops,
        }


def rows(runs: Sequence[Run], *, store: Store) -> list[Row]:
    """The ledger, in the plan's order."""
    states = store.statuses(runs)
    return [_row(run, state=states[run.id], store=store) for run in runs]


def _row(run: Run, *, state: State, store: Store) -> Row:
    traits = domain.of(run).traits(run)
    own = cost(run) if isinstance(run, Trained) else None
    subject = run.run if isinstance(run, Evaluation) else run
    size = cost(subject).parameters if isinstance(subject, Trained) else None
    return Row(
        id=run.id,
        slug=run.slug,
        kind=type(run).__name__,
        architecture=traits.get("architecture"),
        objective=traits.get("objective"),
        mixer=traits.get("mixer"),
        parent=_parent(run),
        parameters=size,
        tokens=own.tokens if own else None,
        loss_tokens=_loss_tokens(run, state=state, store=store) if own else None,
        flops=own.flops if own else None,
        state=state,
    )


def _parent(run: Run) -> str | None:
    if isinstance(run, Trained):
        parent = parent_of(run)
        return parent.slug if parent else None
    return next((each.slug for each in run.parents), None)


def _loss_tokens(run: Run, *, state: State, store: Store) -> int | None:
    counted = cost(run).loss_tokens if isinstance(run, Trained) else None
    if counted is None and state == "done":
        summary = RunDirectory(store.directory(run)).done() or {}
        return summary.get("loss_tokens")
    return counted


def totals(ledger: Iterable[Row], runs: Sequence[Run]) -> list[Total]:
    """Sums by stage and cell, stages in their order."""
    naming, order = Naming(runs), list(domain.kinds())
    groups: dict[tuple[str, str], list[Row]] = {}
    for row, run in zip(ledger, runs, strict=True):
        groups.setdefault((row.kind, naming.cell(run)), []).append(row)
    ordered = sorted(groups, key=lambda key: order.index(key[0]))
    return [_total(stage, name, groups[stage, name]) for stage, name in ordered]


def _total(stage: str, name: str, group: list[Row]) -> Total:
    def summed(field: str) -> int | None:
        numbers = [getattr(row, field) for row in group]
        return None if None in numbers else sum(numbers)

    sizes = {row.parameters for row in group}
    return Total(
        stage=stage,
        cell=name,
        runs=len(group),
        done=sum(row.state == "done" for row in group),
        parameters=sizes.pop() if len(sizes) == 1 else None,
        tokens=summed("tokens"),
        loss_tokens=summed("loss_tokens"),
        flops=summed("flops"),
    )


def sharing(runs: Sequence[Run]) -> Sharing:
    """A path ends at a trained run whose last step no other trained run starts from. On its own it
    would train each ancestor as far as its child's start.
    """
    trained = [run for run in runs if isinstance(run, Trained)]
    own = [cost(run) for run in trained]
    continued = {(parent.id, step) for parent, step in map(start_checkpoint, trained) if parent}
    ends = [run for run in trained if (run.id, run.training.steps) not in continued]
    paths = [part for end in ends for part in taken_steps(end, end.training.steps)]
    return Sharing(
        paths=len(ends),
        tokens=sum(each.tokens for each in own),
        flops=sum(each.flops for each in own),
        alone_tokens=sum(share(stage, steps, cost(stage).tokens) for stage, steps in paths),
        alone_flops=sum(share(stage, steps, cost(stage).flops) for stage, steps in paths),
    )


def share(stage: Trained, taken: int, total: int) -> int:
    """What of a stage's total the first `taken` of its steps make up."""
    return total * taken // stage.training.steps
