"""Runs of every trained kind, end to end on a tiny built-in corpus, and their bad inputs."""

import json
import shutil
import sys
from dataclasses import replace

import pytest
import tiny_runs
import torch
from tiny_runs import MIXTURE, MODEL, SPANS, TEXT, adapt, execution, finetune, pretrain

from study.language import cost
from study.language.data.corpus import corpus_path, open_corpus
from study.language.huggingface import opened
from study.language.learner import open_batches, tokens_read_before
from study.language.model.check import MIXERS
from study.language.values.corpus import TrainedBPE
from study.language.values.objective import FullLM
from study.language.values.stages import lineage
from study.runs.training import Adafactor, WarmupStableDecay
from study.store import lease
from study.store.directory import Store, StoreError
from study.store.events import read_curve, read_events
from study.store.lease import LeaseHeld, LeaseLost, acquire
from study.store.publish import sha256
from study.train import callbacks, work
from study.train.engine import NonFinite
from study.train.signals import Interrupted
from study.train.work import execute, schedule_before


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("built")
    for corpus in (TEXT, MIXTURE):
        execute(corpus, store=Store(root), execution=execution())
    return root


@pytest.fixture
def store(built, tmp_path):
    shutil.copytree(built, tmp_path / "runs")
    return Store(tmp_path / "runs")


def _weights(store, run, step=None):
    path = store.existing(run).checkpoint(step or run.training.steps)
    return (path / "model.safetensors").read_bytes()


def test_a_tree_from_pretraining_to_finetuning(store):
    reports = []
    parent = pretrain(8)
    adapted = adapt(parent, parent_step=6)
    tuned = finetune(adapted, parent_step=6)
    execute(parent, store=store, execution=execution(), keep=frozenset({6}), report=reports.append)
    for run in (adapted, tuned):
        execute(run, store=store, execution=execution(), report=reports.append)
    assert lineage(tuned) == ("CD:FLM", "ND:MLM", "ND:MTF")
    assert store.existing(parent).steps() == [6, 8]
    for run in (parent, adapted, tuned):
        directory = store.existing(run)
        done = directory.done()
        steps = run.training.steps
        curve = read_curve(directory.events)
        assert [event["step"] for event in curve.steps] == list(range(1, steps + 1))
        assert curve.validations[0]["step"] == 0
        assert curve.validations[-1]["step"] == steps
        assert done["validation_loss"] == curve.validations[-1]["loss"]
        assert done["loss_tokens"] == curve.steps[-1]["loss_tokens"]
        assert done["tokens"] == curve.steps[-1]["tokens_seen"]
        assert done["steps"] == steps
        assert done["clipped_fraction"] == curve.steps[-1]["clipped_fraction"]
        assert done["train_seconds"] == pytest.approx(sum(e["seconds"] for e in curve.steps))
        assert done["tokens_per_second"] == done["tokens"] / done["train_seconds"]
        assert done["wall_seconds"] > done["train_seconds"]
        assert done["weights"] == sha256(directory.checkpoint_path(steps) / "model.safetensors")
        for event in curve.steps:
            rate = done["flops"] / steps / event["seconds"]
            assert event["flops_per_second"] == pytest.approx(rate)
        model = opened.load_model(directory, steps)
        assert done["parameters"] == sum(p.numel() for p in model.parameters())
        assert model.config.architecture == model.config.model.architecture
        assert all(0 < event["mfu"] < 2 for event in curve.steps)
    assert opened.load_model(store.existing(tuned), 6).config.default_visibility == "prefix"
    assert {"stage", "step", "validation"} <= {report["event"] for report in reports}


def test_a_full_language_model_sees_the_tokens_the_ledger_says(store):
    from study.language import cost

    run = pretrain(3)
    execute(run, store=store, execution=execution())
    done = store.existing(run).done()
    assert done["tokens"] == cost.tokens(run) == 3 * 4 * 40
    assert done["loss_tokens"] == 3 * 4 * 40


def test_a_finished_run_is_left_alone(store):
    run = pretrain(3)
    execute(run, store=store, execution=execution())
    before = {path: path.stat().st_mtime_ns for path in store.directory(run).rglob("*")}
    reports = []
    execute(run, store=store, execution=execution(), report=reports.append)
    execute(TEXT, store=store, execution=execution(), report=reports.append)
    assert reports == []
    assert before == {path: path.stat().st_mtime_ns for path in store.directory(run).rglob("*")}


def test_the_adaptations_account_is_kept(store):
    parent = pretrain(3)
    causal_to_pair = adapt(
        parent, parent_step=3, steps=1, architecture="encoder_decoder", optimizer_state="fresh"
    )
    for run in (parent, causal_to_pair):
        execute(run, store=store, execution=execution())
    directory = store.directory(causal_to_pair)
    accounts = json.loads((directory / "adapt.json").read_text())
    assert {account["action"] for account in accounts} == {"copied", "initialised"}
    text = (directory / "adapt.txt").read_text()
    for account in accounts:
        assert account["name"] in text


def test_identity_adaptation_starts_with_the_parents_loss(store):
    """CD:FLM continued as CD:FLM: validation at step 0 is the parent's last."""
    parent = pretrain(4)
    control = adapt(
        parent, parent_step=4, steps=2, architecture="causal_decoder", objective=FullLM(length=40)
    )
    for run in (parent, control):
        execute(run, store=store, execution=execution())
    last = store.existing(parent).done()["validation_loss"]
    first = read_curve(store.existing(control).events).validations[0]
    assert (first["step"], first["loss"]) == (0, last)


def test_a_continued_run_is_the_longer_run_bit_for_bit(store):
    """4 + 3 steps, all inherited and continued, are 7 steps: data, schedule and state."""
    parent, whole = pretrain(4, slug="short", warmup=9), pretrain(7, slug="long", warmup=9)
    rest = adapt(
        parent,
        parent_step=4,
        steps=3,
        architecture="causal_decoder",
        objective=FullLM(length=40),
        training=tiny_runs.training(3, warmup=9),
    )
    for run in (parent, whole, rest):
        execute(run, store=store, execution=execution())
    assert _weights(store, rest) == _weights(store, whole)
    tail = [e["digest"] for e in read_curve(store.existing(whole).events).steps[4:]]
    assert tail == [e["digest"] for e in read_curve(store.existing(rest).events).steps]


@pytest.mark.parametrize("mixer", MIXERS)
def test_every_mixer_trains_goes_on_and_adapts_both_ways(store, mixer):
    """The short run continued is the longer one; causal to prefix and back; finetuned."""

    def its(run):
        model = replace(run.model, mixer=mixer, positions="none", **MIXERS[mixer])
        return replace(run, model=model)

    parent, whole = (its(pretrain(steps, slug=f"{steps}", warmup=9)) for steps in (4, 7))
    rest = adapt(
        parent,
        parent_step=4,
        steps=3,
        architecture="causal_decoder",
        objective=FullLM(length=40),
        training=tiny_runs.training(3, warmup=9),
    )
    there = adapt(parent, parent_step=4, steps=2, slug="there", optimizer_state="fresh")
    back = adapt(
        there,
        parent_step=2,
        steps=2,
        slug="back",
        architecture="causal_decoder",
        objective=FullLM(length=40),
        optimizer_state="fresh",
    )
    tuned = finetune(there, parent_step=2, steps=2)
    for run in (parent, whole, rest, there, back, tuned):
        execute(run, store=store, execution=execution())
    assert _weights(store, rest) == _weights(store, whole)
    curve = read_curve(store.existing(whole).events)
    assert curve.validations[-1]["loss"] < curve.validations[0]["loss"]
    new = "initialised" if mixer == "monarch" else "copied"
    accounts = json.loads((store.directory(there) / "adapt.json").read_text())
    assert {each["action"] for each in accounts} == {"copied", new}
    accounts = json.loads((store.directory(back) / "adapt.json").read_text())
    lost = "dropped" if mixer == "monarch" else "copied"
    assert {each["action"] for each in accounts} == {"copied", lost}


def test_the_stream_goes_on_after_the_parents_last_token():
    parent = pretrain(10, objective=FullLM(length=50))
    child = adapt(parent, parent_step=9, objective=SPANS)
    grandchild = adapt(child, parent_step=2)
    assert tokens_read_before(parent) == 0
    assert tokens_read_before(child) == 9 * 4 * 50
    assert tokens_read_before(grandchild) == 9 * 4 * 50 + 2 * 4 * 36
    other = replace(TEXT, documents=replace(TEXT.documents, held_out=0.5))
    assert tokens_read_before(replace(child, corpus=other)) == 0


def test_schedule_start():
    parent = pretrain(10)
    child = adapt(parent, parent_step=7)
    assert schedule_before(child) == 7
    assert schedule_before(adapt(child, parent_step=3)) == 10
    assert schedule_before(adapt(child, parent_step=3, schedule_start="restarted")) == 0


def test_batches_do_not_depend_on_the_micro_batch(store):
    runs = {}
    for rows in (None, 1, 3):
        root = store.root.with_name(f"rows-{rows}")
        shutil.copytree(store.root, root)
        execute(pretrain(3), store=Store(root), execution=execution(micro_batch=rows))
        runs[rows] = read_curve(Store(root).existing(pretrain(3)).events).steps
    digests = [[event["digest"] for event in events] for events in runs.values()]
    assert digests[0] == digests[1] == digests[2]
    losses = [[event["loss"] for event in events] for events in runs.values()]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_a_checkpoint_asked_for_later_is_computed_again(store):
    """A sweep that grows names an earlier step; the finished run's curve and seal stand."""
    run = pretrain(6)
    execute(run, store=store, execution=execution(), keep=frozenset({4}))
    early, directory = _weights(store, run, 4), store.existing(run)
    directory.remove_checkpoint(4)
    events, done = directory.events.read_bytes(), directory.done()
    execute(run, store=store, execution=execution(), keep=frozenset({2}))
    assert directory.steps() == [2, 4, 6]
    assert _weights(store, run, 4) == early
    assert directory.events.read_bytes() == events
    assert directory.done() == done


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
    assert _weights(store, run) == _weights(fresh, whole)


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


def test_held_out_data_may_be_missing(store):
    corpus = replace(TEXT, slug="all", documents=replace(TEXT.documents, held_out=0.0))
    run = replace(pretrain(2), corpus=corpus)
    for each in (corpus, run):
        execute(each, store=store, execution=execution())
    done = store.existing(run).done()
    assert done["validation_loss"] is None
    assert read_curve(store.existing(run).events).validations == ()


def test_validation_batches_are_the_same_for_every_seed(store):
    corpus = open_corpus(corpus_path(store, TEXT))
    one, two = (open_batches(replace(pretrain(2), seed=seed), corpus=corpus) for seed in (1, 2))
    assert [b.digest() for b in one.validation] == [b.digest() for b in two.validation]
    assert one.batches.batch(0).digest() != two.batches.batch(0).digest()


def test_a_horizon_ends_with_the_whole_lineages_steps(store):
    """A continued warm-up-stable-decay decays over the child's last steps, not the parent's."""
    schedule = WarmupStableDecay(warmup_steps=0, decay_steps=2)
    parent = pretrain(4, schedule=schedule)
    child = adapt(parent, parent_step=2, training=tiny_runs.training(3, schedule=schedule))
    execute(parent, store=store, execution=execution(), keep=frozenset({2}))
    execute(child, store=store, execution=execution())
    rates = [e["learning_rate"] for e in read_curve(store.existing(child).events).steps]
    assert rates == pytest.approx([1e-2, 1e-2, 5e-3])


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


@pytest.mark.parametrize("threads", [1, 2])
def test_a_run_has_as_many_threads_as_its_execution_says(store, threads):
    seen = set()
    execute(
        pretrain(2),
        store=store,
        execution=execution(threads=threads),
        report=lambda _: seen.add(torch.get_num_threads()),
    )
    assert seen == {threads}


def test_three_checkpoints_of_a_run_that_keeps_its_last_have_to_fit(store, monkeypatch):
    """Float32 weights and two moments: the one that stays, the last one, and one being written."""
    run = pretrain(2)
    usage, needed = shutil.disk_usage(store.root), 3 * 12 * cost.parameters(run.model)
    reports = []
    for free in (needed, needed - 1):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage._replace(free=free))
        made = replace(run, slug=f"free-{free}", seed=free)
        execute(made, store=store, execution=execution(), report=reports.append)
    warnings = [report["message"] for report in reports if report["event"] == "warning"]
    assert [f"free-{needed - 1}" in each for each in warnings] == [True]


def test_examples_too_long_for_a_row_are_left_out_and_counted(store):
    parent = pretrain(2)
    tuned = finetune(parent, parent_step=2, steps=2, architecture="causal_decoder")
    for run in (parent, tuned):
        execute(run, store=store, execution=execution())
    corpus = open_corpus(corpus_path(store, MIXTURE))
    for part, counts in store.existing(tuned).done()["examples"].items():
        lengths = getattr(corpus, part).input_lengths
        assert counts["inputs_too_long"] == (lengths > 48).sum()
        assert counts["kept"] == (lengths <= 48).sum()
    assert (corpus.train.input_lengths > 48).any()


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


def test_ids_do_not_depend_on_execution():
    assert pretrain(2).id == pretrain(2, slug="other").id
