"""An engine, laid-out batches and callbacks that note, for tests of the loop. Not a test module."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_runs
import torch

from study.language.layout import Segment, layout
from study.language.losses import TokenLosses
from study.language.model.build import build
from study.train.checkpoint import Progress
from study.train.engine import TorchEngine
from study.train.loop import Plan, train
from study.train.signals import Stop


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Batches:
    """Rows of unequal loss counts, a pure function of the step."""

    def __init__(self, architecture="causal_decoder"):
        self.architecture = architecture

    def batch(self, step):
        rng = np.random.default_rng(step)
        draw = lambda n: rng.integers(2, 60, n, dtype=np.int32)  # noqa: E731
        rows = [(Segment(inputs=draw(3 * row), targets=draw(20 - 3 * row)),) for row in range(5)]
        return layout(rows, architecture=self.architecture)


class Callbacks:
    def __init__(self):
        self.stop = Stop()
        self.steps, self.validations, self.saves = [], [], []

    def step(self, event):
        self.steps.append(event)

    def validation(self, event):
        self.validations.append(event)

    def save(self, progress):
        self.saves.append(progress.step)


def engine_of(training, *, architecture="causal_decoder", layers=2, compiled=None):
    shape = replace(tiny_runs.MODEL, architecture=architecture, layers=layers, vocab_size=64)
    model = build(shape, dropout=training.dropout, seed=3)
    computed = TokenLosses(model, training=training)
    if compiled:
        computed.compile(compiled)
    return TorchEngine(computed, training=training)


def plan_of(training, **changes):
    values = {
        "training": training,
        "seed": 5,
        "first_step": 0,
        "schedule_before": 0,
        "last": training.steps,
        "validate_at": frozenset(),
        "keep": frozenset(),
        "checkpoint_seconds": 1e9,
        "micro_batch": None,
    }
    return Plan(**values | changes)


def run_loop(training, *, engine=None, callbacks=None, validation=(), progress=None, **plan):
    engine = engine or engine_of(training)
    callbacks = callbacks or Callbacks()
    train(
        engine,
        batches=Batches(),
        validation=validation,
        plan=plan_of(training, **plan),
        progress=progress or Progress(),
        callbacks=callbacks,
    )
    return engine, callbacks


def weights_of(engine):
    return {name: value.detach().clone() for name, value in engine.model.state_dict().items()}
