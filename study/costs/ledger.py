"""What a plan costs: one row a run, totals by stage and cell, and what sharing saved.

Owns the table of `study plan`. The numbers are formulas of `study.language.cost`; the one measured
number is the loss tokens of a mixture, which a finished run's seal tells. No torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from study.language import cost
from study.runs.run import (
    Adapt,
    Corpus,
    Evaluation,
    External,
    Finetune,
    Pretrain,
    Run,
    Trained,
    cell,
    model_of,
    objective_short,
    run_id,
    stages,
)
from study.store.directory import RunDirectory, State, Store

STAGES: tuple[str, ...] = ("Corpus", "External", "Pretrain", "Adapt", "Finetune", "Evaluation")


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
    return [_row(run, state=states[run_id(run)], store=store) for run in runs]


def _row(run: Run, *, state: State, store: Store) -> Row:
    subject = run.run if isinstance(run, Evaluation) else run
    trained = subject if isinstance(subject, Trained) else None
    model = model_of(trained) if trained else None
    architecture = model.architecture if model else None
    if isinstance(subject, External):
        architecture = subject.architecture
    moves = run if isinstance(run, Trained) else None
    return Row(
        id=run_id(run),
        slug=run.slug,
        kind=type(run).__name__,
        architecture=architecture,
        objective=objective_short(trained.objective) if trained else None,
        mixer=model.mixer if model else None,
        parent=_parent(run),
        parameters=cost.parameters(model) if model else None,
        tokens=cost.tokens(moves) if moves else None,
        loss_tokens=_loss_tokens(moves, state=state, store=store) if moves else None,
        flops=cost.flops(moves) if moves else None,
        state=state,
    )


def _parent(run: Run) -> str | None:
    match run:
        case Corpus():
            return run.tokenizer.slug if isinstance(run.tokenizer, Corpus) else None
        case Adapt() | Finetune():
            return run.parent.slug
        case Evaluation():
            return run.run.slug
        case Pretrain() | External():
            return None


def _loss_tokens(run: Trained, *, state: State, store: Store) -> int | None:
    counted = cost.loss_tokens(run)
    if counted is None and state == "done":
        summary = RunDirectory(store.directory(run)).done() or {}
        return summary.get("loss_tokens")
    return counted


def totals(ledger: Iterable[Row], runs: Sequence[Run]) -> list[Total]:
    """Sums by stage and cell, stages in their order."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row, run in zip(ledger, runs, strict=True):
        groups.setdefault((row.kind, _cell(run)), []).append(row)
    ordered = sorted(groups, key=lambda key: STAGES.index(key[0]))
    return [_total(stage, name, groups[stage, name]) for stage, name in ordered]


def _cell(run: Run) -> str:
    match run:
        case Corpus():
            return ""
        case External():
            return run.architecture
        case Evaluation():
            return _cell(run.run)
        case _:
            return cell(run)


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
    spent = {run_id(run): (cost.tokens(run), cost.flops(run)) for run in trained}
    continued = {
        (run_id(run.parent), run.parent_step) for run in trained if not isinstance(run, Pretrain)
    }
    ends = [run for run in trained if (run_id(run), run.training.steps) not in continued]
    alone_tokens = alone_flops = 0
    for end in ends:
        lineage = list(stages(end))
        for stage, child in zip(lineage, [*lineage[1:], None], strict=True):
            steps = stage.training.steps if child is None else child.parent_step  # type: ignore[union-attr]
            tokens, flops = spent[run_id(stage)]
            alone_tokens += tokens * steps // stage.training.steps
            alone_flops += flops * steps // stage.training.steps
    return Sharing(
        paths=len(ends),
        tokens=sum(tokens for tokens, _ in spent.values()),
        flops=sum(flops for _, flops in spent.values()),
        alone_tokens=alone_tokens,
        alone_flops=alone_flops,
    )
