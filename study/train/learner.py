"""All that training knows of what is learned: batches, and the losses of a batch under a model.

Owns the protocols between the loop, the engines and a domain. A domain hands over a `Learner`
(`study.runs.domain.Domain.learner`); the engines need of it what `Computation` names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from study.runs.execution import Execution
from study.train.ranks import Ranks

_B = TypeVar("_B", bound="Batch")


@runtime_checkable
class Batch(Protocol):
    """A pure function of (seed, step). loss_tokens: positions with loss, by whose number the summed
    loss is divided; content_tokens: positions that the model reads, padding left out. Both are
    asked for before `to`, since they synchronise on a device.
    """

    @property
    def num_rows(self) -> int: ...

    @property
    def loss_tokens(self) -> int: ...

    @property
    def content_tokens(self) -> int: ...

    def rows(self: _B, low: int, high: int) -> _B:
        """Rows [low, high) as a batch of their own: micro-batches and ranks."""
        ...

    def without_loss(self: _B) -> _B:
        """The same rows, none of which counts: for a rank that has no row left."""
        ...

    def digest(self) -> str:
        """16 hex digits over all that the model sees."""
        ...


@runtime_checkable
class Batches(Protocol):
    """The whole batch of the run's own step (from 0), a pure function of it."""

    def batch(self, step: int) -> Batch: ...


class Losses(NamedTuple):
    """Sums over a batch's loss positions. total: the only one that a gradient goes through. parts:
    by the names that they have in events, `loss` first, which is what validation reads.
    """

    total: Tensor
    parts: Mapping[str, Tensor]


@runtime_checkable
class Computation(Protocol):
    """A model and its losses. width: of its layers, in numbers a row of a matrix."""

    @property
    def model(self) -> nn.Module: ...

    @property
    def width(self) -> int: ...

    def losses(self, batch: Any, *, device: torch.device) -> Losses:
        """In the run's precision; the batch may lie elsewhere."""
        ...

    def compile(self, wrap: Callable[[Any], Any]) -> None:
        """Wrap, with torch.compile for example, what most of the time is spent in."""
        ...

    def write(self, directory: Path) -> None:
        """What lies beside model.safetensors, such as config.json."""
        ...


@dataclass(frozen=True, kw_only=True)
class Inheritance:
    """What became of a parent's tensors: as a table to read, and an entry a tensor."""

    table: str
    entries: Sequence[Mapping[str, Any]]


@runtime_checkable
class Learner(Computation, Batches, Protocol):
    """One run's model, batches and losses. Making it opens the run's data, and raises ValueError
    where that does not fit the model.
    """

    @property
    def validation(self) -> Sequence[Any]: ...

    def begin(self, parent: Path) -> Inheritance:
        """Load a parent's checkpoint into the model, every tensor accounted for."""
        ...

    def check(self, *, execution: Execution, ranks: Ranks, warn: Callable[[str], None]) -> None:
        """Self-tests before the first step, on the run's device; raises where one fails."""
        ...

    def summary(self) -> dict[str, Any]:
        """Its entries of done.json."""
        ...
