"""The engine: weights and how they move. The loop (`study.train.loop`) sees nothing else of them.

Owns the protocol, the losses of a batch, and `TorchEngine`, plain torch in one process with float32
parameters. The engine of several ranks is `study.train.sharded`'s. Logits are computed at loss
positions only.

Axes: B rows, T positions, D model width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from study.nn.loss import Loss, linear_cross_entropy
from study.runs.training import Training
from study.train import checkpoint, optimizer_shards
from study.train.checkpoint import NonFinite
from study.train.optimizers import Optimizer

if TYPE_CHECKING:
    from study.language.layout import Batch
    from study.language.model.build import LanguageModel


@dataclass(frozen=True, kw_only=True)
class Update:
    """What an optimiser step did. grad_norm: before clipping."""

    learning_rate: float
    grad_norm: float
    clipped: bool


class Engine(Protocol):
    """Weights and how they move. A rank is given its own rows and returns sums over those; the
    gradient that moves the weights is that of all ranks' rows.
    """

    def forward_backward(self, batch: Batch, *, denominator: float) -> tuple[Tensor, Tensor]:
        """Add the gradient of loss / denominator; return the summed cross-entropy and z-term.
        denominator: of the whole batch, equal on all ranks.
        """
        ...

    def step(self, share: float) -> Update:
        """Clip, update at this share of the full learning rate, and forget the gradient. Raises
        NonFinite before any weight has moved.
        """
        ...

    def evaluate(self, batch: Batch) -> float:
        """Summed cross-entropy without dropout; changes nothing."""
        ...

    def write(self, directory: Path) -> None:
        """Weights and optimiser state, all that the engine needs to go on; every rank its part."""
        ...

    def read_optimizer(self, directory: Path) -> None:
        """The optimiser state of a checkpoint that any engine wrote. Weights are given to the model
        before the engine takes it.
        """
        ...


def losses(
    batch: Batch,
    *,
    model: LanguageModel,
    hidden: Callable[[Batch], Tensor],
    training: Training,
    device: torch.device,
    compiled: Callable[[Any], Any] | None = None,
) -> Loss:
    """Summed cross-entropy and z-term at the loss positions, in the run's precision. hidden: the
    model's own, or what wraps it. compiled: what wraps the work on a block of logits.
    """
    places = batch.loss_mask.flatten().nonzero()[:, 0]
    whole = places.numel() == batch.loss_mask.numel()
    if device.type != "cpu":
        batch, places = batch.to(device), places.to(device)
    # A weight is used once in a pass, so keeping its rounded copy would cost memory alone.
    autocast = torch.autocast(
        device.type,
        dtype=torch.bfloat16,
        enabled=training.precision == "bfloat16_autocast",
        cache_enabled=False,
    )
    with autocast:
        states = hidden(batch).flatten(0, 1)  # (B T, D)
        labels = batch.labels.flatten()
        if not whole:
            # The vocabulary matrix is read at loss positions only. Not states[mask]: the backward
            # pass of a mask is a serial scatter, that of index_select an addition.
            states, labels = states.index_select(0, places), labels.index_select(0, places)
        return linear_cross_entropy(
            *model.read_out(states), labels, z_loss=training.z_loss, compiled=compiled
        )


class TorchEngine:
    """Plain torch in one process, float32 parameters."""

    def __init__(
        self,
        model: LanguageModel,
        *,
        training: Training,
        device: str = "cpu",
        compiled: Callable[[Any], Any] | None = None,
    ) -> None:
        """compiled: what wraps the model's `hidden`, such as torch.compile; None leaves it."""
        self._device = torch.device(device)
        model.to(self._device)
        self.model = model.train()
        self.optimizer = Optimizer(self.model, recipe=training.optimizer)
        self._training = training
        self._compiled = compiled
        self._hidden = compiled(self.model.hidden) if compiled else self.model.hidden
        self._parameters = [p for p in self.model.parameters() if p.requires_grad]

    def _losses(self, batch: Batch) -> Loss:
        return losses(
            batch,
            model=self.model,
            hidden=self._hidden,
            training=self._training,
            device=self._device,
            compiled=self._compiled,
        )

    def forward_backward(self, batch: Batch, *, denominator: float) -> tuple[Tensor, Tensor]:
        loss = self._losses(batch)
        (loss.total / denominator).backward()
        return loss.cross_entropy, loss.z_term

    def step(self, share: float) -> Update:
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        total = torch.nn.utils.get_total_norm(gradients)
        norm = float(total)
        if not math.isfinite(norm):
            raise NonFinite(f"the gradient's norm is {norm}")
        limit = self._training.clip_norm
        clipped = limit is not None and norm > limit
        if limit is not None and clipped:
            torch.nn.utils.clip_grads_with_norm_(self._parameters, limit, total)
        applied = self.optimizer.step(share)
        self.optimizer.zero_grad()
        return Update(learning_rate=applied.learning_rate, grad_norm=norm, clipped=clipped)

    def evaluate(self, batch: Batch) -> float:
        self.model.eval()
        try:
            with torch.no_grad():
                return float(self._losses(batch).cross_entropy)
        finally:
            self.model.train()

    def write(self, directory: Path) -> None:
        checkpoint.write_weights(directory, model=self.model)
        checkpoint.write_tensors(
            directory / optimizer_shards.WHOLE, tensors=self.optimizer.tensors()
        )

    def read_optimizer(self, directory: Path) -> None:
        shapes = {name: value.shape for name, value in self.model.named_parameters()}
        self.optimizer.load(optimizer_shards.read_whole(directory, shapes))
