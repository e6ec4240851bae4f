"""What `study plan`, `study show` and others print: tables, or the same as JSON.

Owns which columns and which lines; states are `study.launch.status`. Numbers come from
`study.costs.ledger`, drawing from `study.show.terminal`. No torch.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from study.costs import fit, ledger
from study.costs.hardware import Hardware
from study.costs.ledger import Row
from study.language.recipes.rates import Trial
from study.launch.ready import waits
from study.runs.decode import encode
from study.runs.identity import canonical
from study.runs.plan import Sweep, SweepError
from study.show.terminal import quantity, table
from study.sources.pins import Pinned
from study.store.directory import STATES, Store
from study.store.times import Times


def show_plan(
    sweep: Sweep, *, store: Store, every: bool, as_json: bool, on: Hardware | None = None
) -> None:
    """on: hardware whose hours are told, with what fits it."""
    rows = ledger.rows(sweep.runs, store=store)
    if as_json:
        form = [row.as_json() for row in rows]
        whole = form if on is None else fit.as_json(sweep, form, on=on)
        print(json.dumps(whole, indent=1))
        return
    totals = ledger.totals(rows, sweep.runs)
    sharing = ledger.sharing(sweep.runs)
    states = Counter(row.state for row in rows)
    found = ", ".join(f"{states[state]} {state}" for state in STATES if states[state])
    print(f"{sweep.title}\n{len(rows)} runs: {found}\n")
    if every:
        _every_row(rows, on=on)
    else:
        columns = ("stage", "cell", "runs", "done", *_columns(on))
        lines = [
            (total.stage, total.cell, str(total.runs), str(total.done), *_amounts(total, on=on))
            for total in totals
        ]
        table(columns, lines)
    if sharing.paths > 1:
        print(_saved(sharing))
    if on is not None:
        fit.show(sweep, flops=sharing.flops, on=on)
    for reason in waits(sweep, sweep.runs):
        print(f"\n{reason}")


def _every_row(rows: Sequence[Row], *, on: Hardware | None) -> None:
    names = ("id", "slug", "kind", "architecture", "objective", "mixer", "parent")
    columns = (*names, *_columns(on), "state")
    lines = [
        (
            row.id[:12],
            *(getattr(row, name) or "" for name in names[1:]),
            *_amounts(row, on=on),
            row.state,
        )
        for row in rows
    ]
    table(columns, lines)


def _columns(on: Hardware | None) -> tuple[str, ...]:
    return ("parameters", "tokens", "loss tokens", "flops", *(() if on is None else ("hours",)))


def _amounts(row: Row | ledger.Total, *, on: Hardware | None) -> tuple[str, ...]:
    numbers = (row.parameters, row.tokens, row.loss_tokens, row.flops)
    told = tuple(quantity(number) for number in numbers)
    return told if on is None else (*told, fit.hours(row.flops, on=on))


def _saved(sharing: ledger.Sharing) -> str:
    tokens = 1 - sharing.tokens / sharing.alone_tokens
    flops = 1 - sharing.flops / sharing.alone_flops
    return (
        f"\n{sharing.paths} paths, each from scratch, would take {quantity(sharing.alone_tokens)} "
        f"tokens and {quantity(sharing.alone_flops)} FLOPs; with shared stages it is "
        f"{quantity(sharing.tokens)} and {quantity(sharing.flops)}: {tokens:.0%} and {flops:.0%} "
        "saved"
    )


def show_pins(done: Sequence[Pinned], *, path: Path, as_json: bool) -> None:
    """What was pinned, and what still is not."""
    if as_json:
        print(json.dumps([asdict(each) for each in done], indent=1))
        return
    if done:
        table(("source", "pin", "problem"), [(e.name, e.pin, e.problem) for e in done])
    left = sum(bool(each.problem) for each in done)
    print(f"{path}: {len(done) - left} pinned now, {left} not pinned")


def show_run(sweep: Sweep, *, as_json: bool) -> None:
    """The one run that the target names: its own declaration, the last in the plan."""
    if len(sweep.declared) != 1:
        slugs = ", ".join(run.slug for run in sweep.runs[:10])
        raise SweepError(f"{sweep.path} has {len(sweep.runs)} runs; name one, PATH:SLUG: {slugs}")
    run = sweep.declared[0]
    print((json.dumps(canonical(run), indent=1) if as_json else encode(run)).rstrip())


def show_trials(trials: Sequence[Trial], *, as_json: bool) -> None:
    """Every trial, the best of its lineage marked."""
    best: dict[str, float] = {}
    for trial in trials:
        best[trial.path] = min(best.get(trial.path, trial.loss), trial.loss)
    if as_json:
        print(json.dumps([asdict(trial) for trial in trials], indent=1))
        return
    ordered = sorted(trials, key=lambda trial: (trial.path, trial.learning_rate))
    lines = [
        (
            trial.path,
            f"{trial.learning_rate:g}",
            f"{trial.loss:.4f}",
            "chosen" if trial.loss == best[trial.path] else "",
        )
        for trial in ordered
    ]
    table(("lineage", "learning rate", "held-out loss", ""), lines)


def show_times(found: Sequence[Times], *, as_json: bool) -> None:
    """Milliseconds of one layer of each model at each length."""
    if as_json:
        print(json.dumps([asdict(each) for each in found], indent=1))
        return
    lengths = sorted({length for each in found for length in each.lengths})
    lines = []
    for each in found:
        measured = dict(zip(each.lengths, each.seconds, strict=True))
        lines.append(
            (
                *(str(each.model[name]) for name in ("architecture", "mixer", "d_model", "d_ff")),
                *(f"{1000 * measured[n]:.1f}" if n in measured else "" for n in lengths),
            )
        )
    head = ("architecture", "mixer", "width", "d_ff", *(f"{n:,} tokens, ms" for n in lengths))
    table(head, lines)
