"""The one training loop. It knows batches, losses and steps, and nothing of language or files.

Owns micro-batching, the normalisation of the loss, the order of step, validation, save and stop,
and the check for a loss that is no number. Weights and their update are `study.train.engine`'s.

The loss of a step is summed over its loss tokens and divided by their count in the whole batch,
whatever the micro-batches (`reduction="sum"` leaves it summed); gradients are clipped afterwards.

Resume is bitwise because a step is a function of the weights, the optimiser state and the step's
number: batches and dropout are seeded by it, and validation draws nothing.

Several ranks run this same loop on the same batches, each on its own rows, and meet at three places
a step: in the engine, where the sums of losses are added up, and where they agree to save or stop.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch

from study.runs.training import Training, fraction
from study.train.checkpoint import Progress
from study.train.engine import Engine, NonFinite
from study.train.learner import Batch, Batches
from study.train.ranks import Ranks, single_process
from study.train.signals import Stop


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the loop knows of a run.

    first_step: updates of the lineage before this run, so that no stage repeats dropout masks.
    schedule_before: updates that the schedule counts before this run's first.
    last: the own step to stop at. validate_at, keep: own steps that are validated and saved.
    micro_batch: rows of one pass of a rank, or None for its share of the batch at once.
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
    ranks: Ranks = field(default_factory=single_process)


class Callbacks(Protocol):
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
    callbacks: Callbacks,
) -> Progress:
    """Go on from `progress` to the plan's last step. Raises Interrupted after a complete save where
    a signal asked for it, NonFinite with the step and the batch's digest.
    """
    saved_step, saved_at = progress.step, time.monotonic()
    begun, before = time.monotonic(), progress.wall_seconds
    while True:
        if _validation_due(plan, progress):
            progress = _validate(
                engine, validation=validation, plan=plan, progress=progress, callbacks=callbacks
            )
        now = time.monotonic()
        progress = replace(progress, wall_seconds=before + now - begun)
        stopping = _agreed_stop(plan.ranks, callbacks)
        late = plan.ranks.first and now - saved_at >= plan.checkpoint_seconds
        due = plan.ranks.any(late) or progress.step in plan.keep or stopping
        if due and progress.step > saved_step:
            callbacks.save(progress)
            saved_step, saved_at = progress.step, time.monotonic()
            stopping = _agreed_stop(plan.ranks, callbacks)
        if progress.step >= plan.last and not _validation_due(plan, progress):
            return progress
        if stopping:
            callbacks.stop.check(f"training, saved at step {saved_step} of {plan.last}")
        progress = _step(engine, batches=batches, plan=plan, progress=progress, callbacks=callbacks)


def _agreed_stop(ranks: Ranks, callbacks: Callbacks) -> bool:
    """Whether any rank was asked to stop: then all stop here, together."""
    stopping = ranks.any(callbacks.stop.requested)
    if stopping and not callbacks.stop.requested:
        callbacks.stop.follow()
    return stopping


def _validation_due(plan: Plan, progress: Progress) -> bool:
    return progress.step in plan.validate_at and progress.validated_step != progress.step


def _step(
    engine: Engine, *, batches: Batches, plan: Plan, progress: Progress, callbacks: Callbacks
) -> Progress:
    begun = time.perf_counter()
    training, step = plan.training, plan.first_step + progress.step
    batch = batches.batch(progress.step)
    loss_tokens, tokens, digest = batch.loss_tokens, batch.content_tokens, batch.digest()
    if not loss_tokens:
        raise ValueError(f"step {progress.step + 1} (batch {digest}) has no token with loss")
    denominator = float(loss_tokens) if training.reduction == "mean" else 1.0
    sums: dict[str, float] = {}
    for low, part in _own_parts(batch, rows=plan.micro_batch, ranks=plan.ranks):
        if training.dropout:
            torch.manual_seed(_dropout_seed(plan.seed, step=step, row=low))
        for name, value in engine.forward_backward(part, denominator=denominator).items():
            sums[name] = sums.get(name, 0.0) + float(value)
    sums = dict(zip(sums, plan.ranks.sum(*sums.values()), strict=True))
    total = sum(sums.values())
    where = f"at step {progress.step + 1} (batch {digest} of seed {plan.seed})"
    if not math.isfinite(total):
        raise NonFinite(f"the loss is {total / loss_tokens} {where}")
    share = fraction(
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
    callbacks.step(
        {
            "step": progress.step,
            **{name: value / loss_tokens for name, value in sums.items()},
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


def _own_parts(batch: Batch, *, rows: int | None, ranks: Ranks) -> Iterator[tuple[int, Batch]]:
    """This rank's rows, in parts of `rows`: (first row, part). Every rank has equally many parts,
    since a pass is a meeting of all; where no row is left, one without loss takes its place.
    """
    rows = rows or -(-batch.num_rows // ranks.world)
    if ranks.world == 1 and rows >= batch.num_rows:
        yield 0, batch
        return
    for first in range(0, batch.num_rows, rows * ranks.world):
        low = first + ranks.rank * rows
        if low < batch.num_rows:
            yield low, batch.rows(low, low + rows)
        else:
            yield low, batch.rows(0, 1).without_loss()


def _validate(
    engine: Engine,
    *,
    validation: Sequence[Batch],
    plan: Plan,
    progress: Progress,
    callbacks: Callbacks,
) -> Progress:
    """The held-out batches' mean loss, or the progress unchanged where a stop was asked for."""
    summed, count = 0.0, 0
    for batch in validation:
        if _agreed_stop(plan.ranks, callbacks):
            return progress
        count += batch.loss_tokens
        for _, part in _own_parts(batch, rows=None, ranks=plan.ranks):
            summed += engine.evaluate(part)
    summed = plan.ranks.sum(summed)[0]
    loss = summed / count if count else None
    if loss is not None and not math.isfinite(loss):
        raise NonFinite(f"the validation loss is {loss} after step {progress.step}")
    if loss is not None:
        callbacks.validation({"step": progress.step, "loss": loss, "loss_tokens": count})
    return replace(progress, validated_step=progress.step, validation_loss=loss)


def _dropout_seed(seed: int, *, step: int, row: int) -> int:
    digest = hashlib.sha256(f"dropout {seed} {step} {row}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
