"""One run from its value to its sealed directory: prepared data and trained models.

Owns the order of a run's life: lease, resume, checks, loop, seal. Every part has a module of its
own; this one puts them together and holds nothing that another kind of engine would do otherwise.
Where several ranks train the run, rank 0 decides what depends on files (what is left, where to go
on) and tells the others; it alone writes, but for the other ranks' parts of a checkpoint.
What data and batches hold, and what is learned, is the run's domain's, as its scores are.
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
from study.nn.stack import recompute_layers
from study.runs import domain
from study.runs.execution import Execution, check_runs
from study.runs.node import Prepared, Trained, parent_of, start_checkpoint, steps_before
from study.show.terminal import log_warning
from study.sources.content import Access
from study.store.directory import RunDirectory, Store
from study.store.events import EventLog
from study.store.lease import Lease
from study.store.publish import CorruptError, publish_directory, publish_file, sha256
from study.train import checkpoint, signals
from study.train.callbacks import AssistantCallbacks, Records, Report, RunCallbacks, peak_flops
from study.train.checkpoint import Progress
from study.train.compile_cache import remove_unfinished_builds
from study.train.engine import Engine, TorchEngine
from study.train.learner import Learner
from study.train.loop import Plan, train, validation_steps
from study.train.mirror import Mirror
from study.train.ranks import Ranks, single_process
from study.train.signals import Stop


def execute(
    run: Prepared | Trained,
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
    if not isinstance(run, (Prepared, Trained)):
        legal = [n for n, kind in domain.kinds().items() if issubclass(kind, (Prepared, Trained))]
        raise ValueError(f"{type(run).__name__} {run.slug!r}; legal: {', '.join(legal)}")
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


def _assist(run: Prepared | Trained, *, store: Store, execution: Execution, ranks: Ranks) -> None:
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


def _work(run: Prepared | Trained, context: RunContext) -> None:
    torch.set_num_threads(context.execution.threads)
    # Where it is not told, DeepSpeed looks for a GPU and complains.
    os.environ.setdefault("DS_ACCELERATOR", torch.device(context.execution.device).type)
    if isinstance(run, Prepared):
        _prepare(run, context)
    else:
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


def _remaining(run: Prepared | Trained, directory: RunDirectory) -> Remaining:
    finished = directory.done() is not None
    if isinstance(run, Prepared):
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


def _missing(run: Prepared | Trained, directory: RunDirectory) -> frozenset[int]:
    """Steps whose checkpoints are asked for and not there."""
    if isinstance(run, Prepared):
        return frozenset()
    return frozenset({*directory.kept(), run.training.steps} - set(directory.steps()))


def _check_steps(run: Prepared | Trained, keep: frozenset[int]) -> None:
    last = 0 if isinstance(run, Prepared) else run.training.steps
    for step in sorted(keep):
        if not 0 < step <= last:
            legal = f"1 to {last}" if last else "none, for data"
            raise ValueError(f"{run.slug!r} is asked to keep step {step}; legal: {legal}")


def _prepare(run: Prepared, context: RunContext) -> None:
    begun = time.monotonic()
    lease, owner = context.lease, domain.of(run)
    assert lease is not None, "data is prepared by one process"
    if context.remaining.finished:
        return
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
        found = owner.prepare(
            run,
            aside,
            store=context.store,
            access=access,
            progress=progress,
            warn=context.warn,
        )
        summary.update(found)
        lease.check()

    publish_directory(context.directory.path / owner.data_directory, write)
    seconds = {"wall_seconds": time.monotonic() - begun}
    context.directory.seal({"kind": type(run).__name__} | summary | seconds)


def _train(run: Trained, context: RunContext) -> None:
    learner = domain.of(run).learner(run, store=context.store)
    start = _resume(run, context, learner) or _begin(run, context, learner)
    learner.model.to(_device(context))
    context.report({"event": "stage", "stage": "isolation"})
    learner.check(execution=context.execution, ranks=context.ranks, warn=context.warn)
    engine = _engine(run, context, learner)
    _load_optimizer(run, engine, start)
    plan = _plan(run, context)
    if not context.ranks.first:
        train(
            engine,
            batches=learner,
            validation=learner.validation,
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
            batches=learner,
            validation=learner.validation,
            plan=plan,
            progress=start.progress,
            callbacks=_callbacks(run, context, engine=engine, lease=context.lease, records=records),
        )
    if not context.remaining.finished:
        context.lease.check()
        context.directory.seal(_summary(run, context, progress=progress) | learner.summary())


def _device(context: RunContext) -> str:
    return context.execution.device if context.execution.zero is None else context.ranks.device


def _engine(run: Trained, context: RunContext, learner: Learner) -> Engine:
    if context.execution.activation_checkpointing == "on":
        recompute_layers(learner.model)
    if context.execution.compile == "on":
        remove_unfinished_builds()
        learner.compile(torch.compile)
    if context.execution.zero is None:
        return TorchEngine(learner, training=run.training, device=_device(context))
    # imports DeepSpeed, which one process can do without
    from study.train.sharded import ShardedEngine

    return ShardedEngine(
        learner, training=run.training, execution=context.execution, ranks=context.ranks
    )


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where training goes on. optimizer: the checkpoint whose optimiser state is taken over."""

    progress: Progress
    optimizer: Path | None


def _resume(run: Trained, context: RunContext, learner: Learner) -> Start | None:
    """Go on from the newest good checkpoint that leaves no missing one behind; None without one.
    Rank 0 chooses.
    """
    step = context.ranks.broadcast(_resume_step(run, context) if context.ranks.first else None)
    if step is None:
        return None
    path = context.directory.checkpoint_path(step)
    weights = checkpoint.read_tensors(path / "model.safetensors")
    checkpoint.load_weights(learner.model, tensors=weights)
    return Start(progress=checkpoint.read_state(path, run=run.id), optimizer=path)


def _resume_step(run: Trained, context: RunContext) -> int | None:
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


def _begin(run: Trained, context: RunContext, learner: Learner) -> Start:
    """The state before the first step: fresh, or the parent's, adapted and accounted for."""
    origin, step = start_checkpoint(run)
    if origin is None:
        return Start(progress=Progress(), optimizer=None)
    parent = context.store.existing(origin)
    if context.ranks.first:
        parent.checkpoint(step)  # verified once
    context.ranks.barrier()
    path = parent.checkpoint_path(step)
    inheritance = learner.begin(path)
    if context.ranks.first:
        publish_file(context.directory.path / "adapt.txt", inheritance.table.encode())
        entries = json.dumps(inheritance.entries, indent=1)
        publish_file(context.directory.path / "adapt.json", entries.encode())
        print(inheritance.table, file=sys.stderr)
    inherited = getattr(run, "optimizer_state", "fresh") == "inherited"
    return Start(progress=Progress(), optimizer=path if inherited else None)


def _load_optimizer(run: Trained, engine: Engine, start: Start) -> None:
    if start.optimizer is None:
        return
    try:
        engine.read_optimizer(start.optimizer)
    except ValueError as error:
        parent = parent_of(run)
        if parent is None or start.progress.step:
            raise
        raise ValueError(
            f"{run.slug!r} inherits the optimiser state of {parent.slug!r}, whose tensors "
            f"must be equal: {error}; legal here: optimizer_state='fresh'"
        ) from error


def schedule_before(run: Trained) -> int:
    """Updates that the schedule of this run counts before its first."""
    parent, step = start_checkpoint(run)
    if parent is None or getattr(run, "schedule_start", "restarted") == "restarted":
        return 0
    return schedule_before(parent) + step


def _warn_of_little_room(run: Trained, context: RunContext) -> None:
    """Say so before the time is spent. Only a warning: quotas and compression make it a guess."""
    each = 12 * domain.cost(run).parameters  # float32 weights and two moments
    needed = each * (2 + len(_missing(run, context.directory)))
    free = shutil.disk_usage(context.directory.path).free
    if free < needed:
        context.warn(
            f"{run.slug!r} needs about {needed / 1e9:.1f} GB for its checkpoints and the disk of "
            f"{context.directory.path} has {free / 1e9:.1f} GB left"
        )


def _plan(run: Trained, context: RunContext) -> Plan:
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


def _records(run: Trained, context: RunContext) -> Records:
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
    run: Trained, context: RunContext, *, engine: Engine, lease: Lease, records: Records
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
        flops_per_step=domain.cost(run).flops / run.training.steps,
        peak_flops=peak * context.ranks.world,
    )


def _summary(run: Trained, context: RunContext, *, progress: Progress) -> dict[str, Any]:
    """What done.json says."""
    steps = run.training.steps
    weights = context.directory.checkpoint_path(steps) / "model.safetensors"
    return {
        "kind": type(run).__name__,
        "steps": steps,
        "parameters": domain.cost(run).parameters,
        "flops": domain.cost(run).flops,
        "tokens": progress.tokens,
        "loss_tokens": progress.loss_tokens,
        "clipped_fraction": progress.clipped_steps / steps,
        "validation_loss": progress.validation_loss,
        "train_seconds": progress.train_seconds,
        "wall_seconds": progress.wall_seconds,
        "tokens_per_second": progress.tokens / progress.train_seconds,
        "weights": sha256(weights),
        "data": progress.data_digest,
    }
