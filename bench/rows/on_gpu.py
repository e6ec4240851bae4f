"""Training at the paper's shapes on a GPU: the share of the card's peak. Not run anywhere yet."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from bench.cards import card_of
from bench.clock import seconds
from bench.row import Bench, Finding
from bench.rows.corpora import recipe
from bench.same import Differs
from study.language import cost
from study.language.layout import Segment, layout
from study.language.losses import TokenLosses
from study.language.model.build import build
from study.language.recipes import presets
from study.language.values.model import Architecture, Model
from study.language.values.objective import FullLM
from study.train.engine import TorchEngine

LENGTH, ROWS, LAYERS = 626, 16, 4
"""The paper's decoder rows; as many layers of its 24 as one card's optimiser state allows."""


def shape(architecture: Architecture) -> Model:
    """The paper's, with fewer layers."""
    return replace(presets.paper_decoder(architecture, positions="rope"), layers=LAYERS)


def utilisation(
    bench: Bench, *, architecture: Architecture, device: str = "cuda", model: Model | None = None
) -> Finding:
    """Model FLOPs utilisation: the FLOPs of the plan, by the seconds of a step, by the peak."""
    name, card = card_of(torch.device(device))
    if card is None:
        raise Differs(f"the peak of {name!r} is not known (bench/cards.py)")
    model = model or shape(architecture)
    training = recipe(steps=1, batch_size=ROWS)
    computed = TokenLosses(build(model, dropout=0.0, seed=0), training=training)
    computed.compile(torch.compile)
    engine = TorchEngine(computed, training=training, device=device)
    tokens = np.random.default_rng(0).integers(2, model.vocab_size, (ROWS, LENGTH)).astype(np.int32)
    segments = [(Segment(inputs=each[:0], targets=each),) for each in tokens]
    batch = layout(segments, architecture=architecture)
    one = cost.forward_flops(model, cost.row_shape(model, FullLM(length=LENGTH)))
    flops = 3.0 * ROWS * float(one)

    def step() -> None:
        engine.forward_backward(batch, denominator=float(ROWS * LENGTH))
        engine.step(1.0)
        if device == "cuda":
            torch.cuda.synchronize()

    return bench.alone(lambda: flops / seconds(step) / card.half, unit="x")
