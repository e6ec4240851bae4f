"""Commands that train and score: run and eval."""

from __future__ import annotations

import contextlib
import sys

from study.commands.evidence import changed_since, report_directory, write_report
from study.commands.execute import execute_plan
from study.commands.options import (
    DEFAULT_STORE,
    AsJson,
    Cache,
    Compiled,
    DataDir,
    Device,
    KernelChoice,
    MicroBatch,
    Mirror,
    Mixers,
    Offline,
    RanksOf,
    Recomputed,
    StoreAt,
    Switch,
    Target,
    Threads,
    Wandb,
    Workers,
    Zero,
    ends_clearly,
    execution_of,
)


@ends_clearly
def run(
    target: Target,
    store: StoreAt = DEFAULT_STORE,
    workers: Workers = None,
    threads: Threads = None,
    device: Device = "cpu",
    micro_batch: MicroBatch = None,
    ranks: RanksOf = 1,
    zero: Zero = None,
    activation_checkpointing: Recomputed = Switch.OFF,
    compile_: Compiled = Switch.OFF,
    kernels: Mixers = KernelChoice.AUTO,
    wandb: Mirror = Wandb.OFFLINE,
    data_dir: DataDir = None,
    cache: Cache = None,
    offline: Offline = False,
):
    """Do what is not done: a sweep, one run of it with what it needs, or a run file."""
    from study.runs import plan

    execution = execution_of(
        data_dir,
        cache,
        device=device,
        micro_batch=micro_batch,
        ranks=ranks,
        zero=zero,
        activation_checkpointing=activation_checkpointing.value,
        compile=compile_.value,
        kernels=kernels.value,
        wandb=wandb.value,
        offline=offline,
    )
    sweep = plan.load(target)
    code = execute_plan(sweep, store, execution, workers, threads)
    if code == 0 and hasattr(sweep.module, "REPORT") and not plan.split_target(target)[1]:
        path = report_directory(sweep) / "report.html"
        if changed_since(path, sweep, store):
            write_report(sweep, store, path.parent)
        print(f"report: {path}")
    return code


@ends_clearly
def evaluate(
    target: Target,
    store: StoreAt = DEFAULT_STORE,
    workers: Workers = None,
    threads: Threads = None,
    device: Device = "cpu",
    data_dir: DataDir = None,
    cache: Cache = None,
    offline: Offline = False,
    json: AsJson = False,
):
    """Score what is trained (a sweep's evaluations, or those of one run) and show the scores."""
    from eval.report.terminal import show_scores
    from study.launch.local import ready_evaluations
    from study.runs import plan
    from study.store.directory import Store

    execution = execution_of(data_dir, cache, device=device, offline=offline)
    sweep = ready_evaluations(plan.load_scored(target), store=Store(store))
    with contextlib.redirect_stdout(sys.stderr if json else sys.stdout):
        code = execute_plan(sweep, store, execution, workers, threads)
    show_scores(sweep, store=Store(store), as_json=json)
    return code
