"""One run from its value to its sealed directory: corpora and trained models.

Owns the order of a run's life: lease, resume, checks, loop, seal. Every part has a module of its
own; this one puts them together and holds nothing that another kind of engine would do otherwise.
Scores are `eval.execute`'s.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from kernels import backend
from study import checkpoint, cost, signals
from study.adapt import adapt, table
from study.checkpoint import Progress
from study.data.corpus import OpenCorpus, build_corpus, open_corpus
from study.data.sources import Access
from study.engine import TorchEngine
from study.events import EventLog
from study.execution import Execution
from study.feed import feed
from study.isolation import check_isolation
from study.lease import Lease
from study.mirror import Mirror
from study.model import build
from study.peak import peak_flops
from study.publish import CorruptError, publish_directory, publish_file, sha256
from study.run import Adapt, Corpus, Finetune, Pretrain, Trained, model_of, run_id, steps_before
from study.signals import Stop
from study.store import RunDirectory, Store, loud
from study.train import Plan, train, validation_steps
from study.watch import Records, Report, Watch


def execute(
    run: Corpus | Trained,
    *,
    store: Store,
    execution: Execution,
    report: Report = lambda _: None,
    keep: frozenset[int] = frozenset(),
) -> None:
    """Do what is left of a run, and seal it; nothing where all is there.

    keep: steps whose checkpoints must be there in the end, beside the last and those of earlier
    calls. Raises Interrupted after a complete checkpoint, LeaseHeld where another process works on
    the run, NonFinite, and ValueError or OSError that name what is wrong.
    """
    if not isinstance(run, (Corpus, Pretrain, Adapt, Finetune)):
        raise ValueError(
            f"{type(run).__name__} {run.slug!r}; legal: Corpus, Pretrain, Adapt, Finetune"
        )
    directory = store.open(run)
    _check_steps(run, keep)
    directory.keep(keep)
    if directory.done() is not None and not _missing(run, directory):
        return

    def warn(message: str) -> None:
        loud(message)
        report({"event": "warning", "message": message})

    # The lease comes first: while it is waited for, a signal may still end the process at once.
    with store.claim(run, waiting=warn) as (directory, lease), signals.listening() as stop:
        torch.set_num_threads(execution.threads)
        backend.use(execution.kernels)
        desk = Desk(
            store=store,
            execution=execution,
            report=report,
            warn=warn,
            stop=stop,
            directory=directory,
            lease=lease,
        )
        match run:
            case Corpus():
                _build(run, desk)
            case _:
                _train(run, desk)


@dataclass(frozen=True, kw_only=True, eq=False)
class Desk:
    """What every part of one call works with: the run's directory, held, and how to speak."""

    store: Store
    execution: Execution
    report: Report
    warn: Callable[[str], None]
    stop: Stop
    directory: RunDirectory
    lease: Lease


def corpus_path(store: Store, corpus: Corpus) -> Path:
    """Where a built corpus lies."""
    return store.directory(corpus) / "corpus"


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
    if desk.directory.done() is not None:
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
        desk.lease.check()

    publish_directory(desk.directory.path / "corpus", write)
    seconds = {"wall_seconds": time.monotonic() - begun}
    desk.directory.seal({"kind": "Corpus"} | summary | seconds)


def _train(run: Trained, desk: Desk) -> None:
    done = desk.directory.done()
    corpus = _corpus_of(run, desk)
    model = build(model_of(run), dropout=run.training.dropout, seed=run.seed)
    engine = TorchEngine(
        model,
        training=run.training,
        device=desk.execution.device,
        compiled=torch.compile if desk.execution.compile == "on" else None,
    )
    progress = _resume(run, desk, engine) or _begin(run, desk, engine)
    desk.report({"event": "stage", "stage": "isolation"})
    isolation = check_isolation(
        model,
        architecture=model_of(run).architecture,
        vocab_size=model_of(run).vocab_size,
        precision=run.training.precision,
    )
    fed = feed(run, corpus=corpus)
    _warn_of_little_room(run, desk)
    plan = _plan(run, desk, finished=done is not None)
    with _records(run, desk, finished=done is not None) as records:
        if records.resume(progress.step):
            desk.report({"event": "resumed", "step": progress.step})
        if records.log is not None:
            used = backend.backend(torch.device(desk.execution.device), torch.float32)
            records.log.write("kernels", step=progress.step, backend=used)
        progress = train(
            engine,
            batches=fed.batches,
            validation=fed.validation,
            plan=plan,
            progress=progress,
            watch=_watch(run, desk, engine=engine, plan=plan, records=records),
        )
    if done is None:
        desk.lease.check()
        desk.directory.seal(
            _summary(run, desk, progress=progress, corpus=corpus)
            | {"isolation": asdict(isolation), "examples": fed.left_out}
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


def _resume(run: Trained, desk: Desk, engine: TorchEngine) -> Progress | None:
    """Go on from the newest good checkpoint that leaves no missing one behind; None without one.

    A corrupt checkpoint is named loudly and removed, so that its step is computed again.
    """
    while True:
        missing = _missing(run, desk.directory)
        usable = [step for step in desk.directory.steps() if step < min(missing, default=step + 1)]
        if not usable:
            return None
        try:
            path = desk.directory.checkpoint(usable[-1])
        except CorruptError as error:
            desk.warn(
                f"checkpoint of step {usable[-1]} is corrupt; the one before is used: {error}"
            )
            desk.directory.remove_checkpoint(usable[-1])
            continue
        engine.read(path)
        return checkpoint.read_state(path, run=run_id(run))


def _begin(run: Trained, desk: Desk, engine: TorchEngine) -> Progress:
    """The state before the first step: fresh, or the parent's, adapted and accounted for."""
    if isinstance(run, Pretrain):
        return Progress()
    path = desk.store.existing(run.parent).checkpoint(run.parent_step)
    weights, accounts = adapt(
        checkpoint.read_tensors(path / "model.safetensors"),
        source=model_of(run.parent),
        target=model_of(run),
        seed=run.seed,
    )
    checkpoint.load_weights(engine.model, tensors=weights)
    text = table(accounts)
    publish_file(desk.directory.path / "adapt.txt", text.encode())
    entries = [asdict(account) for account in accounts]
    publish_file(desk.directory.path / "adapt.json", json.dumps(entries, indent=1).encode())
    print(text, file=sys.stderr)
    if run.optimizer_state == "inherited":
        try:
            engine.optimizer.load(checkpoint.read_tensors(path / "optimizer.safetensors"))
        except ValueError as error:
            raise ValueError(
                f"{run.slug!r} inherits the optimiser state of {run.parent.slug!r}, whose tensors "
                f"must be equal: {error}; legal here: optimizer_state='fresh'"
            ) from error
    return Progress()


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


def _plan(run: Trained, desk: Desk, *, finished: bool) -> Plan:
    steps = run.training.steps
    points = validation_steps(steps, points=desk.execution.validation_points)
    return Plan(
        training=run.training,
        seed=run.seed,
        first_step=steps_before(run),
        schedule_before=schedule_before(run),
        # A finished run computes missing checkpoints again and no more: its curve stands.
        last=max(_missing(run, desk.directory), default=steps) if finished else steps,
        validate_at=frozenset() if finished else points,
        keep=frozenset({*desk.directory.kept(), steps}),
        checkpoint_seconds=desk.execution.checkpoint_seconds,
        micro_batch=desk.execution.micro_batch,
    )


def _records(run: Trained, desk: Desk, *, finished: bool) -> Records:
    """A finished run's curve stands; it writes neither events nor a mirror of them."""
    return Records(
        log=None if finished else EventLog(desk.directory.events),
        mirror=Mirror(
            run,
            mode="off" if finished else desk.execution.wandb,
            directory=desk.directory.path,
            warn=desk.warn,
        ),
    )


def _watch(run: Trained, desk: Desk, *, engine: TorchEngine, plan: Plan, records: Records) -> Watch:
    bfloat16 = run.training.precision == "bfloat16_autocast"
    return Watch(
        stop=desk.stop,
        directory=desk.directory,
        lease=desk.lease,
        engine=engine,
        run=run_id(run),
        keep=plan.keep,
        steps=run.training.steps,
        report=desk.report,
        records=records,
        flops_per_step=cost.flops(run) / run.training.steps,
        peak_flops=peak_flops(
            desk.execution.device,
            dtype=torch.bfloat16 if bfloat16 else torch.float32,
            threads=desk.execution.threads,
        ),
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
