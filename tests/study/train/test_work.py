"""Runs of every trained kind, end to end on a tiny built-in corpus."""

import json
import shutil
from dataclasses import replace

import pytest
import tiny_runs
import torch
from made_work import saved_weights
from tiny_runs import MIXTURE, SPANS, TEXT, adapt, execution, finetune, pretrain

from study.language import cost
from study.language.data.corpus import corpus_path, open_corpus
from study.language.huggingface import opened
from study.language.learner import open_batches, tokens_read_before
from study.language.model.check import MIXERS
from study.language.values.objective import FullLM
from study.language.values.stages import lineage
from study.runs.training import WarmupStableDecay
from study.store.directory import Store
from study.store.events import read_curve
from study.store.publish import sha256
from study.train.work import execute, schedule_before

pytestmark = pytest.mark.usefixtures("threads_restored")


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
    assert saved_weights(store, rest) == saved_weights(store, whole)
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
    assert saved_weights(store, rest) == saved_weights(store, whole)
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
    early, directory = saved_weights(store, run, 4), store.existing(run)
    directory.remove_checkpoint(4)
    events, done = directory.events.read_bytes(), directory.done()
    execute(run, store=store, execution=execution(), keep=frozenset({2}))
    assert directory.steps() == [2, 4, 6]
    assert saved_weights(store, run, 4) == early
    assert directory.events.read_bytes() == events
    assert directory.done() == done


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


def test_ids_do_not_depend_on_execution():
    assert pretrain(2).id == pretrain(2, slug="other").id
