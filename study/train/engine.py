"""The engine: weights and how they move. The loop (`study.train.loop`) sees nothing else of them.

Owns the protocol and `TorchEngine`, plain torch in one process with float32 parameters. The engine
of several ranks is `study.train.sharded`'s; what the losses are is a domain's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from study.runs.training import Training
from study.train import checkpoint, optimizer_shards
from study.train.checkpoint import NonFinite
from study.train.learner import Batch, Computation
from study.train.optimizers import Optimizer


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

    def forward_backward(self, batch: Batch, *, denominator: float) -> Mapping[str, Tensor]:
        """Add the gradient of loss / denominator; return the parts of the loss, summed.
        denominator: of the whole batch, equal on all ranks.
        """
        ...

    def step(self, share: float) -> Update:
        """Clip, update at this share of the full learning rate, and forget the gradient. Raises
        NonFinite before any weight has moved.
        """
        ...

    def evaluate(self, batch: Batch) -> float:
        """The summed `loss` without dropout; changes nothing."""
        ...

    def write(self, directory: Path) -> None:
        """Weights and optimiser state, all that the engine needs to go on; every rank its part."""
        ...

    def read_optimizer(self, directory: Path) -> None:
        """The optimiser state of a checkpoint that any engine wrote. Weights are given to the model
        before the engine takes it.
        """
        ...


class TorchEngine:
    """Plain torch in one process, float32 parameters."""

    def __init__(self, computed: Computation, *, training: Training, device: str = "cpu") -> None:
        self._device = torch.device(device)
        self._computed = computed
        self.model = computed.model.to(self._device).train()
        self.optimizer = Optimizer(self.model, recipe=training.optimizer)
        self._training = training
        self._parameters = [p for p in self.model.parameters() if p.requires_grad]

    def forward_backward(self, batch: Batch, *, denominator: float) -> Mapping[str, Tensor]:
        losses = self._computed.losses(batch, device=self._device)
        (losses.total / denominator).backward()
        return {name: value.detach() for name, value in losses.parts.items()}

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
                return float(self._computed.losses(batch, device=self._device).parts["loss"])
        finally:
            self.model.train()

    def write(self, directory: Path) -> None:
        self._computed.write(directory)
        checkpoint.write_weights(directory, model=self.model)
        checkpoint.write_tensors(
            directory / optimizer_shards.WHOLE, tensors=self.optimizer.tensors()
        )

    def read_optimizer(self, directory: Path) -> None:
        shapes = {name: value.shape for name, value in self.model.named_parameters()}
        self.optimizer.load(optimizer_shards.read_whole(directory, shapes))
