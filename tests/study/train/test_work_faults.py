"""What a run refuses, and what goes wrong in one."""

import shutil
import sys
from dataclasses import replace

import pytest
import torch
from made_work import saved_weights
from tiny_runs import MIXTURE, MODEL, TEXT, adapt, execution, finetune, pretrain

from study.language import cost
from study.language.data.corpus import corpus_path
from study.language.values.corpus import TrainedBPE
from study.runs.training import Adafactor
from study.store import lease
from study.store.directory import Store, StoreError
from study.store.events import read_curve, read_events
from study.store.lease import LeaseHeld, LeaseLost, acquire
from study.train import callbacks, work
from study.train.engine import NonFinite
from study.train.signals import Interrupted
from study.train.work import execute

pytestmark = pytest.mark.usefixtures("threads_restored")


def test_a_step_beyond_the_run_is_refused(store):
    with pytest.raises(ValueError, match="asked to keep step 9; legal: 1 to 3"):
        execute(pretrain(3), store=store, execution=execution(), keep=frozenset({9}))


def test_a_corrupt_checkpoint_is_named_and_the_last_good_one_used(store, capsys):
    run, whole = pretrain(6), pretrain(6)
    reports = []

    def stop(report):
        if report["event"] == "validation" and report["step"] == 4:
            raise Interrupted("test")

    with pytest.raises(Interrupted):
        execute(
            run,
            store=store,
            execution=execution(checkpoint_seconds=1e-9),
            report=stop,
            keep=frozenset({1, 2}),
        )
    directory = store.existing(run)
    assert directory.steps() == [1, 2, 3]
    file = directory.checkpoint_path(3) / "optimizer.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    execute(run, store=store, execution=execution(), report=reports.append)
    warning = next(report["message"] for report in reports if report["event"] == "warning")
    assert "checkpoint of step 3 is corrupt" in warning
    assert "optimizer.safetensors" in warning
    assert "WARNING: checkpoint of step 3 is corrupt" in capsys.readouterr().err
    assert {"event": "resumed", "step": 2} in list(read_events(directory.events))
    fresh = Store(store.root.with_name("fresh"))
    shutil.copytree(store.directory(TEXT), fresh.directory(TEXT))
    execute(whole, store=fresh, execution=execution())
    assert saved_weights(store, run) == saved_weights(fresh, whole)


def test_another_processs_run_is_refused(store):
    run = pretrain(3)
    with acquire(store.open(run).path), pytest.raises(LeaseHeld, match="is being worked on by"):
        execute(run, store=store, execution=execution())
    execute(run, store=store, execution=execution())
    assert store.existing(run).done() is not None


def test_who_is_overtaken_publishes_no_corpus_and_seals_nothing(store, monkeypatch):
    """Another process took the lease while a corpus was tokenised; after the last save."""
    real, overtaken = lease.Lease.check, []

    def check(held):
        if overtaken:
            held._lost.set()
        real(held)

    monkeypatch.setattr(lease.Lease, "check", check)
    corpus = replace(TEXT, slug="again", documents=replace(TEXT.documents, held_out=0.2))
    with pytest.raises(LeaseLost):
        execute(corpus, store=store, execution=execution(), report=overtaken.append)
    assert store.existing(corpus).done() is None
    assert not corpus_path(store, corpus).exists()

    overtaken.clear()
    save = callbacks.RunCallbacks.save
    monkeypatch.setattr(
        callbacks.RunCallbacks, "save", lambda self, p: save(self, p) or overtaken.append(p.step)
    )
    with pytest.raises(LeaseLost):
        execute(pretrain(2), store=store, execution=execution())
    assert overtaken == [2]
    assert store.existing(pretrain(2)).steps() == [2]
    assert store.existing(pretrain(2)).done() is None
    overtaken.clear()
    monkeypatch.setattr(callbacks.RunCallbacks, "save", save)
    execute(pretrain(2), store=store, execution=execution())
    assert store.existing(pretrain(2)).done() is not None


def test_a_directory_of_another_run_is_refused(store):
    run = pretrain(3)
    directory = store.open(run).path
    other = store.open(pretrain(4)).path
    shutil.copy(other / "run.yaml", directory / "run.yaml")
    with pytest.raises(StoreError, match="belongs to another run"):
        execute(run, store=store, execution=execution())


def test_another_tokenizer_than_the_parents_is_refused(store):
    foreign = replace(MIXTURE, slug="foreign", tokenizer=TrainedBPE(vocab_size=300, sentinels=16))
    parent = pretrain(2)
    child = finetune(parent, parent_step=2, architecture="causal_decoder", corpus=foreign)
    for run in (foreign, parent):
        execute(run, store=store, execution=execution())
    with pytest.raises(ValueError, match=r"tokenizer of its corpus 'foreign' .* 'pre' was trained"):
        execute(child, store=store, execution=execution())


def test_a_vocabulary_beyond_the_model_is_refused(store):
    small = replace(pretrain(2), model=replace(MODEL, vocab_size=200))
    with pytest.raises(ValueError, match="room for 200 tokens and its tokenizer has 320"):
        execute(small, store=store, execution=execution())


def test_a_text_run_on_a_mixture_is_refused(store):
    run = replace(pretrain(2), corpus=MIXTURE)
    with pytest.raises(ValueError, match="'mixture' holds a mixture; legal: Prompted"):
        execute(run, store=store, execution=execution())


def test_an_unfinished_parent_is_refused(store):
    child = adapt(pretrain(3), parent_step=2)
    with pytest.raises(StoreError, match="'pre' has no directory"):
        execute(child, store=store, execution=execution())
    store.open(pretrain(3))
    with pytest.raises(ValueError, match="Pretrain 'pre' is not done"):
        execute(child, store=store, execution=execution())


def test_inherited_state_across_architectures_is_refused(store):
    parent = pretrain(2)
    child = adapt(parent, parent_step=2, architecture="encoder_decoder")
    execute(parent, store=store, execution=execution())
    with pytest.raises(ValueError, match=r"tensors must be equal: .*optimizer_state='fresh'"):
        execute(child, store=store, execution=execution())


def test_a_leaking_model_does_not_train(store, monkeypatch):
    from kernels.visibility import full
    from study.language.model.decoder import Decoder
    from study.language.model.isolation import IsolationError

    real = Decoder.hidden

    def leaking(self, batch):
        rows, length = batch.tokens.shape
        wide = full(rows=rows, queries=length, num_keys=length)
        return real(self, replace(batch, visibility=wide))

    monkeypatch.setattr(Decoder, "hidden", leaking)
    with pytest.raises(IsolationError, match="leak"):
        execute(pretrain(2), store=store, execution=execution())
    assert store.existing(pretrain(2)).steps() == []


def test_a_loss_that_is_no_number_loses_nothing(store, monkeypatch):
    run = pretrain(6)
    real, calls = work.TorchEngine.forward_backward, []

    def poisoned(self, batch, *, denominator):
        calls.append(1)
        parts = real(self, batch, denominator=denominator)
        return parts | {"loss": parts["loss"] * float("inf")} if len(calls) == 4 else parts

    with monkeypatch.context() as patch:
        patch.setattr(work.TorchEngine, "forward_backward", poisoned)
        with pytest.raises(
            NonFinite, match=r"loss is inf at step 4 \(batch [0-9a-f]{16} of seed 5\)"
        ):
            execute(run, store=store, execution=execution(), keep=frozenset({2}))
    directory = store.existing(run)
    assert directory.steps() == [2]
    assert directory.done() is None
    assert [event["step"] for event in read_curve(directory.events).steps] == [1, 2, 3]
    execute(run, store=store, execution=execution())
    assert directory.done() is not None


def test_weights_that_are_no_numbers_are_not_saved(store, monkeypatch):
    """The last update overflows, and no validation follows that would show it."""
    corpus = replace(TEXT, slug="all", documents=replace(TEXT.documents, held_out=0.0))
    run = replace(pretrain(3), corpus=corpus)
    execute(corpus, store=store, execution=execution())
    real, calls = work.TorchEngine.step, []

    def overflows(self, share):
        calls.append(1)
        update = real(self, share)
        if len(calls) == 3:
            with torch.no_grad():
                self.model.decoder.norm.weight[0] = float("inf")
        return update

    with monkeypatch.context() as patch:
        patch.setattr(work.TorchEngine, "step", overflows)
        with pytest.raises(NonFinite, match=r"weights 'decoder\.norm\.weight'"):
            execute(run, store=store, execution=execution(), keep=frozenset({2}))
    directory = store.existing(run)
    assert directory.steps() == [2]
    assert directory.done() is None
    execute(run, store=store, execution=execution())
    assert directory.done() is not None


def test_wandb_offline_writes_locally_and_holds_no_secret(store, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "f" * 40)
    monkeypatch.setenv("OTHER_SECRET_TOKEN", "hunter2hunter2")
    run = pretrain(5)  # an id that no other test leaves with wandb's service
    execute(run, store=store, execution=execution(wandb="offline"))
    directory = store.existing(run).path
    told = (directory / "events.jsonl").read_text()
    assert list((directory / "wandb").rglob("*.wandb")), told
    for path in directory.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"f" * 40 not in content, path
            assert b"hunter2hunter2" not in content, path


@pytest.mark.parametrize("call", ["init", "log"])
def test_a_failing_wandb_does_not_stop_training(store, monkeypatch, call):
    import types

    def fail(*_, **__):
        raise ConnectionError("no route to host")

    session = types.SimpleNamespace(log=fail, finish=fail)
    fake = types.SimpleNamespace(
        init=fail if call == "init" else lambda **_: session,
        Settings=lambda **_: None,
    )
    monkeypatch.setitem(sys.modules, "wandb", fake)
    reports = []
    run = pretrain(2)
    execute(run, store=store, execution=execution(wandb="online"), report=reports.append)
    assert store.existing(run).done() is not None
    warnings = [report["message"] for report in reports if report["event"] == "warning"]
    assert warnings == ["wandb stopped mirroring (ConnectionError: no route to host)"]


def test_little_room_on_the_disk_is_said_beforehand(store, monkeypatch):
    usage = shutil.disk_usage(store.root)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    reports = []
    execute(pretrain(2), store=store, execution=execution(), report=reports.append)
    warnings = [report["message"] for report in reports if report["event"] == "warning"]
    assert len(warnings) == 1
    assert "needs about 0.0 GB for its checkpoints" in warnings[0]


def test_three_checkpoints_of_a_run_that_keeps_its_last_have_to_fit(store, monkeypatch):
    """Float32 weights and two moments: the one that stays, the last one, and one being written."""
    run = pretrain(2)
    usage, needed = shutil.disk_usage(store.root), 3 * 12 * cost.parameter_count(run.model)
    reports = []
    for free in (needed, needed - 1):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage._replace(free=free))
        made = replace(run, slug=f"free-{free}", seed=free)
        execute(made, store=store, execution=execution(), report=reports.append)
    warnings = [report["message"] for report in reports if report["event"] == "warning"]
    assert [f"free-{needed - 1}" in each for each in warnings] == [True]


def test_an_evaluation_is_not_trained(store):
    from study.language.values.stages import External
    from study.runs.source import Source

    source = Source(uri="hf://a/b", digest="commit:1", text_field="", where=(), part=None)
    external = External(slug="x", source=source, architecture="causal_decoder")
    with pytest.raises(ValueError, match="External 'x'; legal: Corpus, Pretrain, Adapt, Finetune"):
        execute(external, store=store, execution=execution())  # type: ignore[arg-type]


def test_an_execution_that_the_run_cannot_have_is_refused_before_anything_is_there(store):
    slices = Adafactor(learning_rate=0.1, decay_rate=0.8, clip_threshold=1.0, weight_decay=0.0)
    run = pretrain(2, optimizer=slices)
    with pytest.raises(ValueError, match="'pre' trains with Adafactor, and zero is 1"):
        execute(run, store=store, execution=execution(zero=1))
    assert not store.directory(run).exists()
