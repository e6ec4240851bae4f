"""The learning rate as a pure function of the step. No torch.

`step` counts the updates made before this one, so the first update has step 0; `total` is the step
at which the schedule ends. Under `schedule_start="continued"` both include the parents' steps.
"""

from __future__ import annotations

import math

from study.runs.training import Constant, Cosine, Rsqrt, Schedule, WarmupStableDecay


def fraction(schedule: Schedule, *, step: int, total: int) -> float:
    """The share of the full learning rate at this step."""
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
