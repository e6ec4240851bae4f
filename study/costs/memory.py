"""What one rank needs to train a run: bytes by ZeRO stage, by formula. No torch.

Owns the forecast that `study plan --memory` prints. What is held for long (weights, gradients,
optimiser state) follows from the model's tensors, what comes and goes with a micro-batch is the
domain's to say (`study.costs.footprint`). A peak is the largest of a step's moments, so it is less
than the sum of its parts:

    logits    the last micro-batch's states are there, and a block of logits with its gradient
    layer     the last layer's backward pass begins
    gradients the backward pass has ended: activations are gone, gradients are whole
    reduction the ranks' gradients become one, through buckets
    update    the optimiser moves the weights

Left out: the process itself, its libraries, an accelerator's context (0.3 to 0.6 GB of CUDA), the
batch's integers, fragmentation of the allocator, and evaluation, which needs less than a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod
from typing import Literal, assert_never

from study.costs.footprint import WIDE, Device, Footprint, Role, Shape
from study.runs import domain
from study.runs.execution import BUCKET
from study.runs.node import Trained
from study.runs.training import Adafactor, AdamW, Muon, Training

Zero = Literal[0, 1, 2, 3]
Moment = Literal["logits", "layer", "gradients", "reduction", "update"]

_LIVE = WIDE * 1_000_000_000
"""Bytes of weights that ZeRO 3 keeps gathered at most (its own default)."""
_BUCKET = WIDE * BUCKET


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Bytes of one rank. parameters, gradients, optimizer: as sharded between passes.

    activations: saved by the forward pass of one micro-batch. logits: at loss positions, with what
    the loss makes of them. buffers: whatever else the moment of the peak needs. total: the peak.
    """

    parameters: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    buffers: int
    moment: Moment
    total: int


def forecast(
    run: Trained,
    *,
    zero: Zero | None,
    ranks: int,
    micro_batch: int | None,
    activation_checkpointing: Literal["off", "on"],
    device: Device = "cuda",
) -> Forecast:
    """Bytes of the fullest rank in a step of `run`.

    zero: None is plain torch in one process. micro_batch: rows of one pass on one rank; None takes
    the rank's share of the batch at once. Raises ValueError for mixers whose activations are not
    known, and for a division of the batch that leaves a rank without rows.
    """
    training = run.training
    if zero is None and ranks != 1:
        raise ValueError(f"{ranks} ranks without ZeRO; legal: 1, or zero of 0 to 3")
    share = ceil(training.batch_size / ranks)
    if ranks > training.batch_size:
        raise ValueError(f"{ranks} ranks for {training.batch_size} rows; legal: at most as many")
    rows = min(share, micro_batch or share)
    shards = ranks if zero else 1
    pass_ = domain.of(run).footprint(
        run, rows=rows, activation_checkpointing=activation_checkpointing, device=device
    )
    weights = sum(WIDE * each.numel for each in pass_.tensors)
    gradients = weights // (shards if zero in (2, 3) else 1)
    moments = _moments(
        pass_,
        training=training,
        zero=zero,
        gradients=gradients,
        accumulates=share > rows,
        # From ZeRO 1 on a rank holds its share of the weights once more, as the flat master copy,
        # and the update reads a copy of its share of the gradients.
        flat=weights // shards if zero else 0,
    )
    parameters = weights // (shards if zero == 3 else 1)
    optimizer = (_state(pass_.tensors, training) + (weights if zero else 0)) // shards
    standing = min(weights, _BUCKET) if zero == 3 else 0  # never given back
    moment = max(moments, key=lambda name: sum(moments[name]))
    return Forecast(
        parameters=parameters,
        gradients=gradients,
        optimizer=optimizer,
        activations=pass_.saved,
        logits=pass_.logits,
        buffers=moments[moment][2] + standing,
        moment=moment,
        total=parameters + optimizer + standing + sum(moments[moment]),
    )


def _moments(
    pass_: Footprint,
    *,
    training: Training,
    zero: Zero | None,
    gradients: int,
    accumulates: bool,
    flat: int,
) -> dict[Moment, tuple[int, int, int]]:
    """Bytes beside weights and state at each moment: of gradients, of the pass, and of buffers.

    accumulates: gradients of an earlier micro-batch are there in the forward pass. Measured on
    DeepSpeed 0.19.8, buckets of all numbers at once: ZeRO 0 and 1 reduce whole gradients through
    one bucket. ZeRO 2 empties a bucket, into which gradients go as they come, through a copy of it,
    and a rank's own gradients are left. ZeRO 3 keeps its bucket, and the weights that it gathered
    last, while a copy of the bucket is scattered.

    A tied embedding's gradients arrive from the head, at once, and from the look-up, at the end,
    and are added out of place: three of its size are there (measured).
    """
    tensors = pass_.tensors
    weights = sum(WIDE * each.numel for each in tensors)
    bucket, gathered = min(weights, _BUCKET), min(weights, _LIVE)
    embedding = sum(WIDE * each.numel for each in tensors if each.role == "embedding")
    tied = all(each.role != "head" for each in tensors)
    copies = embedding * ((2 if tied else 0) + (1 if accumulates else 0))
    before = gradients if accumulates or zero == 3 else 0
    beside = pass_.casts + (gathered if zero == 3 else 0)
    at_once = zero == 2 and not accumulates and weights == bucket
    buckets = {None: 0, 0: bucket, 1: bucket, 2: 2 * bucket, 3: bucket + gathered + embedding}
    return {
        "logits": (before, pass_.saved + pass_.logits, beside),
        "layer": (before, pass_.saved, beside + pass_.working),
        "gradients": (before, 0, bucket + copies) if zero == 2 else (gradients, 0, copies),
        "reduction": (0 if at_once else gradients, 0, buckets[zero]),
        "update": (gradients, 0, flat + _update(tensors, training)),
    }


def _state(tensors: tuple[Shape, ...], training: Training) -> int:
    """Bytes of the optimiser's state: two moments a number (AdamW), the sums over rows and over
    columns of a matrix and all squares of a vector (Adafactor), one momentum a number of a hidden
    matrix and AdamW for the rest (Muon).
    """
    recipe = training.optimizer
    match recipe:
        case AdamW():
            return sum(2 * WIDE * each.numel for each in tensors)
        case Adafactor():
            return sum(WIDE * each.count * _factored(each.shape) for each in tensors)
        case Muon():
            return sum((1 if each.role == "matrix" else 2) * WIDE * each.numel for each in tensors)
        case _:
            assert_never(recipe)


def _factored(shape: tuple[int, ...]) -> int:
    if len(shape) < 2:
        return prod(shape)
    rows, columns = shape[-2:]
    return prod(shape[:-2]) * (rows + columns)


def _update(tensors: tuple[Shape, ...], training: Training) -> int:
    """Bytes that the update itself needs.

    torch's Adafactor writes out the updates of all matrices of a group at once (`foreach`), and its
    groups are what decays and what does not. Muon takes one matrix at a time: its interpolated
    gradient in float32, two 16-bit copies and two small products. Fused AdamW needs nothing.
    """
    match training.optimizer:
        case Adafactor():
            decayed: tuple[Role, ...] = ("matrix", "head")
            groups = [0, 0]
            for each in tensors:
                if len(each.shape) > 1:
                    groups[each.role in decayed] += WIDE * each.numel
            return max(groups)
        case Muon():
            matrices = (each.shape for each in tensors if each.role == "matrix")
            return max(
                8 * rows * columns + 6 * min(rows, columns) ** 2 for rows, columns in matrices
            )
        case _:
            return 0
