"""The nodes of the tree: what a run of any domain is. No torch.

A run is a frozen value and its parents are among its fields; id, directory, cost and table row
follow from it. The bases have no fields, so that the order of lines in a run file is the kind's
own; what they declare, a kind has. A domain brings kinds of its own or uses the core's (`Train`,
`Continue`, `Imported`), whose parts it brings.

Science fields have no defaults: a domain's recipes hold functions that fill them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeVar

from study.runs.source import Source
from study.runs.suite import Suite
from study.runs.training import Cosine, Training, WarmupStableDecay


class Run:
    """Any node. slug: its name in a plan, which is no part of its identity."""

    SEMANTICS = 1
    slug: str

    @cached_property
    def id(self) -> str:
        """sha256 (hex) of the run's identity."""
        from study.runs.identity import digest

        return digest(self)

    @cached_property
    def parents(self) -> tuple[Run, ...]:
        """The runs among its fields, in their order: what must be done before this one."""
        from study.runs.domain import held

        return tuple(held(self, Run))

    @property
    def sources(self) -> tuple[Source, ...]:
        """What the run itself reads, in the order of its fields."""
        from study.runs.domain import held

        return tuple(held(self, Source))


class Prepared(Run):
    """Data made ready for training: read once, published, and shared by all that train on it.

    holds_out: whether a part of it is kept for validation.
    """

    @property
    def holds_out(self) -> bool:
        return True


class Trained(Run):
    """Weights that an optimiser has moved. A stage that starts from another's has the fields
    `parent` and `parent_step`.
    """

    training: Training
    seed: int


class ExternalCheckpoint(Run):
    """A checkpoint from elsewhere, named by content."""

    source: Source


_Stage = TypeVar("_Stage", bound=Trained)


class ModelShape:
    """Base of the models that `Train`, `Continue` and `Imported` hold."""


class Objective:
    """Base of the objectives that `Train` and `Continue` hold."""


@dataclass(frozen=True, kw_only=True)
class Train(Trained):
    """Train a fresh model. `seed` drives initialisation, data order and every other draw."""

    slug: str = field(metadata={"identity": False})
    data: Prepared
    model: ModelShape
    objective: Objective
    training: Training
    seed: int


@dataclass(frozen=True, kw_only=True)
class Continue(Trained):
    """Train another run's model further, as `model` says. The order of the data goes on where the
    parent stopped.

    parent_step: the parent's own step whose checkpoint is the start.
    optimizer_state: `inherited` needs equal tensors. schedule_start: `continued` counts the
    parent's steps on.
    """

    slug: str = field(metadata={"identity": False})
    parent: Train | Continue
    parent_step: int
    data: Prepared
    model: ModelShape
    objective: Objective
    training: Training
    optimizer_state: Literal["inherited", "fresh"]
    schedule_start: Literal["continued", "restarted"]
    seed: int

    def __post_init__(self) -> None:
        check_parent_step(self)


@dataclass(frozen=True, kw_only=True)
class Imported(ExternalCheckpoint):
    """A checkpoint from elsewhere that fits a model of a domain."""

    slug: str = field(metadata={"identity": False})
    source: Source
    model: ModelShape


@dataclass(frozen=True, kw_only=True)
class Evaluation(Run):
    """Scores of one checkpoint on one suite. `step` is the trained run's own step; 0 for a
    checkpoint from elsewhere.
    """

    slug: str = field(metadata={"identity": False})
    run: Trained | ExternalCheckpoint
    step: int
    suite: Suite

    def __post_init__(self) -> None:
        last = self.run.training.steps if isinstance(self.run, Trained) else 0
        if not (0 < self.step <= last or self.step == last == 0):
            raise ValueError(
                f"Evaluation {self.slug!r}: step {self.step} of {self.run.slug!r}; "
                f"legal: 1 to {last}"
            )


def check_parent_step(run: Any) -> None:
    """A parent's intermediate checkpoint is a parent only where its schedule does not look ahead to
    its own end.
    """
    training = run.parent.training
    if not 0 < run.parent_step <= training.steps:
        raise ValueError(
            f"{type(run).__name__} {run.slug!r}: parent_step {run.parent_step} of "
            f"{run.parent.slug!r}; legal: 1 to {training.steps}"
        )
    horizon_free = training.steps
    if isinstance(training.schedule, WarmupStableDecay):
        horizon_free = training.steps - training.schedule.decay_steps
    if isinstance(training.schedule, Cosine):
        horizon_free = 0
    if horizon_free < run.parent_step < training.steps:
        raise ValueError(
            f"{type(run).__name__} {run.slug!r}: step {run.parent_step} of {run.parent.slug!r} "
            f"lies under a schedule that ends at {training.steps} "
            f"({type(training.schedule).__name__}): a run of that length would have had other "
            "weights. Declare it as its own run, or use a schedule without a horizon"
        )


def parent_of(run: Run) -> Trained | None:
    """The stage whose weights a trained run starts from; None where it starts from fresh ones."""
    return getattr(run, "parent", None) if isinstance(run, Trained) else None


def start_checkpoint(run: Run) -> tuple[Trained | None, int]:
    """The checkpoint that a run starts from or scores: (trained run, its own step)."""
    if isinstance(run, Evaluation):
        return (run.run, run.step) if isinstance(run.run, Trained) else (None, 0)
    parent = parent_of(run)
    return (parent, run.parent_step) if parent else (None, 0)  # type: ignore[attr-defined]


def data_of(run: Trained) -> Prepared:
    """What a run trains on, under whatever name its kind gives it."""
    return next(each for each in run.parents if isinstance(each, Prepared))


def stages(run: _Stage) -> Iterator[_Stage]:
    """The lineage, from the stage that began with fresh weights down to this run."""
    parent = parent_of(run)
    if parent is not None:
        yield from stages(parent)  # type: ignore[misc]  of the run's own domain
    yield run


def root(run: _Stage) -> _Stage:
    """The stage that this run descends from; its seed is the replicate."""
    return next(stages(run))


def steps_before(run: Trained) -> int:
    """Optimiser steps that the lineage took before this run: where its data goes on."""
    parent, step = start_checkpoint(run)
    return steps_before(parent) + step if parent else 0


def taken_steps(run: _Stage, step: int) -> list[tuple[_Stage, int]]:
    """Each stage of the lineage with the own steps that count for this checkpoint."""
    line = list(stages(run))
    after = [start_checkpoint(child)[1] for child in line[1:]]
    return list(zip(line, [*after, step], strict=True))
