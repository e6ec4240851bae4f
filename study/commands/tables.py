"""What `study plan`, `study show` and others print: tables, or the same as JSON.

Owns which columns and which lines; states are `study.launch.status`. Numbers come from
`study.costs.ledger`, drawing from `study.show`. No torch.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from study.costs import fit, ledger
from study.costs.hardware import Hardware
from study.costs.ledger import Row, Total
from study.language.recipes.rates import Trial
from study.launch.ready import waits
from study.runs.cells import PlannedCell, planned_cells
from study.runs.decode import encode
from study.runs.identity import canonical
from study.runs.plan import Sweep, SweepError
from study.show import terminal
from study.show.columns import Column, Columns, fields, number, words
from study.show.numbers import quantity
from study.sources.pins import Pinned
from study.store.directory import STATES, Store
from study.store.times import Times

AMOUNTS: Columns[Row | Total] = (
    number("parameters", lambda each: quantity(each.parameters)),
    number("tokens", lambda each: quantity(each.tokens)),
    number("loss tokens", lambda each: quantity(each.loss_tokens)),
    number("flops", lambda each: quantity(each.flops)),
)
TOTALS: Columns[Total] = (
    *fields("stage", "cell"),
    number("runs", lambda each: str(each.runs)),
    number("done", lambda each: str(each.done)),
)
RUNS: Columns[Row] = (
    words("id", lambda each: each.id[:12]),
    *fields("slug", "kind", "architecture", "objective", "mixer", "parent"),
)


def show_plan(
    sweep: Sweep, *, store: Store, every: bool, as_json: bool, on: Hardware | None = None
) -> None:
    """on: hardware whose hours are shown, with what fits it."""
    rows = ledger.rows(sweep.runs, store=store)
    if as_json:
        form = [asdict(row) for row in rows]
        terminal.values(form if on is None else fit.as_json(sweep, form, on=on))
        return
    sharing = ledger.sharing(sweep.runs)
    states = Counter(row.state for row in rows)
    found = ", ".join(f"{states[state]} {state}" for state in STATES if states[state])
    print(f"{sweep.title}\n{len(rows)} runs: {found}\n")
    amounts = AMOUNTS if on is None else (*AMOUNTS, _hours(on))
    if every:
        terminal.show((*RUNS, *amounts, *fields("state")), rows)
    else:
        terminal.show((*TOTALS, *amounts), ledger.totals(rows, sweep.runs))
    if sharing.paths > 1:
        print(_saved(sharing))
    _show_cells(planned_cells(sweep.runs), every=every)
    if on is not None:
        fit.show(sweep, flops=sharing.flops, on=on)
    for reason in waits(sweep, sweep.runs):
        print(f"\n{reason}")


MOST_CELLS = 24
"""Lines of a plan's cells that are shown unasked."""
CELLS: Columns[PlannedCell] = (
    *fields("suite", "size"),
    words("cell of the report", lambda each: each.key.label),
    words("stage", lambda each: each.key.stage_label),
    number("budget", lambda each: quantity(each.key.tokens)),
    number("seeds", lambda each: str(each.seeds)),
)


def _show_cells(cells: Sequence[PlannedCell], *, every: bool) -> None:
    """What the report will have, and what of it can't be told apart."""
    if not cells:
        return
    print()
    if every or len(cells) <= MOST_CELLS:
        terminal.show(CELLS, cells)
    else:
        print(f"{len(cells)} cells in the report; --all lists them")
    for each in cells:
        if each.problem:
            terminal.log_warning(f"{each.key.label}: {each.problem}")


def _hours(on: Hardware) -> Column[Row | Total]:
    return number("hours", lambda each: fit.hours_text(each.flops, on=on))


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
        terminal.values(done)
        return
    if done:
        terminal.show((words("source", lambda each: each.name), *fields("pin", "problem")), done)
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
    if as_json:
        terminal.values(trials)
        return
    best: dict[str, float] = {}
    for trial in trials:
        best[trial.path] = min(best.get(trial.path, trial.loss), trial.loss)
    columns: Columns[Trial] = (
        words("lineage", lambda trial: trial.path),
        words("learning rate", lambda trial: f"{trial.learning_rate:g}"),
        words("held-out loss", lambda trial: f"{trial.loss:.4f}"),
        words("", lambda trial: "chosen" if trial.loss == best[trial.path] else ""),
    )
    terminal.show(columns, sorted(trials, key=lambda trial: (trial.path, trial.learning_rate)))


def show_layer_times(found: Sequence[Times], *, as_json: bool) -> None:
    """Milliseconds of one layer of each model at each length."""
    if as_json:
        terminal.values(found)
        return
    columns: Columns[Times] = (
        words("architecture", lambda each: each.model["architecture"]),
        words("mixer", lambda each: each.model["mixer"]),
        words("width", lambda each: str(each.model["d_model"])),
        words("d_ff", lambda each: str(each.model["d_ff"])),
        *map(_milliseconds, sorted({length for each in found for length in each.lengths})),
    )
    terminal.show(columns, found)


def _milliseconds(length: int) -> Column[Times]:
    def milliseconds(each: Times) -> str:
        seconds = dict(zip(each.lengths, each.seconds, strict=True)).get(length)
        return "" if seconds is None else f"{1000 * seconds:.1f}"

    return words(f"{length:,} tokens, ms", milliseconds)
