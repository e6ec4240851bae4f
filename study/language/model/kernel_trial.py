"""Whether the Triton kernels compute a run's mixer here: tried and compared before they are used.

Owns the trial, one layer of the run's own mixer on packed documents, forward and backward, and what
follows from it: `auto` falls back to torch's operations and says so, `triton` is refused. A missing
Triton, a compiler that fails, a head width that the kernels lack and numbers that differ all show
here, before the first step, and not in the middle of the run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from kernels import backend
from study.language.layout import Segment, layout
from study.language.model.build import build
from study.language.values.model import Model
from study.runs.execution import Execution
from study.train.ranks import Ranks

Precision = Literal["float32", "bfloat16_autocast"]
VOCABULARY = 64
ROWS = (((40, 30), (0, 12)), ((3, 5),))
"""(inputs, targets) of the documents in each row: longer than a tile, and mostly padding."""
LARGEST = {"float32": 1e-3, "bfloat16_autocast": 5e-2}
"""Relative error (norm of the difference) of states and of gradients that rounding may make."""


def choose_kernels(
    model: Model,
    *,
    execution: Execution,
    ranks: Ranks,
    precision: Precision,
    warn: Callable[[str], None],
) -> None:
    """Choose the kernels for this process and this model, on all ranks alike. Raises ValueError
    where `triton` was asked for by name and does not compute it.
    """
    backend.use(execution.kernels)
    device = torch.device(ranks.device if execution.zero is not None else execution.device)
    if backend.backend(device, torch.float32) != "triton":
        return
    reason = trial(model, device=device, precision=precision)
    if not ranks.any(reason is not None):
        return
    reason = reason or "another rank's trial of them failed"
    if execution.kernels == "triton":
        raise ValueError(
            f"the Triton kernels do not compute the mixer {model.mixer!r} of this model on "
            f"{device}: {reason}; legal: kernels auto or torch"
        )
    backend.use("torch")
    warn(
        f"the Triton kernels are not used on {device}, torch's operations are instead, which are "
        f"slower and agree to rounding: {reason}"
    )


def trial(model: Model, *, device: torch.device, precision: Precision) -> str | None:
    """Why the kernels cannot be used, or None where they give what torch's operations give."""
    try:
        found = _computed(model, "triton", device=device, precision=precision)
    except Exception as error:  # what a compiler raises is of many kinds
        return f"{type(error).__name__}: {(str(error).strip() or 'no words').splitlines()[0]}"
    wanted = _computed(model, "torch", device=device, precision=precision)
    for name, value in wanted.items():
        error = float((found[name] - value).norm() / value.norm().clamp(min=1e-30))
        if not error <= LARGEST[precision]:
            return (
                f"{name} differ from torch's by {error:.1e} of their size; rounding makes "
                f"{LARGEST[precision]:.0e} at most"
            )
    return None


def _computed(
    model: Model, used: backend.Backend, *, device: torch.device, precision: Precision
) -> dict[str, Tensor]:
    """States and gradients of one layer of the model."""
    small = replace(model, layers=1, vocab_size=VOCABULARY)
    built = build(small, dropout=0.0, seed=0).to(device)  # type: ignore[arg-type]
    draw = np.random.default_rng(0)
    rows = [
        tuple(
            Segment(
                inputs=draw.integers(2, VOCABULARY, inputs, dtype=np.int32),
                targets=draw.integers(2, VOCABULARY, targets, dtype=np.int32),
            )
            for inputs, targets in row
        )
        for row in ROWS
    ]
    batch = layout(rows, architecture=model.architecture)
    autocast = torch.autocast(
        device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16_autocast"
    )
    with backend.using(used):
        with autocast:
            states = built.hidden(batch.to(device)).float()[batch.loss_mask.to(device)]
        states.square().sum().backward()
    gradients = [p.grad.flatten() for p in built.parameters() if p.grad is not None]
    return {"states": states.detach(), "gradients": torch.cat(gradients)}
