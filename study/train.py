"""The one training loop. It knows batches, losses and steps, and nothing of language or files.

Owns micro-batching, the normalisation of the loss, the order of step, validation, save and stop, and
the check for non-finite numbers. The engine owns weights and their update: `TorchEngine` is plain
torch in one process; an engine of many processes joins behind the same protocol.

The loss of a step is summed over its loss tokens and divided by their count in the whole batch,
whatever the micro-batches (`reduction="sum"` leaves it summed); gradients are clipped afterwards.

Resume is bitwise because a step is a function of the weights, the optimiser state and the step's
number: batches and dropout are seeded by it, and validation draws nothing.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from study import checkpoint, schedules
from study.checkpoint import Progress
from study.loss import cross_entropy
from study.optimizers import Optimizer
from study.run import Training
from study.signals import Stop

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from study.layout import Batch


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
        model: PreTrainedModel,
        *,
        training: Training,
        device: str = "cpu",
        compiled: Callable[[Any], Any] | None = None,
    ) -> None:
        """compiled: what wraps the model's `hidden`, such as torch.compile; None leaves it."""
        self.model = model.to(device).train()
        self.optimizer = Optimizer(self.model, recipe=training.optimizer)
        self._training = training
        self._device = torch.device(device)
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


class Batches(Protocol):
    """The whole batch of the run's own step (from 0), a pure function of it."""

    def batch(self, step: int) -> Batch: ...


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the loop knows of a run.

    first_step: updates of the lineage before this run, so that no stage repeats dropout masks.
    schedule_before: updates that the schedule counts before this run's first.
    last: the own step to stop at. validate_at, keep: own steps that are validated and saved.
    """

    training: Training
    seed: int
    first_step: int
    schedule_before: int
    last: int
    validate_at: frozenset[int]
    keep: frozenset[int]
    checkpoint_seconds: float
    micro_batch: int | None


class Watch(Protocol):
    """Who hears of the loop: files, mirrors and people."""

    stop: Stop

    def step(self, event: dict[str, Any]) -> None: ...

    def validation(self, event: dict[str, Any]) -> None: ...

    def save(self, progress: Progress) -> None: ...


def validation_steps(steps: int, *, points: int) -> frozenset[int]:
    """Before the first step, then `points` evenly spaced places up to the last step."""
    return frozenset({0} | {round(steps * point / points) for point in range(1, points + 1)})


def train(
    engine: Engine,
    *,
    batches: Batches,
    validation: Sequence[Batch],
    plan: Plan,
    progress: Progress,
    watch: Watch,
) -> Progress:
    """Go on from `progress` to the plan's last step. Raises Interrupted after a complete save where
    a signal asked for it, NonFinite with the step and the batch's digest.
    """
    saved_step, saved_at = progress.step, time.monotonic()
    begun, before = time.monotonic(), progress.wall_seconds
    while True:
        if _validation_due(plan, progress):
            progress = _validate(engine, validation=validation, progress=progress, watch=watch)
        now = time.monotonic()
        progress = replace(progress, wall_seconds=before + now - begun)
        due = (
            progress.step in plan.keep
            or now - saved_at >= plan.checkpoint_seconds
            or watch.stop.requested
        )
        if due and progress.step > saved_step:
            watch.save(progress)
            saved_step, saved_at = progress.step, time.monotonic()
        if progress.step >= plan.last and not _validation_due(plan, progress):
            return progress
        watch.stop.check(f"training, saved at step {saved_step} of {plan.last}")
        progress = _step(engine, batches=batches, plan=plan, progress=progress, watch=watch)


def _validation_due(plan: Plan, progress: Progress) -> bool:
    return progress.step in plan.validate_at and progress.validated_step != progress.step


def _step(
    engine: Engine, *, batches: Batches, plan: Plan, progress: Progress, watch: Watch
) -> Progress:
    begun = time.perf_counter()
    training, step = plan.training, plan.first_step + progress.step
    batch = batches.batch(progress.step)
    loss_tokens, tokens, digest = batch.loss_tokens, batch.content_tokens, batch.digest()
    if not loss_tokens:
        raise ValueError(f"step {progress.step + 1} (batch {digest}) has no token with loss")
    denominator = float(loss_tokens) if training.reduction == "mean" else 1.0
    rows = plan.micro_batch or batch.num_rows
    summed = z_term = 0.0
    for low in range(0, batch.num_rows, rows):
        if training.dropout:
            torch.manual_seed(_dropout_seed(plan.seed, step=step, row=low))
        part = batch if rows >= batch.num_rows else batch.rows(low, low + rows)
        one, z_one = engine.forward_backward(part, denominator=denominator)
        summed, z_term = summed + float(one), z_term + float(z_one)
    where = f"at step {progress.step + 1} (batch {digest} of seed {plan.seed})"
    if not math.isfinite(summed + z_term):
        raise NonFinite(f"the loss is {(summed + z_term) / loss_tokens} {where}")
    share = schedules.fraction(
        training.schedule,
        step=plan.schedule_before + progress.step,
        total=plan.schedule_before + training.steps,
    )
    try:
        update = engine.step(share)
    except NonFinite as error:
        raise NonFinite(f"{error} {where}") from None
    seconds = time.perf_counter() - begun
    chain = hashlib.sha256(f"{progress.data_digest}{digest}".encode()).hexdigest()
    progress = replace(
        progress,
        step=progress.step + 1,
        tokens=progress.tokens + tokens,
        loss_tokens=progress.loss_tokens + loss_tokens,
        clipped_steps=progress.clipped_steps + update.clipped,
        data_digest=chain,
        train_seconds=progress.train_seconds + seconds,
    )
    watch.step(
        {
            "step": progress.step,
            "loss": summed / loss_tokens,
            "z_loss": z_term / loss_tokens,
            "learning_rate": update.learning_rate,
            "grad_norm": update.grad_norm,
            "clipped": update.clipped,
            "clipped_fraction": progress.clipped_steps / progress.step,
            "tokens_per_second": tokens / seconds,
            "digest": digest,
            "tokens_seen": progress.tokens,
            "loss_tokens": progress.loss_tokens,
            "seconds": seconds,
        }
    )
    return progress


def _validate(
    engine: Engine, *, validation: Sequence[Batch], progress: Progress, watch: Watch
) -> Progress:
    """The mean loss of the held-out batches, or the progress unchanged where a stop was asked for."""
    summed, count = 0.0, 0
    for batch in validation:
        if watch.stop.requested:
            return progress
        summed, count = summed + engine.evaluate(batch), count + batch.loss_tokens
    loss = summed / count if count else None
    if loss is not None and not math.isfinite(loss):
        raise NonFinite(f"the validation loss is {loss} after step {progress.step}")
    if loss is not None:
        watch.validation({"step": progress.step, "loss": loss, "loss_tokens": count})
    return replace(progress, validated_step=progress.step, validation_loss=loss)


def _dropout_seed(seed: int, *, step: int, row: int) -> int:
    digest = hashlib.sha256(f"dropout {seed} {step} {row}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
