"""How weights are moved: optimisers, schedules and training recipes. No torch.

Owns frozen values, their legal ranges, and the learning rate as a pure function of the step; what
the optimisers compute is `study.train.optimizers`'.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from study.runs.legal import positive, within


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Loshchilov and Hutter 2019. No decay on norms, embeddings and biases."""

    learning_rate: float
    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float

    def __post_init__(self) -> None:
        positive(self, "learning_rate", "epsilon")


@dataclass(frozen=True, kw_only=True)
class Adafactor:
    """Shazeer and Stern 2018, as torch.optim.Adafactor computes it; the paper decays at 0.8."""

    learning_rate: float
    decay_rate: float
    clip_threshold: float
    weight_decay: float

    def __post_init__(self) -> None:
        positive(self, "learning_rate", "decay_rate", "clip_threshold")


@dataclass(frozen=True, kw_only=True)
class Muon:
    """Jordan et al. 2024, torch.optim.Muon on the hidden matrices; AdamW at `adamw` on everything
    else.
    """

    learning_rate: float
    momentum: float
    weight_decay: float
    adamw: AdamW

    def __post_init__(self) -> None:
        positive(self, "learning_rate")


@dataclass(frozen=True, kw_only=True)
class Constant:
    """The full rate after a linear warm-up."""

    warmup_steps: int


@dataclass(frozen=True, kw_only=True)
class Rsqrt:
    """Flat for `flat_steps`, then sqrt(flat_steps / step): with Adafactor's 0.01 and 10,000 the
    paper's schedule.
    """

    flat_steps: int

    def __post_init__(self) -> None:
        positive(self, "flat_steps")


@dataclass(frozen=True, kw_only=True)
class WarmupStableDecay:
    """Linear warm-up, a stable phase, and a linear decay to zero over the last `decay_steps`."""

    warmup_steps: int
    decay_steps: int


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Linear warm-up, then a half cosine down to `final_fraction` at the last step: a schedule with
    a horizon.
    """

    warmup_steps: int
    final_fraction: float


Optimizer = AdamW | Adafactor | Muon
Schedule = Constant | Rsqrt | WarmupStableDecay | Cosine


@dataclass(frozen=True, kw_only=True)
class Training:
    """How weights are moved.

    steps: this run's own optimiser steps. batch_size: rows a step, over all ranks and
    micro-batches.
    clip_norm: largest global gradient norm, or None. reduction: `mean` divides the summed loss by
    the step's loss tokens; `sum` does not (the paper's Adafactor).
    """

    @property
    def SEMANTICS(self) -> int:
        """2 in 16 bits: on a CPU, attention under a mask saw what the mask hides."""
        return 2 if self.precision == "bfloat16_autocast" else 1

    optimizer: Optimizer
    schedule: Schedule
    steps: int
    batch_size: int
    dropout: float
    z_loss: float
    clip_norm: float | None
    precision: Literal["float32", "bfloat16_autocast"]
    reduction: Literal["mean", "sum"]

    def __post_init__(self) -> None:
        positive(self, "steps", "batch_size")
        within(self, "dropout", low=0.0, high=1.0)


def fraction(schedule: Schedule, *, step: int, total: int) -> float:
    """The share of the full learning rate at this step.

    step: updates made before this one, so that the first has 0. total: the step at which the
    schedule ends. Under `schedule_start="continued"` both include the parents' steps.
    """
    if not 0 <= step < total:
        raise ValueError(f"step {step} of a schedule that ends at {total}; legal: 0 to {total - 1}")
    match schedule:
        case Constant():
            return _warmup(schedule.warmup_steps, step=step)
        case Rsqrt():
            # Raffel et al. 2020, section 3.1.2: 1 / sqrt(max(n, k)), as a share of 1 / sqrt(k).
            return math.sqrt(schedule.flat_steps / max(step, schedule.flat_steps))
        case WarmupStableDecay():
            decay = (total - step) / schedule.decay_steps if schedule.decay_steps else 1.0
            return min(_warmup(schedule.warmup_steps, step=step), decay)
        case Cosine():
            if step < schedule.warmup_steps:
                return _warmup(schedule.warmup_steps, step=step)
            span = max(total - 1 - schedule.warmup_steps, 1)
            half = 0.5 * (1.0 + math.cos(math.pi * (step - schedule.warmup_steps) / span))
            return schedule.final_fraction + (1.0 - schedule.final_fraction) * half


def learning_rate(schedule: Schedule, *, base: float, step: int, total: int) -> float:
    """The learning rate of the update at `step`."""
    return base * fraction(schedule, step=step, total=total)


def _warmup(steps: int, *, step: int) -> float:
    """Linear, never zero: the first update already moves."""
    return min(1.0, (step + 1) / steps) if steps else 1.0
