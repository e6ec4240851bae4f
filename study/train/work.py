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
from study.language.data.corpus import OpenCorpus, build_corpus, open_corpus, said
from study.language.learner import feed
from study.language.model.adapt import adapt, table
from study.language.model.build import LanguageModel, build
from study.language.model.isolation import check_isolation
from study.language.model.kernel_trial import settle
from study.nn.stack import recompute_layers
from study.runs.execution import Execution, check_runs
from study.runs.run import (
    Adapt,
    Corpus,
    Finetune,
    Pretrain,
    Trained,
    model_of,
    run_id,
    steps_before,
)
from study.sources.content import Access
from study.store.directory import RunDirectory, Store, corpus_path, loud
from study.store.events import EventLog
from study.store.lease import Lease
from study.store.publish import CorruptError, publish_directory, publish_file, sha256
from study.train import checkpoint, signals
from study.train.checkpoint import Progress
from study.train.compile_cache import remove_unfinished_builds
from study.train.engine import Engine, TorchEngine
from study.train.loop import Plan, train, validation_steps
from study.train.mirror import Mirror
from study.train.ranks import Ranks, alone
from study.train.signals import Stop
from study.train.watch import Assistance, Records, Report, Watch, peak_flops


def execute(
    run: Corpus | Trained,
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
    ranks = ranks or alone()
    if not ranks.first:
        _assist(run, store=store, execution=execution, ranks=ranks)
        return
    directory = store.open(run)
    _check_steps(run, keep)
    directory.keep(keep)
    if directory.done() is not None and not _missing(run, directory):
        ranks.say(None)
        return

    def warn(message: str) -> None:
        loud(message)
        report({"event": "warning", "message": message})

    # The lease comes first: while it is waited for, a signal may still end the process at once.
    with store.claim(run, waiting=warn) as (directory, lease), signals.listening() as stop:
        desk = Desk(
            store=store,
            execution=execution,
            report=report,
            warn=warn,
            stop=stop,
            directory=directory,
            lease=lease,
            ranks=ranks,
            todo=Todo(**ranks.say(asdict(_todo(run, directory)))),
        )
        _work(run, desk)


def _assist(run: Corpus | Trained, *, store: Store, execution: Execution, ranks: Ranks) -> None:
    """The same as another rank than 0, which holds no lease and tells nobody."""
    with signals.listening() as stop:
        todo = ranks.say(None)
        if todo is None:
            return
        desk = Desk(
            store=store,
            execution=execution,
            report=lambda _: None,
            warn=loud,
            stop=stop,
            directory=store.existing(run),
            lease=None,
            ranks=ranks,
            todo=Todo(**todo),
        )
        _work(run, desk)


def _work(run: Corpus | Trained, desk: Desk) -> None:
    torch.set_num_threads(desk.execution.threads)
    # Where it is not told, DeepSpeed looks for a GPU and complains.
    os.environ.setdefault("DS_ACCELERATOR", torch.device(desk.execution.device).type)
    match run:
        case Corpus():
            _build(run, desk)
        case _:
            _train(run, desk)


@dataclass(frozen=True, kw_only=True)
class Todo:
    """What rank 0 found in the directory when it had the lease: JSON values.

    finished: sealed, so that only missing checkpoints are computed again. last: the step to stop
    at. keep: steps whose checkpoints stay.
    """

    finished: bool
    last: int
    keep: list[int]


def _todo(run: Corpus | Trained, directory: RunDirectory) -> Todo:
    finished = directory.done() is not None
    if isinstance(run, Corpus):
        return Todo(finished=finished, last=0, keep=[])
    steps = run.training.steps
    # A finished run computes missing checkpoints again and no more: its curve stands.
    last = max(_missing(run, directory), default=steps) if finished else steps
    return Todo(finished=finished, last=last, keep=sorted({*directory.kept(), steps}))


@dataclass(frozen=True, kw_only=True, eq=False)
class Desk:
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
    todo: Todo


def _missing(run: Corpus | Trained, directory: RunDirectory) -> frozenset[int]:
    """Steps whose checkpoints are asked for and not there."""
    if isinstance(run, Corpus):
        return frozenset()
    return frozenset({*directory.kept(), run.training.steps} - set(directory.steps()))


def _check_steps(run: Corpus | Trained, keep: frozenset[int]) -> None:
    last = 0 if isinstance(run, Corpus) else run.training.steps
    for step in sorted(keep):
        if not 0 < step <= last:
            legal = f"1 to {last}" if last else "none, for a corpus"
            raise ValueError(f"{run.slug!r} is asked to keep step {step}; legal: {legal}")


def _build(run: Corpus, desk: Desk) -> None:
    begun = time.monotonic()
    lease = desk.lease
    assert lease is not None, "corpora are built by one process"
    if desk.todo.finished:
        return
    tokenizer = None
    if isinstance(run.tokenizer, Corpus):
        _done(desk.store, run.tokenizer)
        tokenizer = corpus_path(desk.store, run.tokenizer)
    access = Access(
        data_dirs=desk.execution.data_dirs,
        cache=desk.execution.cache,
        offline=desk.execution.offline,
    )
    summary: dict[str, Any] = {}

    def progress(stage: dict[str, Any]) -> None:
        desk.stop.check(f"building {run.slug!r}")
        desk.report({"event": "stage"} | stage)

    def write(aside: Path) -> None:
        summary.update(
            build_corpus(
                run, aside, access=access, tokenizer_directory=tokenizer, progress=progress
            )
        )
        lease.check()

    publish_directory(desk.directory.path / "corpus", write)
    for line in said(summary):
        desk.warn(f"{run.slug!r}: {line}")
    seconds = {"wall_seconds": time.monotonic() - begun}
    desk.directory.seal({"kind": "Corpus"} | summary | seconds)


def _train(run: Trained, desk: Desk) -> None:
    corpus = _corpus_of(run, desk)
    model = build(model_of(run), dropout=run.training.dropout, seed=run.seed)
    start = _resume(run, desk, model) or _begin(run, desk, model)
    model.to(_device(desk))
    desk.report({"event": "stage", "stage": "isolation"})
    settle(
        model_of(run),
        execution=desk.execution,
        ranks=desk.ranks,
        precision=run.training.precision,
        warn=desk.warn,
    )
    isolation = check_isolation(
        model,
        architecture=model_of(run).architecture,
        vocab_size=model_of(run).vocab_size,
        precision=run.training.precision,
    )
    engine = _engine(run, desk, model)
    _load_optimizer(run, engine, start)
    fed = feed(run, corpus=corpus)
    plan = _plan(run, desk)
    if not desk.ranks.first:
        train(
            engine,
            batches=fed.batches,
            validation=fed.validation,
            plan=plan,
            progress=start.progress,
            watch=Assistance(stop=desk.stop, engine=engine, ranks=desk.ranks),
        )
        return
    assert desk.lease is not None, "rank 0 holds it"
    _warn_of_little_room(run, desk)
    with _records(run, desk) as records:
        if records.resume(start.progress.step):
            desk.report({"event": "resumed", "step": start.progress.step})
        if records.log is not None:
            used = backend.backend(torch.device(desk.execution.device), torch.float32)
            records.log.write("kernels", step=start.progress.step, backend=used)
        progress = train(
            engine,
            batches=fed.batches,
            validation=fed.validation,
            plan=plan,
            progress=start.progress,
            watch=_watch(run, desk, engine=engine, lease=desk.lease, records=records),
        )
    if not desk.todo.finished:
        desk.lease.check()
        desk.directory.seal(
            _summary(run, desk, progress=progress, corpus=corpus)
            | {"isolation": asdict(isolation), "examples": fed.left_out}
        )


def _device(desk: Desk) -> str:
    return desk.execution.device if desk.execution.zero is None else desk.ranks.device


def _engine(run: Trained, desk: Desk, model: LanguageModel) -> Engine:
    if desk.execution.activation_checkpointing == "on":
        recompute_layers(model)
    compiled = None
    if desk.execution.compile == "on":
        remove_unfinished_builds()
        compiled = torch.compile
    if desk.execution.zero is None:
        return TorchEngine(model, training=run.training, device=_device(desk), compiled=compiled)
    from study.train.sharded import (
        ShardedEngine,  # imports DeepSpeed, which one process can do without
    )

    return ShardedEngine(
        model,
        training=run.training,
        execution=desk.execution,
        ranks=desk.ranks,
        compiled=compiled,
    )


def _corpus_of(run: Trained, desk: Desk) -> OpenCorpus:
    """The run's corpus, opened, with its tokenizer checked against model and parent."""
    _done(desk.store, run.corpus)
    corpus = open_corpus(corpus_path(desk.store, run.corpus))
    size, room = corpus.tokenizer.vocab_size, model_of(run).vocab_size
    if size > room:
        raise ValueError(
            f"{run.slug!r}: its model has room for {room} tokens and its tokenizer has {size}; "
            f"legal: Model.vocab_size of {size} or more"
        )
    if not isinstance(run, Pretrain):
        parents = _done(desk.store, run.parent)["tokenizer"]
        if parents != corpus.tokenizer.digest:
            raise ValueError(
                f"{run.slug!r}: the tokenizer of its corpus {run.corpus.slug!r} "
                f"({corpus.tokenizer.digest[:12]}) is not the one that {run.parent.slug!r} was "
                f"trained with ({parents[:12]}); legal: the same (Corpus.tokenizer may name the "
                "parent's corpus)"
            )
    return corpus


def _done(store: Store, run: Corpus | Trained) -> dict[str, Any]:
    done = store.existing(run).done()
    if done is None:
        raise ValueError(f"{type(run).__name__} {run.slug!r} is not done: run it first")
    return done


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where training goes on. optimizer: the checkpoint whose optimiser state is taken over."""

    progress: Progress
    optimizer: Path | None


def _resume(run: Trained, desk: Desk, model: LanguageModel) -> Start | None:
    """Go on from the newest good checkpoint that leaves no missing one behind; None without one.
    Rank 0 chooses.
    """
    step = desk.ranks.say(_resume_step(run, desk) if desk.ranks.first else None)
    if step is None:
        return None
    path = desk.directory.checkpoint_path(step)
    checkpoint.load_weights(model, tensors=checkpoint.read_tensors(path / "model.safetensors"))
    return Start(progress=checkpoint.read_state(path, run=run_id(run)), optimizer=path)


def _resume_step(run: Trained, desk: Desk) -> int | None:
    """A corrupt checkpoint is named loudly and removed, so that its step is computed again."""
    while True:
        missing = _missing(run, desk.directory)
        usable = [step for step in desk.directory.steps() if step < min(missing, default=step + 1)]
        if not usable:
            return None
        try:
            desk.directory.checkpoint(usable[-1])
        except CorruptError as error:
            desk.warn(
                f"checkpoint of step {usable[-1]} is corrupt; the one before is used: {error}"
            )
            desk.directory.remove_checkpoint(usable[-1])
            continue
        return usable[-1]


def _begin(run: Trained, desk: Desk, model: LanguageModel) -> Start:
    """The state before the first step: fresh, or the parent's, adapted and accounted for."""
    if isinstance(run, Pretrain):
        return Start(progress=Progress(), optimizer=None)
    parent = desk.store.existing(run.parent)
    if desk.ranks.first:
        parent.checkpoint(run.parent_step)  # verified once
    desk.ranks.barrier()
    path = parent.checkpoint_path(run.parent_step)
    weights, accounts = adapt(
        checkpoint.read_tensors(path / "model.safetensors"),
        source=model_of(run.parent),
        target=model_of(run),
        seed=run.seed,
    )
    checkpoint.load_weights(model, tensors=weights)
    if desk.ranks.first:
        text = table(accounts)
        publish_file(desk.directory.path / "adapt.txt", text.encode())
        entries = [asdict(account) for account in accounts]
        publish_file(desk.directory.path / "adapt.json", json.dumps(entries, indent=1).encode())
        print(text, file=sys.stderr)
    return Start(
        progress=Progress(), optimizer=path if run.optimizer_state == "inherited" else None
    )


def _load_optimizer(run: Trained, engine: Engine, start: Start) -> None:
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


def schedule_before(run: Trained) -> int:
    """Updates that the schedule of this run counts before its first."""
    if isinstance(run, Pretrain) or run.schedule_start == "restarted":
        return 0
    return schedule_before(run.parent) + run.parent_step


def _warn_of_little_room(run: Trained, desk: Desk) -> None:
    """Say so before the time is spent. Only a warning: quotas and compression make it a guess."""
    each = 12 * cost.parameters(model_of(run))  # float32 weights and two moments
    needed = each * (2 + len(_missing(run, desk.directory)))
    free = shutil.disk_usage(desk.directory.path).free
    if free < needed:
        desk.warn(
            f"{run.slug!r} needs about {needed / 1e9:.1f} GB for its checkpoints and the disk of "
            f"{desk.directory.path} has {free / 1e9:.1f} GB left"
        )


def _plan(run: Trained, desk: Desk) -> Plan:
    steps = run.training.steps
    points = validation_steps(steps, points=desk.execution.validation_points)
    return Plan(
        training=run.training,
        seed=run.seed,
        first_step=steps_before(run),
        schedule_before=schedule_before(run),
        last=desk.todo.last,
        validate_at=frozenset() if desk.todo.finished else points,
        keep=frozenset(desk.todo.keep),
        checkpoint_seconds=desk.execution.checkpoint_seconds,
        micro_batch=desk.execution.micro_batch,
        ranks=desk.ranks,
    )


def _records(run: Trained, desk: Desk) -> Records:
    """A finished run's curve stands; it writes neither events nor a mirror of them."""
    return Records(
        log=None if desk.todo.finished else EventLog(desk.directory.events, warn=desk.warn),
        mirror=Mirror(
            run,
            mode="off" if desk.todo.finished else desk.execution.wandb,
            directory=desk.directory.path,
            warn=desk.warn,
        ),
    )


def _watch(run: Trained, desk: Desk, *, engine: Engine, lease: Lease, records: Records) -> Watch:
    bfloat16 = run.training.precision == "bfloat16_autocast"
    peak = peak_flops(
        _device(desk),
        dtype=torch.bfloat16 if bfloat16 else torch.float32,
        threads=desk.execution.threads,
    )
    return Watch(
        stop=desk.stop,
        directory=desk.directory,
        lease=lease,
        engine=engine,
        ranks=desk.ranks,
        run=run_id(run),
        keep=frozenset(desk.todo.keep),
        steps=run.training.steps,
        report=desk.report,
        records=records,
        flops_per_step=cost.flops(run) / run.training.steps,
        peak_flops=peak * desk.ranks.world,
    )


def _summary(run: Trained, desk: Desk, *, progress: Progress, corpus: OpenCorpus) -> dict[str, Any]:
    """What done.json says."""
    steps = run.training.steps
    weights = desk.directory.checkpoint_path(steps) / "model.safetensors"
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
