"""A tiny tree of runs for the training tests, and the child process that executes one of them.

Not a test module: the tests of training, work, checkpoints and resume import it by path, and so do
the processes that the last of them starts and kills.
"""

import os
import resource
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path

from study.language.recipes.presets import small_training, world, world_task
from study.language.values.corpus import Corpus, Mixture, Text, TrainedBPE
from study.language.values.model import Model
from study.language.values.objective import FullLM, Packing, Prompted, SpanCorruption
from study.language.values.stages import Adapt, Finetune, Pretrain
from study.runs.execution import Execution
from study.runs.training import Constant
from study.store.directory import Store
from study.train.signals import EXIT_CODE, Interrupted

PROBES = 3
VOCABULARY = 320
TEXT = Corpus(
    slug="text",
    documents=Text(sources=(world("text", documents=300, seed=1),), held_out=0.05),
    tokenizer=TrainedBPE(vocab_size=VOCABULARY, sentinels=16),
)
MIXTURE = Corpus(
    slug="mixture",
    documents=Mixture(tasks=(world_task("where", rows=40, seed=3),), cap=200, held_out=0.1),
    tokenizer=TEXT,
)
MODEL = Model(
    architecture="causal_decoder",
    mixer="attention",
    positions="rope",
    layers=2,
    d_model=32,
    heads=2,
    d_head=16,
    d_ff=64,
    vocab_size=VOCABULARY,
    tied=True,
)
PACKING = Packing(document_masking=False, eos_between=True)
SPANS = SpanCorruption(raw_length=36, noise_density=0.15, mean_span=3.0)


def training(steps, *, learning_rate=1e-2, dropout=0.0, warmup=0, **changes):
    base = small_training(learning_rate, steps=steps, batch_size=4, dropout=dropout)
    return replace(base, **{"schedule": Constant(warmup_steps=warmup)} | changes)


def pretrain(steps=20, *, architecture="causal_decoder", objective=None, slug="pre", **changes):
    return Pretrain(
        slug=slug,
        corpus=TEXT,
        model=replace(MODEL, architecture=architecture),
        objective=objective or FullLM(length=40),
        packing=PACKING,
        training=training(steps, **changes),
        seed=5,
    )


def adapt(parent, *, parent_step, steps=6, **changes):
    values = {
        "slug": "adapted",
        "parent": parent,
        "parent_step": parent_step,
        "corpus": TEXT,
        "architecture": "prefix_decoder",
        "objective": SPANS,
        "packing": PACKING,
        "training": training(steps),
        "optimizer_state": "inherited",
        "schedule_start": "continued",
        "seed": 5,
    }
    return Adapt(**values | changes)


def finetune(parent, *, parent_step, steps=6, **changes):
    values = {
        "slug": "finetuned",
        "parent": parent,
        "parent_step": parent_step,
        "corpus": MIXTURE,
        "architecture": "prefix_decoder",
        "objective": Prompted(inputs=48, targets=12),
        "training": training(steps, dropout=0.1),
        "optimizer_state": "fresh",
        "schedule_start": "restarted",
        "seed": 5,
    }
    return Finetune(**values | changes)


def execution(**changes):
    values = {"checkpoint_seconds": 1e9, "validation_points": 3, "cache": Path("no-cache")}
    return Execution(**values | changes)


def child(run, root, execution, at, number, stale):
    """Execute `run`; send `number` to this very process at `at`: (function of os, how many calls)
    or ("report", event, how many). Instead, ("setrlimit", bytes) makes larger files impossible,
    ("sigxfsz", bytes) ends the process where one would grow larger, and ("compiler", signal)
    signals the process and all that it started as soon as a compiler is among them.
    Exits as the command line would. stale: (seconds after which a silent lease is free,) or ().
    """
    import torch

    from study.train.work import execute

    # the server that children are forked from has its own environment
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(root).parent / "inductor")
    if stale:
        os.environ["STUDY_LEASE_SECONDS"] = str(stale[0])
    torch.set_num_threads(1)
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115  (loud lines are read from the files instead)

    def strike():
        os.kill(os.getpid(), number)
        if number == signal.SIGKILL:
            threading.Event().wait()

    seen = []

    def report(event):
        if at and at[0] == "report" and event["event"] == at[1]:
            seen.append(event)
            if len(seen) == at[2]:
                strike()

    if at and at[0] == "setrlimit":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (at[1], resource.RLIM_INFINITY))
    elif at and at[0] == "sigxfsz":
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (at[1], resource.RLIM_INFINITY))
    elif at and at[0] == "compiler":
        os.setsid()
        threading.Thread(target=_strike_compilers, args=(at[1],), daemon=True).start()
    elif at and at[0] != "report":
        real = getattr(os, at[0])

        def counted(*arguments, **named):
            seen.append(at[0])
            if len(seen) == at[1]:
                strike()
            return real(*arguments, **named)

        setattr(os, at[0], counted)
    try:
        execute(run, store=Store(root), execution=execution, report=report)
    except Interrupted:
        os._exit(EXIT_CODE)
    except BaseException as error:
        Path(root, "error.txt").write_text(f"{type(error).__name__}: {error}")
        os._exit(1)
    os._exit(0)


def _strike_compilers(number):
    """Signal this process's whole session, as a cluster signals a job, while it waits for g++. The
    first compilations only ask what the processor can do, and may fail.
    """
    own, seen = os.getpid(), set()
    while True:
        for path in Path("/proc").glob("[0-9]*"):
            try:
                name = (path / "comm").read_text().strip()
                inside = os.getsid(int(path.name)) == own
            except (OSError, ValueError):
                continue
            if inside and name == "cc1plus":
                seen.add(path.name)
        if len(seen) > PROBES:
            os.killpg(own, number)
            return
        threading.Event().wait(0.01)
