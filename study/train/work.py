"""One run from its value to its sealed directory: corpora and trained models.

Owns the order of a run's life: lease, resume, checks, loop, seal. Every part has a module of its
own; this one puts them together and holds nothing that another kind of engine would do otherwise.
Where several ranks train the run, rank 0 decides what depends on files (what is left, where to go
on) and tells the others; it alone writes, but for the other ranks' parts of a checkpoint.
Scores are `study.language.scores.execute`'s.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from kernels import backend
from study.language import cost
from study.language.data.corpus import OpenCorpus, build_corpus, corpus_path, open_corpus, said
from study.language.learner import open_batches
from study.language.model.adapt import adapt, table
from study.language.model.build import LanguageModel, build
from study.language.model.isolation import check_isolation
from study.language.model.kernel_trial import choose_kernels
from study.language.values.corpus import Corpus
from study.language.values.stages import Adapt, Finetune, Pretrain, Stage, model_of
from study.nn.stack import recompute_layers
from study.runs.execution import Execution, check_runs
from study.runs.node import steps_before
from study.sources.content import Access
from study.store.directory import RunDirectory, Store, log_warning
from study.store.events import EventLog
from study.store.lease import Lease
from study.store.publish import CorruptError, publish_directory, publish_file, sha256
from study.train import checkpoint, signals
from study.train.callbacks import AssistantCallbacks, Records, Report, RunCallbacks, peak_flops
from study.train.checkpoint import Progress
from study.train.compile_cache import remove_unfinished_builds
from study.train.engine import Engine, TorchEngine
from study.train.loop import Plan, train, validation_steps
from study.train.mirror import Mirror
from study.train.ranks import Ranks, single_process
from study.train.signals import Stop


def execute(
    run: Corpus | Stage,
    *,
    store: Store,
    execution: Execution,
    report: Report = lambda _: None,
    keep: frozenset[int] = frozenset(),
    ranks: Ranks | None = None,
) -> None:
    """Do what is left of a run, and seal it; nothing where all is there.

    keep: steps whose checkpoints must be there in the end, beside the last and those of earlier
    calls; rank 0's word. ranks: the processes that train it, all of which call this; one by
    default. Raises Interrupted after a complete checkpoint, LeaseHeld where another process works
    on the run, NonFinite, and ValueError or OSError that name what is wrong.
    """
    if not isinstance(run, (Corpus, Pretrain, Adapt, Finetune)):
        raise ValueError(
            f"{type(run).__name__} {run.slug!r}; legal: Corpus, Pretrain, Adapt, Finetune"
        )
    check_runs([run], execution=execution)
    ranks = ranks or single_process()
    if not ranks.first:
        _assist(run, store=store, execution=execution, ranks=ranks)
        return
    directory = store.open(run)
    _check_steps(run, keep)
    directory.keep(keep)
    if directory.done() is not None and not _missing(run, directory):
        ranks.broadcast(None)
        return

    def warn(message: str) -> None:
        log_warning(message)
        report({"event": "warning", "message": message})

    # The lease comes first: while it is waited for, a signal may still end the process at once.
    with store.claim(run, waiting=warn) as (directory, lease), signals.handling_signals() as stop:
        context = RunContext(
            store=store,
            execution=execution,
            report=report,
            warn=warn,
            stop=stop,
            directory=directory,
            lease=lease,
            ranks=ranks,
            remaining=Remaining(**ranks.broadcast(asdict(_remaining(run, directory)))),
        )
        _work(run, context)


def _assist(run: Corpus | Stage, *, store: Store, execution: Execution, ranks: Ranks) -> None:
    """The same as another rank than 0, which holds no lease and tells nobody."""
    with signals.handling_signals() as stop:
        remaining = ranks.broadcast(None)
        if remaining is None:
            return
        context = RunContext(
            store=store,
            execution=execution,
            report=lambda _: None,
            warn=log_warning,
            stop=stop,
            directory=store.existing(run),
            lease=None,
            ranks=ranks,
            remaining=Remaining(**remaining),
        )
        _work(run, context)


def _work(run: Corpus | Stage, context: RunContext) -> None:
    torch.set_num_threads(context.execution.threads)
    # Where it is not told, DeepSpeed looks for a GPU and complains.
    os.environ.setdefault("DS_ACCELERATOR", torch.device(context.execution.device).type)
    match run:
        case Corpus():
            _build(run, context)
        case _:
            _train(run, context)


@dataclass(frozen=True, kw_only=True)
class Remaining:
    """What rank 0 found in the directory when it had the lease: JSON values.

    finished: sealed, so that only missing checkpoints are computed again. last: the step to stop
    at. keep: steps whose checkpoints stay.
    """

    finished: bool
    last: int
    keep: list[int]


def _remaining(run: Corpus | Stage, directory: RunDirectory) -> Remaining:
    finished = directory.done() is not None
    if isinstance(run, Corpus):
        return Remaining(finished=finished, last=0, keep=[])
    steps = run.training.steps
    # A finished run computes missing checkpoints again and no more: its curve stands.
    last = max(_missing(run, directory), default=steps) if finished else steps
    return Remaining(finished=finished, last=last, keep=sorted({*directory.kept(), steps}))


@dataclass(frozen=True, kw_only=True, eq=False)
class RunContext:
    """What every part of one call works with: the run's directory, how to speak, and for rank 0 the
    lease.
    """

    store: Store
    execution: Execution
    report: Report
    warn: Callable[[str], None]
    stop: Stop
    directory: RunDirectory
    lease: Lease | None
    ranks: Ranks
    remaining: Remaining


def _missing(run: Corpus | Stage, directory: RunDirectory) -> frozenset[int]:
    """Steps whose checkpoints are asked for and not there."""
    if isinstance(run, Corpus):
        return frozenset()
    return frozenset({*directory.kept(), run.training.steps} - set(directory.steps()))


def _check_steps(run: Corpus | Stage, keep: frozenset[int]) -> None:
    last = 0 if isinstance(run, Corpus) else run.training.steps
    for step in sorted(keep):
        if not 0 < step <= last:
            legal = f"1 to {last}" if last else "none, for a corpus"
            raise ValueError(f"{run.slug!r} is asked to keep step {step}; legal: {legal}")


def _build(run: Corpus, context: RunContext) -> None:
    begun = time.monotonic()
    lease = context.lease
    assert lease is not None, "corpora are built by one process"
    if context.remaining.finished:
        return
    tokenizer = None
    if isinstance(run.tokenizer, Corpus):
        _done(context.store, run.tokenizer)
        tokenizer = corpus_path(context.store, run.tokenizer)
    access = Access(
        data_dirs=context.execution.data_dirs,
        cache=context.execution.cache,
        offline=context.execution.offline,
    )
    summary: dict[str, Any] = {}

    def progress(stage: dict[str, Any]) -> None:
        context.stop.check(f"building {run.slug!r}")
        context.report({"event": "stage"} | stage)

    def write(aside: Path) -> None:
        summary.update(
            build_corpus(
                run, aside, access=access, tokenizer_directory=tokenizer, progress=progress
            )
        )
        lease.check()

    publish_directory(context.directory.path / "corpus", write)
    for line in said(summary):
        context.warn(f"{run.slug!r}: {line}")
    seconds = {"wall_seconds": time.monotonic() - begun}
    context.directory.seal({"kind": "Corpus"} | summary | seconds)


def _train(run: Stage, context: RunContext) -> None:
    corpus = _corpus_of(run, context)
    model = build(model_of(run), dropout=run.training.dropout, seed=run.seed)
    start = _resume(run, context, model) or _begin(run, context, model)
    model.to(_device(context))
    context.report({"event": "stage", "stage": "isolation"})
    choose_kernels(
        model_of(run),
        execution=context.execution,
        ranks=context.ranks,
        precision=run.training.precision,
        warn=context.warn,
    )
    isolation = check_isolation(
        model,
        architecture=model_of(run).architecture,
        vocab_size=model_of(run).vocab_size,
        precision=run.training.precision,
    )
    engine = _engine(run, context, model)
    _load_optimizer(run, engine, start)
    fed = open_batches(run, corpus=corpus)
    plan = _plan(run, context)
    if not context.ranks.first:
        train(
            engine,
            batches=fed.batches,
            validation=fed.validation,
            plan=plan,
            progress=start.progress,
            callbacks=AssistantCallbacks(stop=context.stop, engine=engine, ranks=context.ranks),
        )
        return
    assert context.lease is not None, "rank 0 holds it"
    _warn_of_little_room(run, context)
    with _records(run, context) as records:
        if records.resume(start.progress.step):
            context.report({"event": "resumed", "step": start.progress.step})
        if records.log is not None:
            used = backend.backend(torch.device(context.execution.device), torch.float32)
            records.log.write("kernels", step=start.progress.step, backend=used)
        progress = train(
            engine,
            batches=fed.batches,
            validation=fed.validation,
            plan=plan,
            progress=start.progress,
            callbacks=_callbacks(run, context, engine=engine, lease=context.lease, records=records),
        )
    if not context.remaining.finished:
        context.lease.check()
        context.directory.seal(
            _summary(run, context, progress=progress, corpus=corpus)
            | {"isolation": asdict(isolation), "examples": fed.left_out}
        )


def _device(context: RunContext) -> str:
    return context.execution.device if context.execution.zero is None else context.ranks.device


def _engine(run: Stage, context: RunContext, model: LanguageModel) -> Engine:
    if context.execution.activation_checkpointing == "on":
        recompute_layers(model)
    compiled = None
    if context.execution.compile == "on":
        remove_unfinished_builds()
        compiled = torch.compile
    if context.execution.zero is None:
        return TorchEngine(model, training=run.training, device=_device(context), compiled=compiled)
    from study.train.sharded import (
        ShardedEngine,  # imports DeepSpeed, which one process can do without
    )

    return ShardedEngine(
        model,
        training=run.training,
        execution=context.execution,
        ranks=context.ranks,
        compiled=compiled,
    )


def _corpus_of(run: Stage, context: RunContext) -> OpenCorpus:
    """The run's corpus, opened, with its tokenizer checked against model and parent."""
    _done(context.store, run.corpus)
    corpus = open_corpus(corpus_path(context.store, run.corpus))
    size, room = corpus.tokenizer.vocab_size, model_of(run).vocab_size
    if size > room:
        raise ValueError(
            f"{run.slug!r}: its model has room for {room} tokens and its tokenizer has {size}; "
            f"legal: Model.vocab_size of {size} or more"
        )
    if not isinstance(run, Pretrain):
        parents = _done(context.store, run.parent)["tokenizer"]
        if parents != corpus.tokenizer.digest:
            raise ValueError(
                f"{run.slug!r}: the tokenizer of its corpus {run.corpus.slug!r} "
                f"({corpus.tokenizer.digest[:12]}) is not the one that {run.parent.slug!r} was "
                f"trained with ({parents[:12]}); legal: the same (Corpus.tokenizer may name the "
                "parent's corpus)"
            )
    return corpus


def _done(store: Store, run: Corpus | Stage) -> dict[str, Any]:
    done = store.existing(run).done()
    if done is None:
        raise ValueError(f"{type(run).__name__} {run.slug!r} is not done: run it first")
    return done


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where training goes on. optimizer: the checkpoint whose optimiser state is taken over."""

    progress: Progress
    optimizer: Path | None


def _resume(run: Stage, context: RunContext, model: LanguageModel) -> Start | None:
    """Go on from the newest good checkpoint that leaves no missing one behind; None without one.
    Rank 0 chooses.
    """
    step = context.ranks.broadcast(_resume_step(run, context) if context.ranks.first else None)
    if step is None:
        return None
    path = context.directory.checkpoint_path(step)
    checkpoint.load_weights(model, tensors=checkpoint.read_tensors(path / "model.safetensors"))
    return Start(progress=checkpoint.read_state(path, run=run.id), optimizer=path)


def _resume_step(run: Stage, context: RunContext) -> int | None:
    """A corrupt checkpoint is named loudly and removed, so that its step is computed again."""
    while True:
        missing = _missing(run, context.directory)
        usable = [
            step for step in context.directory.steps() if step < min(missing, default=step + 1)
        ]
        if not usable:
            return None
        try:
            context.directory.checkpoint(usable[-1])
        except CorruptError as error:
            context.warn(
                f"checkpoint of step {usable[-1]} is corrupt; the one before is used: {error}"
            )
            context.directory.remove_checkpoint(usable[-1])
            continue
        return usable[-1]


def _begin(run: Stage, context: RunContext, model: LanguageModel) -> Start:
    """The state before the first step: fresh, or the parent's, adapted and accounted for."""
    if isinstance(run, Pretrain):
        return Start(progress=Progress(), optimizer=None)
    parent = context.store.existing(run.parent)
    if context.ranks.first:
        parent.checkpoint(run.parent_step)  # verified once
    context.ranks.barrier()
    path = parent.checkpoint_path(run.parent_step)
    weights, accounts = adapt(
        checkpoint.read_tensors(path / "model.safetensors"),
        source=model_of(run.parent),
        target=model_of(run),
        seed=run.seed,
    )
    checkpoint.load_weights(model, tensors=weights)
    if context.ranks.first:
        text = table(accounts)
        publish_file(context.directory.path / "adapt.txt", text.encode())
        entries = [asdict(account) for account in accounts]
        publish_file(context.directory.path / "adapt.json", json.dumps(entries, indent=1).encode())
        print(text, file=sys.stderr)
    return Start(
        progress=Progress(), optimizer=path if run.optimizer_state == "inherited" else None
    )


def _load_optimizer(run: Stage, engine: Engine, start: Start) -> None:
    if start.optimizer is None:
        return
    try:
        engine.read_optimizer(start.optimizer)
    except ValueError as error:
        if isinstance(run, Pretrain) or start.progress.step:
            raise
        raise ValueError(
            f"{run.slug!r} inherits the optimiser state of {run.parent.slug!r}, whose tensors "
            f"must be equal: {error}; legal here: optimizer_state='fresh'"
        ) from error


def schedule_before(run: Stage) -> int:
    """Updates that the schedule of this run counts before its first."""
    if isinstance(run, Pretrain) or run.schedule_start == "restarted":
        return 0
    return schedule_before(run.parent) + run.parent_step


def _warn_of_little_room(run: Stage, context: RunContext) -> None:
    """Say so before the time is spent. Only a warning: quotas and compression make it a guess."""
    each = 12 * cost.parameters(model_of(run))  # float32 weights and two moments
    needed = each * (2 + len(_missing(run, context.directory)))
    free = shutil.disk_usage(context.directory.path).free
    if free < needed:
        context.warn(
            f"{run.slug!r} needs about {needed / 1e9:.1f} GB for its checkpoints and the disk of "
            f"{context.directory.path} has {free / 1e9:.1f} GB left"
        )


def _plan(run: Stage, context: RunContext) -> Plan:
    steps = run.training.steps
    points = validation_steps(steps, points=context.execution.validation_points)
    return Plan(
        training=run.training,
        seed=run.seed,
        first_step=steps_before(run),
        schedule_before=schedule_before(run),
        last=context.remaining.last,
        validate_at=frozenset() if context.remaining.finished else points,
        keep=frozenset(context.remaining.keep),
        checkpoint_seconds=context.execution.checkpoint_seconds,
        micro_batch=context.execution.micro_batch,
        ranks=context.ranks,
    )


def _records(run: Stage, context: RunContext) -> Records:
    """A finished run's curve stands; it writes neither events nor a mirror of them."""
    return Records(
        log=None
        if context.remaining.finished
        else EventLog(context.directory.events, warn=context.warn),
        mirror=Mirror(
            run,
            mode="off" if context.remaining.finished else context.execution.wandb,
            directory=context.directory.path,
            warn=context.warn,
        ),
    )


def _callbacks(
    run: Stage, context: RunContext, *, engine: Engine, lease: Lease, records: Records
) -> RunCallbacks:
    bfloat16 = run.training.precision == "bfloat16_autocast"
    peak = peak_flops(
        _device(context),
        dtype=torch.bfloat16 if bfloat16 else torch.float32,
        threads=context.execution.threads,
    )
    return RunCallbacks(
        stop=context.stop,
        directory=context.directory,
        lease=lease,
        engine=engine,
        ranks=context.ranks,
        run=run.id,
        keep=frozenset(context.remaining.keep),
        steps=run.training.steps,
        report=context.report,
        records=records,
        flops_per_step=cost.flops(run) / run.training.steps,
        peak_flops=peak * context.ranks.world,
    )


def _summary(
    run: Stage, context: RunContext, *, progress: Progress, corpus: OpenCorpus
) -> dict[str, Any]:
    """What done.json says."""
    steps = run.training.steps
    weights = context.directory.checkpoint_path(steps) / "model.safetensors"
    return {
        "kind": type(run).__name__,
        "steps": steps,
        "parameters": cost.parameters(model_of(run)),
        "flops": cost.flops(run),
        "tokens": progress.tokens,
        "loss_tokens": progress.loss_tokens,
        "clipped_fraction": progress.clipped_steps / steps,
        "validation_loss": progress.validation_loss,
        "train_seconds": progress.train_seconds,
        "wall_seconds": progress.wall_seconds,
        "tokens_per_second": progress.tokens / progress.train_seconds,
        "weights": sha256(weights),
        "data": progress.data_digest,
        "tokenizer": corpus.tokenizer.digest,
        "corpus": corpus.summary["digest"],
    }
