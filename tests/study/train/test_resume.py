"""Killed anywhere and started again, a run ends with the weights of an unbroken one, bit for bit.

Children are forked by a server that has imported everything once: a start costs a fork, not seconds
of imports.
"""

import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from dataclasses import replace

import pytest
import tiny_runs

from study.language.data.corpus import corpus_path, open_corpus
from study.language.values.corpus import Corpus
from study.store.directory import RunDirectory, Store
from study.store.events import read_curve, read_events
from study.train.signals import EXIT_CODE
from study.train.work import execute

RUN = tiny_runs.pretrain(15, dropout=0.1)
EXECUTION = tiny_runs.execution(checkpoint_seconds=0.02)


@pytest.fixture(scope="module")
def context():
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload(
        ["study.train.work", "study.language.model.decoder", "study.language.model.encoder_decoder"]
    )
    return forking


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """A store with the corpora and the finished run."""
    root = tmp_path_factory.mktemp("unbroken")
    for run in (tiny_runs.TEXT, tiny_runs.MIXTURE, RUN):
        execute(run, store=Store(root), execution=tiny_runs.execution())
    return Store(root)


@pytest.fixture
def store(unbroken, tmp_path):
    """The corpora alone."""
    fresh = Store(tmp_path / "runs")
    for corpus in (tiny_runs.TEXT, tiny_runs.MIXTURE):
        shutil.copytree(unbroken.directory(corpus), fresh.directory(corpus))
    return fresh


@pytest.fixture
def start(context, store):
    """Start a child; it is not waited for."""
    children = []

    def started(run=RUN, *, execution=EXECUTION, at=(), number=signal.SIGKILL, stale=()):
        # A killed child's lease would be waited for; one test below does, the others need not.
        if not stale:
            for lease in store.root.glob("*/lease.json"):
                lease.unlink()
        process = context.Process(
            target=tiny_runs.child, args=(run, str(store.root), execution, at, number, stale)
        )
        process.start()
        children.append(process)
        return process

    yield started
    for process in children:
        if process.is_alive():
            process.kill()
        process.join()
    for told in store.root.glob("error.txt"):
        print(told.read_text())  # pytest shows it where the test fails


def _end(process, *, within=60):
    process.join(within)
    assert process.exitcode is not None
    return process.exitcode


def _same(unbroken, store, run=RUN):
    """Weights, optimiser, data and the curve's numbers are those of the unbroken run."""
    step = run.training.steps
    ours, theirs = (one.existing(run).checkpoint(step) for one in (store, unbroken))
    for file in ("model.safetensors", "optimizer.safetensors", "config.json"):
        assert (ours / file).read_bytes() == (theirs / file).read_bytes(), file
    curves = [read_curve(one.existing(run).events) for one in (store, unbroken)]
    for name in ("loss", "digest", "grad_norm", "learning_rate", "tokens_seen", "clipped_fraction"):
        one, other = ([event[name] for event in curve.steps] for curve in curves)
        assert one == other, name
    validations = [[(e["step"], e["loss"]) for e in curve.validations] for curve in curves]
    assert validations[0] == validations[1]
    seals = [one.existing(run).done() for one in (store, unbroken)]
    for name in ("tokens", "loss_tokens", "validation_loss", "weights", "data", "clipped_fraction"):
        assert seals[0][name] == seals[1][name], name


@pytest.mark.parametrize(
    "at",
    [
        # inside a save: its own files, their fsyncs, the manifest, the rename, the removal
        ("fsync", 9),
        ("fsync", 14),
        ("fsync", 27),
        ("rename", 1),
        ("rename", 2),
        ("replace", 4),
        ("unlink", 3),
        ("rmdir", 1),
        # inside an event's write
        ("pwrite", 2),
        ("report", "stage", 1),
        ("report", "validation", 2),
        ("report", "validation", 4),
    ],
    ids=str,
)
def test_sigkill_at_a_chosen_call(unbroken, store, start, at):
    assert _end(start(at=at)) == -signal.SIGKILL
    assert _end(start()) == 0
    _same(unbroken, store)


def test_sigkill_again_and_again_at_random(unbroken, store, start):
    rng = random.Random(0)
    kills = 0
    for _ in range(5):
        before = _newest(store)
        process = start()
        while process.is_alive() and _newest(store) == before:
            time.sleep(0.005)
        process.join(0.1 * rng.random())
        kills += process.is_alive()
        process.kill()
        process.join()
    assert kills >= 1
    assert _end(start()) == 0
    _same(unbroken, store)


def _newest(store):
    path = store.directory(RUN)
    return max(RunDirectory(path).steps(), default=0) if path.exists() else 0


@pytest.mark.parametrize(
    ("at", "number"),
    [
        (("report", "step", 1), signal.SIGTERM),
        (("report", "step", 1), signal.SIGUSR1),
        (("report", "step", 1), signal.SIGINT),
        (("report", "validation", 2), signal.SIGUSR1),
        (("fsync", 8), signal.SIGTERM),
        (("report", "stage", 1), signal.SIGTERM),
    ],
    ids=["step-term", "step-usr1", "step-int", "validation", "save", "start"],
)
def test_a_signal_ends_in_a_complete_checkpoint(unbroken, store, start, at, number):
    execution = replace(EXECUTION, checkpoint_seconds=0.02 if at[0] == "fsync" else 1e9)
    assert _end(start(at=at, number=number, execution=execution)) == EXIT_CODE
    directory = store.existing(RUN)
    assert directory.checkpoints() == directory.steps()
    if at[1] == "step":
        assert directory.steps() == [1]
    if at[1] == "validation":
        assert directory.steps() == [5]
    assert _end(start(execution=execution)) == 0
    _same(unbroken, store)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1], ids=["term", "usr1"])
def test_a_signal_while_tokenising(start, store, number):
    corpus = Corpus(
        slug="other",
        documents=replace(tiny_runs.TEXT.documents, held_out=0.2),
        tokenizer=tiny_runs.TEXT,
    )
    at = ("report", "stage", 1)
    assert _end(start(corpus, at=at, number=number)) == EXIT_CODE
    directory = store.existing(corpus)
    assert directory.done() is None
    assert not corpus_path(store, corpus).exists()
    assert not [path for path in directory.path.rglob("*") if "aside" in path.name]
    assert _end(start(corpus)) == 0
    assert open_corpus(corpus_path(store, corpus)).train.num_tokens > 0


def test_sigkill_while_tokenising(start, store):
    corpus = replace(tiny_runs.TEXT, slug="other", tokenizer=tiny_runs.MIXTURE)
    assert _end(start(corpus, at=("report", "stage", 2))) == -signal.SIGKILL
    assert _end(start(corpus)) == 0
    directory = store.existing(corpus)
    assert not [path for path in directory.path.rglob("*") if "aside" in path.name]
    assert directory.done() is not None


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1], ids=["term", "usr1"])
def test_a_signal_to_every_process_while_compiling(start, store, number):
    """A cluster signals compilers too."""
    at = ("compiler", number)
    assert _end(start(at=at, execution=replace(EXECUTION, compile="on"))) == EXIT_CODE
    directory = store.existing(RUN)
    assert directory.checkpoints() == directory.steps()
    assert directory.failure() is None
    assert directory.done() is None


@pytest.mark.slow
def test_a_compiled_run_resumes_bit_for_bit(start, store, tmp_path):
    """Also after a signal to its linker, which can leave libraries without a byte."""
    execution = replace(EXECUTION, compile="on")
    assert _end(start(execution=execution, at=("compiler", signal.SIGUSR1))) == EXIT_CODE
    unfinished = list((tmp_path / "inductor").glob("*/*_CxxBuild"))
    assert unfinished
    for directory in unfinished:
        directory.with_name(directory.name.removesuffix("_CxxBuild") + ".so").write_bytes(b"")
    assert _end(start(execution=execution), within=400) == 0
    (tmp_path / "whole").mkdir()
    whole = Store(tmp_path / "whole")
    store.directory(RUN).rename(whole.directory(RUN))
    assert _end(start(execution=execution, at=("rename", 2)), within=400) == -signal.SIGKILL
    assert store.existing(RUN).steps()
    assert _end(start(execution=execution), within=400) == 0
    _same(whole, store)


BYTES = [3_000, 60_000, 125_400, 130_000, 253_000]
"""Of 125,496 bytes of weights: near the beginning, in the middle, at the end; then of 253,416 bytes
of optimiser state.
"""


@pytest.mark.parametrize("number", BYTES)
def test_killed_at_a_byte_of_a_save(unbroken, store, start, number):
    """The kernel ends the process where a file would grow beyond this byte."""
    assert _end(start(at=("sigxfsz", number))) == -signal.SIGXFSZ
    directory = store.existing(RUN)
    assert directory.steps() == []
    assert [path for path in (directory.path / "checkpoints").iterdir() if "aside" in path.name]
    assert _end(start()) == 0
    _same(unbroken, store)


def test_with_no_step_left_a_start_seals_what_is_there(unbroken, store, start):
    """Killed between the last checkpoint and the seal: the same samples, and none again."""
    shutil.copytree(unbroken.directory(RUN), store.directory(RUN))
    directory = store.existing(RUN)
    (directory.path / "done.json").unlink()
    assert _end(start()) == 0
    _same(unbroken, store)
    assert len([e for e in read_events(directory.events) if e["event"] == "step"]) == 15


def test_other_threads_go_on_with_the_same_samples(unbroken, store, start):
    assert _end(start(at=("report", "validation", 3))) == -signal.SIGKILL
    assert _end(start(execution=replace(EXECUTION, threads=2))) == 0
    ours, theirs = (read_curve(one.existing(RUN).events).steps for one in (store, unbroken))
    assert [event["digest"] for event in ours] == [event["digest"] for event in theirs]
    assert [event["loss"] for event in ours] == pytest.approx([event["loss"] for event in theirs])


@pytest.mark.parametrize("kind", ["adapted", "finetuned"])
def test_a_killed_child_of_a_parent_resumes(unbroken, store, start, kind):
    """Adaptation happens once, at the beginning; a resumed child starts from its own checkpoint."""
    shutil.copytree(unbroken.directory(RUN), store.directory(RUN))
    make = {"adapted": tiny_runs.adapt, "finetuned": tiny_runs.finetune}[kind]
    run = make(RUN, parent_step=15, steps=8)
    execute(run, store=unbroken, execution=tiny_runs.execution())
    # a checkpoint after every step, however fast the machine is
    often = replace(EXECUTION, checkpoint_seconds=1e-9)
    assert _end(start(run, execution=often, at=("rename", 4))) == -signal.SIGKILL
    assert store.existing(run).steps()
    assert _end(start(run)) == 0
    _same(unbroken, store, run)


def test_two_processes_on_one_run(unbroken, store, start):
    first = start()
    second = start(stale=(30,))
    codes = sorted((_end(first), _end(second)))
    assert codes == [0, 1]
    assert "LeaseHeld: " in (store.root / "error.txt").read_text()
    _same(unbroken, store)


def test_another_micro_batch_goes_on_with_the_same_samples(unbroken, store, start):
    assert _end(start(at=("report", "validation", 3))) == -signal.SIGKILL
    assert _end(start(execution=replace(EXECUTION, micro_batch=3))) == 0
    ours, theirs = (read_curve(one.existing(RUN).events).steps for one in (store, unbroken))
    assert [event["digest"] for event in ours] == [event["digest"] for event in theirs]
    seals = [one.existing(RUN).done()["data"] for one in (store, unbroken)]
    assert seals[0] == seals[1]


def test_a_resumed_run_says_so_in_its_events(store, start):
    assert _end(start(at=("report", "validation", 3))) == -signal.SIGKILL
    steps = store.existing(RUN).steps()
    assert _end(start()) == 0
    resumed = [
        e["step"] for e in read_events(store.existing(RUN).events) if e["event"] == "resumed"
    ]
    assert resumed == [steps[-1]]


def test_a_disk_that_fills_up_in_a_save(unbroken, store, start):
    """The kernel refuses the write itself, inside safetensors' code; then there is room again."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    process = start(at=("setrlimit", 60_000))
    assert _end(process) == 1
    error = (store.root / "error.txt").read_text()
    assert "checkpoint of step" in error
    assert "could not be written" in error
    assert store.existing(RUN).done() is None
    assert resource.getrlimit(resource.RLIMIT_FSIZE) == limit
    assert _end(start()) == 0
    _same(unbroken, store)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of half a megabyte, and how to give it more."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=500k", "tmpfs", disk], check=True)
    yield disk, lambda: subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
    subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a file system; others: the limits")
def test_a_real_file_system_without_room(unbroken, small_disk, tmp_path):
    """Room for the corpus's link and one checkpoint, not for the second beside it."""
    disk, grow = small_disk
    store = Store(disk)
    shutil.copytree(unbroken.directory(tiny_runs.TEXT), tmp_path / "text")
    store.directory(tiny_runs.TEXT).symlink_to(tmp_path / "text")
    with pytest.raises(
        OSError, match=r"No space left on device.*; step \d+ is the last checkpoint"
    ):
        execute(RUN, store=store, execution=replace(EXECUTION, checkpoint_seconds=1e-9))
    directory = store.existing(RUN)
    assert directory.checkpoints() == directory.steps() != []
    assert not [path for path in directory.path.rglob("*") if "aside" in path.name]
    grow()
    execute(RUN, store=store, execution=EXECUTION)
    _same(unbroken, store)


def test_a_stale_lease_of_a_killed_process_is_taken_over(store, start):
    """SIGKILL leaves the lease; the next start waits for its heartbeat to be old, not for a pid."""
    assert _end(start(at=("report", "validation", 2))) == -signal.SIGKILL
    lease = store.existing(RUN).path / "lease.json"
    assert lease.exists()
    assert json.loads(lease.read_text())["pid"] != os.getpid()
    assert _end(start(stale=(1,))) == 0
    assert not lease.exists()
