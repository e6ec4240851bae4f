"""Commands that show or choose and train nothing: plan, show, status, rates, check, mixers.

Owns their options; what they show is made where it belongs, imported when it is asked for.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from study.commands.options import (
    DEFAULT_STORE,
    AsJson,
    Device,
    Every,
    MicroBatch,
    StoreAt,
    Switch,
    Target,
    ends_clearly,
)


@ends_clearly
def plan(
    target: Target,
    store: StoreAt = DEFAULT_STORE,
    every: Every = False,
    json: AsJson = False,
    memory: Annotated[
        bool, typer.Option("--memory", help="Show what one rank needs for each ZeRO stage instead.")
    ] = False,
    ranks: Annotated[int, typer.Option(min=1, help="Ranks, for --memory.")] = 1,
    micro_batch: MicroBatch = None,
    activation_checkpointing: Annotated[
        Switch, typer.Option(help="Recompute layers in the backward pass, for --memory.")
    ] = Switch.OFF,
    hardware: Annotated[
        str | None, typer.Option(help="A card, for hours and what fits it: h100, a100, tpu-v4 …")
    ] = None,
    mfu: Annotated[
        float, typer.Option(help="The share of the card's peak that is reached, for --hardware.")
    ] = 0.4,
):
    """Show what there is to do and what it costs, without doing it."""
    from study.runs import plan

    if memory:
        from study.costs import memory_table

        setting = memory_table.Setting(
            ranks=ranks,
            micro_batch=micro_batch,
            activation_checkpointing=activation_checkpointing.value,
        )
        memory_table.show(plan.load(target), setting=setting, as_json=json)
        return
    from study.commands import tables
    from study.costs import hardware as cards
    from study.store.directory import Store

    on = None if hardware is None else cards.hardware(hardware, mfu=mfu)
    tables.show_plan(plan.load(target), store=Store(store), every=every, as_json=json, on=on)


@ends_clearly
def show(target: Target, json: AsJson = False):
    """Print one run as YAML that `study run FILE.yaml` takes."""
    from study.commands import tables
    from study.runs import plan

    tables.show_run(plan.load(target), as_json=json)


@ends_clearly
def status(
    target: Target,
    store: StoreAt = DEFAULT_STORE,
    every: Every = False,
    live: Annotated[
        bool, typer.Option("--live", help="Redraw every few seconds until Ctrl-C.")
    ] = False,
    json: AsJson = False,
):
    """Show how far each run is, from its files and, where it was submitted, from SLURM."""
    from study.runs import plan
    from study.store.directory import Store

    sweep = plan.load(target)
    if live and json:
        raise ValueError("--live and --json exclude each other")
    if live:
        from study.launch import status

        status.watch(sweep, store=Store(store))
        return
    from study.launch.status import show_status

    show_status(sweep, store=Store(store), every=every, as_json=json)


@ends_clearly
def rates(
    target: Target,
    out: Annotated[Path, typer.Option("--out", help="The file of choices that sweeps read.")],
    store: StoreAt = DEFAULT_STORE,
    json: AsJson = False,
):
    """Choose each lineage's learning rate from a finished sweep, by its own held-out loss."""
    from study.commands import tables
    from study.language.recipes.rates import choose_into
    from study.runs import plan
    from study.store.directory import Store

    trials = choose_into(out, runs=plan.load(target).runs, store=Store(store))
    tables.show_trials(trials, as_json=json)


@ends_clearly
def check(
    target: Annotated[
        str | None, typer.Argument(help="A sweep or run [default: tiny models]")
    ] = None,
    store: StoreAt = DEFAULT_STORE,
    device: Device = "cpu",
    json: AsJson = False,
):
    """Check the environment, and that no model looks where it must not."""
    from study.language.model import check

    return check.show(target, store=store, device=device, as_json=json)


@ends_clearly
def mixers(
    measure: Annotated[
        Path | None, typer.Option(help="Time one layer of each model of this sweep instead.")
    ] = None,
    store: StoreAt = DEFAULT_STORE,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the measurement.")] = 1,
    json: AsJson = False,
):
    """Show which sequence mixer serves which pattern of visibility, or time the models of a sweep
    at growing lengths and keep that beside the store, for its report.
    """
    from study.nn import patterns

    if measure is None:
        patterns.show(as_json=json)
        return
    from study.commands import tables
    from study.language.model import timing
    from study.runs import plan
    from study.store import times

    found = timing.measure(plan.load(str(measure)).runs, threads=threads)
    tables.show_layer_times(found, as_json=json)
    print(times.save(found, store), file=sys.stderr)
