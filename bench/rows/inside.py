"""What a training step is made of: its matrix products, its batch, its checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from bench.clock import seconds
from bench.row import Bench, Finding
from bench.rows.corpora import decoder, opened, pretraining
from bench.rows.loops import OurLoop
from bench.rows.training import BATCH, TURN
from study.language.learner import RunBatches, open_batches
from study.language.values.model import Model
from study.language.values.objective import FullLM
from study.store.publish import publish_directory
from study.train import checkpoint
from study.train.checkpoint import Progress

LENGTH = 256


def _loop(bench: Bench, *, width: int, layers: int) -> tuple[OurLoop, RunBatches]:
    run = pretraining(decoder(width=width, layers=layers), FullLM(length=LENGTH), batch_size=BATCH)
    fed = open_batches(run, corpus=opened(run.corpus, bench))
    return OurLoop(run, fed.batches, folder=bench.folder, compiled=torch.compile), fed


def _products(model: Model, *, tokens: int) -> Callable[[], None]:
    """Every product of a matrix with all positions in a step: forward, and both gradients."""
    inner = model.heads * model.d_head
    shapes = [(model.d_model, inner)] * 3 + [(inner, model.d_model)]
    shapes += [(model.d_model, model.d_ff)] * 2 + [(model.d_ff, model.d_model)]
    every = shapes * model.layers + [(model.d_model, model.vocab_size)]
    kinds = {
        shape: (
            torch.randn(tokens, shape[0]).bfloat16(),
            torch.randn(shape[1], shape[0]).bfloat16(),
            torch.randn(tokens, shape[1]).bfloat16(),
        )
        for shape in every
    }

    def once() -> None:
        for shape in every:
            states, matrix, grad = kinds[shape]
            torch.mm(states, matrix.T)
            torch.mm(grad, matrix)
            torch.mm(grad.T, states)

    return once


def matmul_share(bench: Bench, *, width: int, layers: int) -> Finding:
    """Training FLOP/s by those of the step's own matrix products alone: the share of the time."""
    loop, _ = _loop(bench, width=width, layers=layers)
    model = decoder(width=width, layers=layers)
    tokens = BATCH * LENGTH
    products = _products(model, tokens=tokens)
    return bench.beside(
        lambda: tokens / loop.turn(TURN),
        lambda: seconds(products, times=TURN),
        unit="s a step",
        by=lambda step, alone: alone / step,
    )


def loading(bench: Bench, *, width: int, layers: int) -> Finding:
    """A batch with its counts and digest, by the step that eats it."""
    loop, fed = _loop(bench, width=width, layers=layers)
    tokens = BATCH * LENGTH
    number = iter(range(10**9))

    def load() -> None:
        batch = fed.batches.batch(next(number))
        _ = batch.digest(), batch.loss_tokens, batch.content_tokens

    return bench.beside(lambda: seconds(load, times=20), lambda: tokens / loop.turn(TURN), unit="s")


def checkpoint_stall(bench: Bench, *, width: int, layers: int) -> Finding:
    """Weights and optimiser state on the disk, with their digests, by a step."""
    loop, _ = _loop(bench, width=width, layers=layers)
    tokens = BATCH * LENGTH
    loop.turn(1)
    number = iter(range(10**9))

    def write(aside: Path) -> None:
        loop.engine.write(aside)
        checkpoint.write_state(aside, run="bench", progress=Progress(step=1))

    def save() -> float:
        return seconds(lambda: publish_directory(bench.folder / f"step-{next(number)}", write))

    return bench.beside(save, lambda: tokens / loop.turn(TURN), unit="s")
