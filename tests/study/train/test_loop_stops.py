"""What ends the loop or makes it save: numbers that are none, signals, the clock."""

from dataclasses import replace

import pytest
import tiny_runs
import torch
from made_loops import Batches, Callbacks, engine_of, plan_of, run_loop, weights_of

from study.language.losses import TokenLosses
from study.language.model.build import build
from study.train.checkpoint import Progress
from study.train.engine import NonFinite, TorchEngine
from study.train.loop import train
from study.train.signals import Interrupted

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_loss_that_is_no_number_stops_before_the_update_and_the_save():
    training = tiny_runs.training(6)

    class Poisoned(TorchEngine):
        calls = 0

        def forward_backward(self, batch, *, denominator):
            self.calls += 1
            parts = super().forward_backward(batch, denominator=denominator)
            return parts | {"loss": parts["loss"] * float("nan")} if self.calls == 4 else parts

    model = build(replace(tiny_runs.MODEL, vocab_size=64), dropout=0.0, seed=3)
    engine, callbacks = (
        Poisoned(TokenLosses(model, training=training), training=training),
        Callbacks(),
    )
    with pytest.raises(NonFinite) as caught:
        run_loop(training, engine=engine, callbacks=callbacks, keep=frozenset({2, 4, 6}))
    assert f"loss is nan at step 4 (batch {Batches().batch(3).digest()} of seed 5)" in str(
        caught.value
    )
    assert callbacks.saves == [2]
    healthy, _ = run_loop(training, last=3)
    for name, value in weights_of(healthy).items():
        assert value.equal(weights_of(engine)[name]), name


def test_a_gradient_that_is_no_number_stops_before_the_update():
    training = tiny_runs.training(2)
    engine = engine_of(training)
    engine.model.decoder.norm.weight.register_hook(lambda grad: grad * float("inf"))
    before = weights_of(engine)
    with pytest.raises(NonFinite, match=r"gradient's norm is .* at step 1 \(batch [0-9a-f]{16}"):
        run_loop(training, engine=engine)
    for name, value in before.items():
        assert value.equal(weights_of(engine)[name]), name


def test_a_validation_that_is_no_number_stops():
    training = tiny_runs.training(2)
    engine = engine_of(training)
    engine.evaluate = lambda batch: float("inf")
    with pytest.raises(NonFinite, match="validation loss is inf after step 0"):
        run_loop(
            training, engine=engine, validation=[Batches().batch(9)], validate_at=frozenset({0})
        )


def test_a_batch_without_loss_is_refused():
    class Empty:
        def batch(self, step):
            batch = Batches().batch(step)
            return replace(batch, loss_mask=torch.zeros_like(batch.loss_mask))

    training = tiny_runs.training(1)
    with pytest.raises(ValueError, match=r"step 1 \(batch .*has no token with loss"):
        train(
            engine_of(training),
            batches=Empty(),
            validation=[],
            plan=plan_of(training),
            progress=Progress(),
            callbacks=Callbacks(),
        )


def test_a_stop_saves_and_leaves():
    class Stopping(Callbacks):
        def step(self, event):
            super().step(event)
            if event["step"] == 3:
                self.stop.request(15)

    callbacks = Stopping()
    with pytest.raises(Interrupted, match="SIGTERM while training, saved at step 3 of 6"):
        run_loop(tiny_runs.training(6), callbacks=callbacks)
    assert callbacks.saves == [3]


def test_a_stop_at_the_last_step_is_a_finished_run():
    class Stopping(Callbacks):
        def step(self, event):
            super().step(event)
            if event["step"] == 6:
                self.stop.request(15)

    callbacks = Stopping()
    run_loop(tiny_runs.training(6), callbacks=callbacks, keep=frozenset({6}))
    assert callbacks.saves == [6]


def test_a_stop_in_the_last_validation_is_not_a_finished_run():
    callbacks = Callbacks()
    engine = engine_of(tiny_runs.training(2))
    real = engine.evaluate
    engine.evaluate = lambda batch: callbacks.stop.request(10) or real(batch)
    held_out = [Batches().batch(9), Batches().batch(10)]
    with pytest.raises(Interrupted, match="SIGUSR1"):
        run_loop(
            tiny_runs.training(2),
            engine=engine,
            callbacks=callbacks,
            validation=held_out,
            validate_at=frozenset({2}),
            keep=frozenset({2}),
        )
    assert callbacks.saves == [2]
    assert callbacks.validations == []


def test_a_checkpoint_falls_due_by_time(monkeypatch):
    """Three seconds after the last one, where each step takes one."""
    callbacks, clock = Callbacks(), [0.0]
    real = callbacks.step
    callbacks.step = lambda event: clock.__setitem__(0, float(event["step"])) or real(event)
    monkeypatch.setattr("study.train.loop.time.monotonic", lambda: clock[0])
    run_loop(
        tiny_runs.training(8), callbacks=callbacks, checkpoint_seconds=3.0, keep=frozenset({4})
    )
    assert callbacks.saves == [3, 4, 7]
