"""The engine: weights and how they move. The loop (`study.train`) sees nothing else of them.

Owns the protocol and `TorchEngine`, plain torch in one process with float32 parameters; an engine
of many processes joins behind the same protocol. Logits are computed at loss positions only.

Axes: B rows, T positions, D model width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from study import checkpoint
from study.loss import cross_entropy
from study.optimizers import Optimizer
from study.run import Training

if TYPE_CHECKING:
    from study.layout import Batch
    from study.model import LanguageModel


class NonFinite(ArithmeticError):
    """A loss or gradient that is not a number: training stops before it reaches a checkpoint."""


@dataclass(frozen=True, kw_only=True)
class Update:
    """What an optimiser step did. grad_norm: before clipping."""

    learning_rate: float
    grad_norm: float
    clipped: bool


class Engine(Protocol):
    """Weights and how they move. Sums are over loss tokens; one process sees them all."""

    def forward_backward(self, batch: Batch, *, denominator: float) -> tuple[Tensor, Tensor]:
        """Add the gradient of loss / denominator; return the summed cross-entropy and z-term."""
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
        """Weights and optimiser state, all that the engine needs to go on."""
        ...

    def read(self, directory: Path) -> None: ...


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
        model.to(self._device)  # type: ignore[arg-type]  (transformers narrows Module.to)
        self.model = model.train()
        self.optimizer = Optimizer(self.model, recipe=training.optimizer)
        self._training = training
        self._hidden = compiled(self.model.hidden) if compiled else self.model.hidden
        self._parameters = [p for p in self.model.parameters() if p.requires_grad]

    def _losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        places = batch.loss_mask.flatten().nonzero()[:, 0]
        whole = places.numel() == batch.loss_mask.numel()
        if self._device.type != "cpu":
            batch, places = batch.to(self._device), places.to(self._device)
        with self._autocast():
            hidden = self._hidden(batch).flatten(0, 1)  # (B T, D)
            labels = batch.labels.flatten()
            if not whole:
                # The vocabulary matrix is read at loss positions only. Not hidden[mask]: the
                # backward pass of a mask is a serial scatter, that of index_select an addition.
                hidden, labels = hidden.index_select(0, places), labels.index_select(0, places)
            logits = self.model.logits(hidden)
        return cross_entropy(logits, labels, z_loss=self._training.z_loss)

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(
            self._device.type,
            dtype=torch.bfloat16,
            enabled=self._training.precision == "bfloat16_autocast",
        )

    def forward_backward(self, batch: Batch, *, denominator: float) -> tuple[Tensor, Tensor]:
        summed, z_term = self._losses(batch)
        ((summed + z_term) / denominator).backward()
        return summed.detach(), z_term.detach()

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
                return float(self._losses(batch)[0])
        finally:
            self.model.train()

    def write(self, directory: Path) -> None:
        checkpoint.write_weights(directory, model=self.model)
        checkpoint.write_tensors(
            directory / "optimizer.safetensors", tensors=self.optimizer.tensors()
        )

    def read(self, directory: Path) -> None:
        weights = checkpoint.read_tensors(directory / "model.safetensors")
        checkpoint.load_weights(self.model, tensors=weights)
        self.optimizer.load(checkpoint.read_tensors(directory / "optimizer.safetensors"))
