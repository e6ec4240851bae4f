"""What a report says beside the scores: costs, curves, adaptation, provenance.

Owns reading them from the store; every number is a formula of the run's domain or stands in a
run's own files.

Owns the columns of their tables.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from eval.evidence import held_out
from eval.report.figures.scores import CurvePoint, LearningCurve
from study.costs.ledger import Total, share
from study.runs import domain
from study.runs.cells import CellKey, Naming
from study.runs.domain import cost
from study.runs.node import (
    Evaluation,
    ExternalCheckpoint,
    Run,
    Trained,
    parent_of,
    root,
    stages,
    taken_steps,
)
from study.show.columns import Columns, fields, grid, label, number, words
from study.show.numbers import count, decimal, scientific
from study.show.table import Grid, hole
from study.store.directory import RunDirectory, Store


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A scored lineage from its first step on.

    tokens: the budget, rows times their length. content: what was in the rows and not padding, as
    counted in training: masked span corruption gives each document its own sentinels, and packed
    prompts leave gaps. content, loss_tokens: None where a stage is not done. relative: FLOPs over
    those of the cheapest lineage of its size with as many tokens.
    """

    size: str
    cell: str
    architecture: str
    parameters: int
    tokens: int
    content: int | None
    loss_tokens: int | None
    flops: int
    relative: float = 1.0


def costs(runs: Iterable[Run], *, store: Store) -> list[Cost]:
    """One row a lineage and budget (seeds cost the same)."""
    runs = tuple(runs)
    naming = Naming(runs)
    found: dict[tuple[str, CellKey], Cost] = {}
    for run in runs:
        if not isinstance(run, Evaluation) or not isinstance(run.run, Trained):
            continue
        taken = taken_steps(run.run, run.step)
        tokens = sum(share(stage, at, cost(stage).tokens) for stage, at in taken)
        size = naming.size(run.run)
        named = naming.key(run.run, run.step, tokens=tokens)
        key = (size, named)
        if key in found and found[key].loss_tokens is not None:
            continue
        found[key] = Cost(
            size=size,
            cell=named.label,
            architecture=domain.of(run).traits(run).get("architecture", ""),
            parameters=cost(run.run).parameters,
            tokens=tokens,
            content=_counted("tokens", taken, store=store),
            loss_tokens=_counted("loss_tokens", taken, store=store),
            flops=sum(share(stage, at, cost(stage).flops) for stage, at in taken),
        )
    least: dict[tuple[str, int], int] = {}
    for each in found.values():
        among = (each.size, each.tokens)
        least[among] = min(each.flops, least.get(among, each.flops))
    return [
        Cost(**{**vars(each), "relative": each.flops / least[each.size, each.tokens]})
        for each in found.values()
    ]


def _counted(name: str, taken: Iterable[tuple[Trained, int]], *, store: Store) -> int | None:
    """A count of `done.json` over the stages of a lineage, up to the steps taken of each."""
    total = 0
    for stage, steps in taken:
        done = RunDirectory(store.directory(stage)).done()
        if done is None:
            return None
        total += share(stage, steps, done[name])
    return total


def learning_curves(runs: Iterable[Run], *, store: Store) -> list[LearningCurve]:
    """Every trained run's validation losses, by the tokens and the training FLOPs of its whole
    lineage.
    """
    runs = tuple(runs)
    naming = Naming(runs)
    found = []
    for run in runs:
        if not isinstance(run, Trained):
            continue
        earlier = taken_steps(run, run.training.steps)[:-1]
        tokens = sum(share(stage, n, cost(stage).tokens) for stage, n in earlier)
        flops = sum(share(stage, n, cost(stage).flops) for stage, n in earlier)
        points = tuple(
            CurvePoint(
                tokens=tokens + share(run, event["step"], cost(run).tokens),
                flops=flops + share(run, event["step"], cost(run).flops),
                loss=event["loss"],
            )
            for event in held_out.validations(run, store=store)
        )
        if points:
            found.append(
                LearningCurve(
                    objective=domain.of(run).traits(run).get("objective", ""),
                    key=naming.key(run, run.training.steps),
                    adapted=sum(domain.of(each).in_budget(each) for each in stages(run)) > 1,
                    seed=root(run).seed,
                    points=points,
                )
            )
    return found


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """What became of a parent's tensors, and where the loss went."""

    cell: str
    seed: int
    actions: str
    optimizer_state: str
    schedule: str
    first_loss: float | None
    last_loss: float | None


def adaptations(runs: Iterable[Run], *, store: Store) -> list[Adaptation]:
    runs = tuple(runs)
    naming = Naming(runs)
    found = []
    for run in runs:
        if not isinstance(run, Trained) or parent_of(run) is None:
            continue
        if not domain.of(run).in_budget(run):
            continue
        directory = RunDirectory(store.directory(run))
        losses = [event["loss"] for event in held_out.validations(run, store=store)]
        found.append(
            Adaptation(
                cell=naming.key(run, run.training.steps).label,
                seed=root(run).seed,
                actions=_actions(directory),
                optimizer_state=getattr(run, "optimizer_state", ""),
                schedule=getattr(run, "schedule_start", ""),
                first_loss=losses[0] if len(losses) > 1 else None,
                last_loss=losses[-1] if losses else None,
            )
        )
    return found


def _actions(directory: RunDirectory) -> str:
    try:
        entries = json.loads((directory.path / "adapt.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "not run"
    counts = Counter(entry["action"] for entry in entries)
    return ", ".join(f"{count} {action}" for action, count in counts.items())


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """A run of the plan and what made it."""

    slug: str
    kind: str
    cell: str
    id: str
    state: str
    directory: str
    digest: str
    commits: str


def provenance(runs: Sequence[Run], *, store: Store) -> tuple[list[Provenance], dict[str, str]]:
    """(every run, package versions that were at work, joined where they differ)."""
    naming, states = Naming(runs), store.statuses(runs)
    rows: list[Provenance] = []
    versions: dict[str, set[str]] = {}
    for run in runs:
        directory = RunDirectory(store.directory(run))
        starts = directory.provenance()
        done = directory.done() or {}
        for start in starts:
            versions.setdefault("python", set()).add(start["python"])
            for name, version in start["packages"].items():
                versions.setdefault(name, set()).add(version)
        rows.append(
            Provenance(
                slug=run.slug,
                kind=type(run).__name__,
                cell="" if isinstance(_subject(run), ExternalCheckpoint) else naming.cell(run),
                id=run.id[:12],
                state=states[run.id],
                directory=directory.path.name,
                digest=_digest(done),
                commits=", ".join(dict.fromkeys(_commit(start) for start in starts)),
            )
        )
    return rows, {name: ", ".join(sorted(found)) for name, found in sorted(versions.items())}


def _subject(run: Run) -> Run:
    return run.run if isinstance(run, Evaluation) else run


def _digest(done: dict[str, Any]) -> str:
    """The scores' key, or the weights' or corpus's digest."""
    for name in ("scores", "weights", "digest"):
        if isinstance(done.get(name), str):
            return f"{name} {done[name][:12]}"
    return ""


def _commit(start: dict[str, Any]) -> str:
    commit = start.get("commit")
    return (commit[:10] if commit else "no commit") + (" (changed)" if start.get("dirty") else "")


def cost_grid(costs: Sequence[Cost]) -> Grid:
    several = len({each.size for each in costs}) > 1
    columns: Columns[Cost] = (
        label("lineage", lambda each: f"{each.size}: {each.cell}" if several else each.cell),
        number("parameters", lambda each: count(each.parameters)),
        number("tokens seen", lambda each: count(each.tokens)),
        number("not padding", lambda each: count(each.content)),
        number("loss tokens", lambda each: count(each.loss_tokens)),
        number("training FLOPs", lambda each: scientific(each.flops)),
        number("FLOPs over the cheapest of equal tokens", lambda each: f"{each.relative:.2f}"),
    )
    return grid(
        columns,
        sorted(costs, key=lambda each: each.tokens),
        caption="Cost of each scored lineage",
        block=lambda each: each.tokens,
    )


TOTALS: Columns[Total] = (
    *fields("stage"),
    label("cell", lambda each: each.cell),
    number("runs", lambda each: str(each.runs)),
    number("done", lambda each: str(each.done)),
    number("parameters", lambda each: count(each.parameters)),
    number("tokens", lambda each: count(each.tokens)),
    number("loss tokens", lambda each: count(each.loss_tokens)),
    number("training FLOPs", lambda each: scientific(each.flops)),
)

ADAPTATIONS: Columns[Adaptation] = (
    label("lineage", lambda each: each.cell),
    number("seed", lambda each: str(each.seed)),
    words("tensors", lambda each: each.actions),
    words("optimiser state", lambda each: each.optimizer_state),
    words("schedule", lambda each: each.schedule),
    number("first loss", lambda each: decimal(each.first_loss)),
    number("last loss", lambda each: decimal(each.last_loss)),
)

RUNS: Columns[Provenance] = (
    label("run", lambda each: each.slug),
    *fields("kind"),
    label("cell", lambda each: each.cell),
    label("id", lambda each: each.id),
    words("state", lambda each: each.state if each.state == "done" else hole(each.state)),
    label("digest", lambda each: each.digest),
    words("commit", lambda each: each.commits),
)
