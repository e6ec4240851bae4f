"""The loop and its engine on real models and laid-out batches, without files."""

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny_runs
import torch
from made_loops import Batches, Callbacks, engine_of, plan_of, run_loop, weights_of

from study.language.layout import Segment, layout
from study.language.losses import TokenLosses
from study.language.model.build import build
from study.runs.training import Adafactor, AdamW, Constant, Muon
from study.train import checkpoint
from study.train.checkpoint import Progress
from study.train.engine import TorchEngine, Update
from study.train.loop import _own_parts, train, validation_steps

pytestmark = pytest.mark.usefixtures("one_thread")

GOLDEN = Path(__file__).parents[2] / "golden" / "loss_curve.json"


def _gradients(engine, batch, *, denominator):
    engine.forward_backward(batch, denominator=denominator)
    found = {name: p.grad.clone() for name, p in engine.model.named_parameters()}
    engine.optimizer.zero_grad()
    return found


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("micro_batch", [1, 2])
def test_accumulation_equals_the_single_batch(reduction, micro_batch):
    training = tiny_runs.training(6, reduction=reduction, clip_norm=None)
    whole, one = run_loop(training)
    parts, many = run_loop(training, micro_batch=micro_batch)
    for left, right in zip(one.steps, many.steps, strict=True):
        assert left["loss"] == pytest.approx(right["loss"], rel=1e-5)
        assert left["grad_norm"] == pytest.approx(right["grad_norm"], rel=1e-4)
        assert left["digest"] == right["digest"]
        assert left["tokens_seen"] == right["tokens_seen"]
    for name, value in weights_of(whole).items():
        torch.testing.assert_close(value, weights_of(parts)[name], rtol=1e-3, atol=1e-4)


def test_sum_is_the_mean_times_the_loss_tokens():
    batch = Batches().batch(0)
    means = _gradients(engine_of(tiny_runs.training(1)), batch, denominator=batch.loss_tokens)
    sums = _gradients(engine_of(tiny_runs.training(1)), batch, denominator=1.0)
    for name, value in means.items():
        torch.testing.assert_close(value * batch.loss_tokens, sums[name], rtol=1e-4, atol=1e-4)


def test_reduction_reaches_the_engine():
    norms = {}
    for reduction in ("mean", "sum"):
        training = tiny_runs.training(1, reduction=reduction, clip_norm=None)
        norms[reduction] = run_loop(training)[1].steps[0]["grad_norm"]
    tokens = Batches().batch(0).loss_tokens
    assert norms["sum"] == pytest.approx(norms["mean"] * tokens, rel=1e-5)


def test_the_loss_is_cross_entropy_alone_and_the_gradient_is_not():
    """z-loss moves weights and is logged beside the loss, which stays comparable."""
    bare, heavy = (
        run_loop(tiny_runs.training(1, z_loss=z_loss, clip_norm=None))[1].steps[0]
        for z_loss in (0.0, 0.1)
    )
    assert bare["loss"] == heavy["loss"]
    assert bare["z_loss"] == 0.0
    assert heavy["z_loss"] > 0.0
    assert bare["grad_norm"] != heavy["grad_norm"]


def test_logits_are_computed_at_loss_positions_only(monkeypatch):
    engine = engine_of(tiny_runs.training(1))
    real, rows = engine.model.read_out, []
    monkeypatch.setattr(
        engine.model, "read_out", lambda hidden: rows.append(hidden.shape[0]) or real(hidden)
    )
    batch = Batches().batch(0)
    engine.forward_backward(batch, denominator=1.0)
    assert rows == [batch.loss_tokens]
    assert batch.loss_tokens < batch.tokens.numel()


def test_gradients_are_clipped_after_the_division():
    batch = Batches().batch(0)
    reference = _gradients(engine_of(tiny_runs.training(1)), batch, denominator=batch.loss_tokens)
    norm = math.sqrt(sum(float(g.double().square().sum()) for g in reference.values()))
    seen = {}

    class Recording(TorchEngine):
        def step(self, share):
            real = self.optimizer.step

            def look(share):
                seen.update({n: p.grad.clone() for n, p in self.model.named_parameters()})
                return real(share)

            self.optimizer.step = look
            return super().step(share)

    training = tiny_runs.training(1, clip_norm=norm / 2)
    model = build(replace(tiny_runs.MODEL, vocab_size=64), dropout=0.0, seed=3)
    _, callbacks = run_loop(
        training, engine=Recording(TokenLosses(model, training=training), training=training)
    )
    assert callbacks.steps[0]["grad_norm"] == pytest.approx(norm, rel=1e-5)
    assert callbacks.steps[0]["clipped"] is True
    for name, value in reference.items():
        torch.testing.assert_close(seen[name], value / 2, rtol=1e-4, atol=1e-6)


def test_the_clipped_fraction_counts_clipped_updates():
    still = tiny_runs.training(8, learning_rate=1e-12, clip_norm=None)
    limit = sorted(event["grad_norm"] for event in run_loop(still)[1].steps)[4]
    events = run_loop(tiny_runs.training(8, learning_rate=1e-12, clip_norm=limit))[1].steps
    clipped = [event["clipped"] for event in events]
    assert True in clipped
    assert False in clipped
    assert events[-1]["clipped_fraction"] == sum(clipped) / 8
    assert not any(
        event["clipped"] for event in run_loop(tiny_runs.training(2, clip_norm=None))[1].steps
    )


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_a_resumed_loop_equals_an_unbroken_one(dropout, tmp_path):
    training = tiny_runs.training(8, dropout=dropout)
    whole, _ = run_loop(training)

    class Saving(Callbacks):
        def save(self, progress):
            super().save(progress)
            first.write(tmp_path)
            self.progress = progress

    first = engine_of(training)
    callbacks = Saving()
    run_loop(training, engine=first, callbacks=callbacks, last=5, keep=frozenset({5}))
    second = engine_of(training)
    with torch.no_grad():
        for parameter in second.model.parameters():
            parameter.zero_()
    weights = checkpoint.read_tensors(tmp_path / "model.safetensors")
    checkpoint.load_weights(second.model, tensors=weights)
    second.read_optimizer(tmp_path)
    torch.manual_seed(999)
    run_loop(training, engine=second, progress=callbacks.progress)
    for name, value in weights_of(whole).items():
        assert value.equal(weights_of(second)[name]), name


def test_validation_changes_nothing():
    training = tiny_runs.training(6, dropout=0.2)
    held_out = [Batches().batch(1000), Batches().batch(1001)]
    plain, _ = run_loop(training)
    watched, callbacks = run_loop(training, validation=held_out, validate_at=frozenset(range(7)))
    assert [event["step"] for event in callbacks.validations] == list(range(7))
    for name, value in weights_of(plain).items():
        assert value.equal(weights_of(watched)[name]), name


def test_validation_is_the_mean_over_all_loss_tokens_without_dropout():
    training = tiny_runs.training(1, dropout=0.5)
    held_out = [Batches().batch(7), Batches().batch(8).rows(0, 2)]
    engine, callbacks = run_loop(training, validation=held_out, validate_at=frozenset({0}))
    fresh = engine_of(training).model.eval()
    summed = 0.0
    for batch in held_out:
        with torch.no_grad():
            logits = fresh.logits(fresh.hidden(batch)[batch.loss_mask])
        summed += float(
            torch.nn.functional.cross_entropy(
                logits, batch.labels[batch.loss_mask], reduction="sum"
            )
        )
    tokens = sum(batch.loss_tokens for batch in held_out)
    assert callbacks.validations[0]["loss"] == pytest.approx(summed / tokens, rel=1e-5)
    assert callbacks.validations[0]["loss_tokens"] == tokens
    assert engine.model.training


def test_dropout_depends_on_the_lineages_step():
    def first_loss(**plan):
        return run_loop(tiny_runs.training(1, dropout=0.3), **plan)[1].steps[0]["loss"]

    torch.manual_seed(1)
    once = first_loss()
    torch.manual_seed(2)
    assert first_loss() == once
    assert first_loss(first_step=7) != once
    assert first_loss(seed=6) != once


def test_dropout_differs_from_row_to_row_however_they_are_passed():
    """Two rows that hold the same, each a pass of its own, lose other units."""

    class Twice(Batches):
        def batch(self, step):
            (row,) = [(Segment(inputs=np.arange(0), targets=np.arange(2, 30, dtype=np.int32)),)]
            return layout([row, row], architecture=self.architecture)

    def losses(dropout):
        training, seen = tiny_runs.training(2, dropout=dropout, learning_rate=1e-12), []

        class Recording(TorchEngine):
            def forward_backward(self, batch, *, denominator):
                parts = super().forward_backward(batch, denominator=denominator)
                seen.append(float(parts["loss"]))
                return parts

        model = build(replace(tiny_runs.MODEL, vocab_size=64), dropout=dropout, seed=3)
        train(
            Recording(TokenLosses(model, training=training), training=training),
            batches=Twice(),
            validation=[],
            plan=plan_of(training, micro_batch=1),
            progress=Progress(),
            callbacks=Callbacks(),
        )
        return seen

    assert len(set(losses(0.3))) == 4, "two rows of two steps"
    assert losses(0.0) == pytest.approx([losses(0.0)[0]] * 4, rel=1e-6)


@pytest.mark.parametrize(
    ("world", "rows", "expected"),
    [
        (1, None, [[(0, 5)]]),
        (1, 8, [[(0, 5)]]),
        (1, 2, [[(0, 2), (2, 2), (4, 1)]]),
        (2, None, [[(0, 3)], [(3, 2)]]),
        (2, 1, [[(0, 1), (2, 1), (4, 1)], [(1, 1), (3, 1), (0, 0)]]),
        (2, 2, [[(0, 2), (4, 1)], [(2, 2), (0, 0)]]),
        (2, 8, [[(0, 5)], [(0, 0)]]),
        (3, 2, [[(0, 2)], [(2, 2)], [(4, 1)]]),
    ],
)
def test_each_row_is_one_rank_s_and_ranks_have_equally_many_parts(world, rows, expected):
    """(first row, rows with a loss) of each part, by rank; (0, 0) is one that only keeps step."""
    batch = Batches().batch(0)
    for rank, parts in enumerate(expected):
        ranks: Any = SimpleNamespace(world=world, rank=rank)
        found = list(_own_parts(batch, rows=rows, ranks=ranks))
        for (low, part), (first, size) in zip(found, parts, strict=True):
            assert part.loss_mask.any(1).sum() == size
            assert low == first or not size
            if size:
                assert part.tokens.equal(batch.tokens[first : first + size])


def test_what_a_run_has_seen_adds_up_over_its_sessions():
    """Tokens, digests, clipped updates and seconds go on from the progress that is handed in."""
    before = Progress(
        step=2,
        tokens=1000,
        loss_tokens=500,
        clipped_steps=2,
        data_digest="ab",
        train_seconds=50.0,
        wall_seconds=70.0,
    )
    training = tiny_runs.training(4, learning_rate=1e-12, clip_norm=None)
    callbacks, engine = Callbacks(), engine_of(training)
    plan = plan_of(training, keep=frozenset({2, 4}))
    after = train(
        engine, batches=Batches(), validation=[], plan=plan, progress=before, callbacks=callbacks
    )
    batches = [Batches().batch(step) for step in (2, 3)]
    chain = "ab"
    for batch in batches:
        chain = hashlib.sha256(f"{chain}{batch.digest()}".encode()).hexdigest()
    assert (after.step, after.data_digest) == (4, chain)
    assert after.tokens == 1000 + sum(batch.content_tokens for batch in batches)
    assert after.loss_tokens == 500 + sum(batch.loss_tokens for batch in batches)
    assert [event["clipped_fraction"] for event in callbacks.steps] == [2 / 3, 2 / 4]
    assert [event["tokens_seen"] for event in callbacks.steps][-1] == after.tokens
    assert 50.0 < after.train_seconds < 60.0
    assert 70.0 < after.wall_seconds < 80.0
    assert after.wall_seconds - 70.0 > after.train_seconds - 50.0
    assert callbacks.saves == [4], "what was saved when it began is not saved again"


def test_the_z_term_is_logged_a_loss_token():
    training = tiny_runs.training(1, z_loss=0.1)
    batch, model = Batches().batch(0), engine_of(training).model
    with torch.no_grad():
        log_z = model.logits(model.hidden(batch)[batch.loss_mask]).logsumexp(-1)
    (event,) = run_loop(training)[1].steps
    assert event["z_loss"] == pytest.approx(0.1 * float(log_z.square().mean()), rel=1e-5)


def test_the_schedule_goes_on_where_the_parent_stopped():
    training = tiny_runs.training(3, learning_rate=1.0, schedule=Constant(warmup_steps=10))
    rates = [event["learning_rate"] for event in run_loop(training)[1].steps]
    assert rates == pytest.approx([0.1, 0.2, 0.3])
    rates = [event["learning_rate"] for event in run_loop(training, schedule_before=4)[1].steps]
    assert rates == pytest.approx([0.5, 0.6, 0.7])


def test_bfloat16_autocast_keeps_float32_parameters():
    exact = run_loop(tiny_runs.training(4))[1].steps
    engine, callbacks = run_loop(tiny_runs.training(4, precision="bfloat16_autocast"))
    assert {p.dtype for p in engine.model.parameters()} == {torch.float32}
    losses = [event["loss"] for event in callbacks.steps]
    assert losses != [event["loss"] for event in exact]
    assert losses == pytest.approx([event["loss"] for event in exact], rel=0.02)


ADAMW = AdamW(learning_rate=1e-2, beta1=0.9, beta2=0.98, epsilon=1e-8, weight_decay=0.01)


@pytest.mark.parametrize(
    "optimizer",
    [
        ADAMW,
        Adafactor(learning_rate=0.1, decay_rate=0.8, clip_threshold=1.0, weight_decay=0.0),
        Muon(learning_rate=0.02, momentum=0.95, weight_decay=0.01, adamw=ADAMW),
    ],
    ids=["adamw", "adafactor", "muon"],
)
@pytest.mark.parametrize("architecture", ["causal_decoder", "encoder_decoder"])
def test_every_optimiser_learns_one_batch(optimizer, architecture):
    class Same(Batches):
        def batch(self, step):
            return super().batch(0)

    training = tiny_runs.training(25, optimizer=optimizer)
    callbacks = Callbacks()
    train(
        engine_of(training, architecture=architecture),
        batches=Same(architecture),
        validation=[],
        plan=plan_of(training),
        progress=Progress(),
        callbacks=callbacks,
    )
    assert callbacks.steps[-1]["loss"] < 0.7 * callbacks.steps[0]["loss"]


@pytest.mark.parametrize("architecture", ["causal_decoder", "prefix_decoder", "encoder_decoder"])
def test_golden_loss_curve(architecture):
    """Goes red when a run of the same identity computes something else: then raise SEMANTICS and
    write the file again (`PYTHONPATH=tests/made python tests/study/train/test_loop.py`).
    """
    assert _golden_curve(architecture) == pytest.approx(
        json.loads(GOLDEN.read_text())[architecture], rel=1e-5
    )


def _golden_curve(architecture):
    training = tiny_runs.training(20)
    callbacks = Callbacks()
    train(
        engine_of(training, architecture=architecture),
        batches=Batches(architecture),
        validation=[],
        plan=plan_of(training),
        progress=Progress(),
        callbacks=callbacks,
    )
    return [event["loss"] for event in callbacks.steps]


@pytest.mark.slow
def test_compiled_equals_eager():
    training = tiny_runs.training(1)
    batch = Batches().batch(0)
    plain = _gradients(engine_of(training, layers=1), batch, denominator=1.0)
    engine = engine_of(training, layers=1, compiled=torch.compile)
    compiled = _gradients(engine, batch, denominator=1.0)
    for name, value in plain.items():
        torch.testing.assert_close(value, compiled[name], rtol=1e-3, atol=1e-4)


def test_validation_points_are_even_and_end_at_the_last_step():
    assert validation_steps(20, points=4) == {0, 5, 10, 15, 20}
    assert validation_steps(3, points=10) == {0, 1, 2, 3}
    assert validation_steps(7, points=1) == {0, 7}
    assert validation_steps(11, points=4) == {0, 3, 6, 8, 11}


def test_an_update_reports_what_the_engine_did():
    update = Update(learning_rate=0.1, grad_norm=2.0, clipped=True)

    class Fixed(TorchEngine):
        def step(self, share):
            self.optimizer.zero_grad()
            return update

    training = tiny_runs.training(1)
    model = build(replace(tiny_runs.MODEL, vocab_size=64), dropout=0.0, seed=3)
    event = run_loop(
        training, engine=Fixed(TokenLosses(model, training=training), training=training)
    )[1].steps[0]
    assert (event["learning_rate"], event["grad_norm"], event["clipped"]) == (0.1, 2.0, True)
    assert event["tokens_per_second"] > 0
    assert event["tokens_seen"] == Batches().batch(0).content_tokens


if __name__ == "__main__":
    torch.set_num_threads(1)
    cells = ("causal_decoder", "prefix_decoder", "encoder_decoder")
    GOLDEN.write_text(json.dumps({cell: _golden_curve(cell) for cell in cells}, indent=1) + "\n")
