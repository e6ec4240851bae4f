"""The commands: the composition root above `study` and `eval`, imported by nothing.

Owns what is typed and how a command ends. Every import that takes time stands inside the command
that needs it, so that `study --help` answers at once.

    study run sweeps/demo.py        python -m study.cli run sweeps/demo.py
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from study.commands import cluster as commands
from study.commands.options import (
    DEFAULT_STORE,
    AsJson,
    Cache,
    Compiled,
    DataDir,
    Device,
    Every,
    Format,
    Kernels,
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
)
from study.runs.user_directories import furnish

if TYPE_CHECKING:
    from eval.report.material import Budgets
    from study.launch.worker import Execute
    from study.runs.execution import Execution
    from study.runs.plan import Sweep
    from study.runs.run import Run
    from study.store.directory import Store

EXITS = """Exit codes: 0 done; 1 a run failed; 2 bad input (the message names it); 3 refused, as
another process works on a run; 75 interrupted, start the same command again and it goes on."""

app = typer.Typer(
    help="Plan, run, score and report a study: a tree of runs over architectures and objectives.",
    epilog=EXITS,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def options(
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where an error arose (STUDY_TRACEBACK=1).")
    ] = False,
) -> None:
    if traceback:
        os.environ["STUDY_TRACEBACK"] = "1"


@app.command()
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
    from study.runs import plan as plans

    if memory:
        from study.costs import memory_table

        setting = memory_table.Setting(
            ranks=ranks,
            micro_batch=micro_batch,
            activation_checkpointing=activation_checkpointing.value,
        )
        memory_table.show(plans.load(target), setting=setting, every=every, as_json=json)
        return
    from study.commands import tables
    from study.costs import hardware as cards
    from study.store.directory import Store

    on = None if hardware is None else cards.hardware(hardware, mfu=mfu)
    tables.show_plan(plans.load(target), store=Store(store), every=every, as_json=json, on=on)


@app.command()
@ends_clearly
def show(target: Target, json: AsJson = False):
    """Print one run as YAML that `study run FILE.yaml` takes."""
    from study.commands import tables
    from study.runs import plan as plans

    tables.show_run(plans.load(target), as_json=json)


@app.command()
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
    from study.runs import plan as plans
    from study.store.directory import Store

    sweep = plans.load(target)
    if live and json:
        raise ValueError("--live and --json exclude each other")
    if live:
        from study.launch import status

        status.watch(sweep, store=Store(store))
        return
    from study.launch.status import show_status

    show_status(sweep, store=Store(store), every=every, as_json=json)


@app.command()
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
    kernels: Mixers = Kernels.AUTO,
    wandb: Mirror = Wandb.OFFLINE,
    data_dir: DataDir = None,
    cache: Cache = None,
    offline: Offline = False,
):
    """Do what is not done: a sweep, one run of it with what it needs, or a run file."""
    from study.runs import plan as plans

    execution = _execution(
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
    sweep = plans.load(target)
    code = _execute(sweep, store, execution, workers, threads)
    if code == 0 and hasattr(sweep.module, "REPORT") and not plans.split_target(target)[1]:
        path = _report_directory(sweep) / "report.html"
        if _changed_since(path, sweep, store):
            _write_report(sweep, store, path.parent)
        print(f"report: {path}")
    return code


@app.command(name="eval")
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
    from study.runs import plan as plans
    from study.store.directory import Store

    execution = _execution(data_dir, cache, device=device, offline=offline)
    sweep = ready_evaluations(plans.load_scored(target), store=Store(store))
    with contextlib.redirect_stdout(sys.stderr if json else sys.stdout):
        code = _execute(sweep, store, execution, workers, threads)
    show_scores(sweep, store=Store(store), as_json=json)
    return code


@app.command()
@ends_clearly
def report(
    target: Target,
    store: StoreAt = DEFAULT_STORE,
    out: Annotated[Path | None, typer.Option(help="Directory [default: reports/SWEEP]")] = None,
    unequal_budgets: Annotated[
        bool,
        typer.Option(
            "--unequal-budgets",
            help="Let cells of unequal token budgets stand in one table, labelled.",
        ),
    ] = False,
):
    """Write the report of a sweep as far as it is done: a page, tables, figures, every answer."""
    from study.runs import plan as plans

    sweep = plans.load(target)
    budgets: Budgets = "label" if unequal_budgets else "refuse"
    for path in _write_report(sweep, store, out or _report_directory(sweep), budgets=budgets):
        print(path)


@app.command()
@ends_clearly
def pin(target: Target, data_dir: DataDir = None, json: AsJson = False):
    """Fill what a sweep's pin file lacks: commits asked of the hub, digests of files read."""
    from study.commands import tables
    from study.runs import plan as plans
    from study.sources import pins
    from study.store.publish import sha256

    sweep = plans.load(target)
    known = getattr(sweep.module, "PINS", None)
    if not isinstance(known, pins.Pins):
        raise ValueError(
            f"{sweep.path} has no pins; legal: PINS = study.sources.pins.load(FILE) in it"
        )

    def digest(name: str) -> str:
        places = [folder / name for folder in data_dir or ()]
        found = next((each for each in places if each.exists()), None)
        if found is None:
            told = ", ".join(map(str, places)) or "no --data-dir was given"
            raise ValueError(f"no such file or directory (looked at: {told})")
        if found.is_file():
            return sha256(found)
        from study.language.scores.subjects import directory_digest

        return directory_digest(found)

    holes = pins.wanted(sweep.runs, known)
    names = (*pins.unpinned(sweep.runs), *holes)
    done = pins.pin(known, names, commit=pins.hub_commit, sha256=digest)
    tables.show_pins(done, path=known.path, as_json=json)
    # what a suite can do without stays a hole
    return 2 if any(each.problem and each.name not in holes for each in done) else 0


@app.command()
@ends_clearly
def suites(
    mirror: Annotated[
        Path | None, typer.Option(help="A local mirror of the data sets, in place of the hub.")
    ] = None,
    pin_file: Annotated[
        Path | None,
        typer.Option("--pins", help="[default: sweeps/pins.toml, or sweeps/mirror.toml]"),
    ] = None,
    json: AsJson = False,
):
    """Show each suite: its tasks, prompts, metric, baseline, and where its rows come from."""
    from study.language.recipes import suite_list

    suite_list.show(mirror=mirror, pin_file=pin_file, as_json=json)


@app.command()
@ends_clearly
def claims(
    target: Annotated[
        str | None, typer.Argument(help="A sweep [default: the claims with the paper's numbers]")
    ] = None,
    file: Annotated[
        str | None,
        typer.Option("--claims", help="Another claims file: a path, or the name of a paper."),
    ] = None,
    store: StoreAt = DEFAULT_STORE,
    every: Every = False,
    json: AsJson = False,
):
    """Show each claim: the paper's numbers, or of a sweep the verdict with effect and interval, the
    runs it needs, and what more data would decide it.
    """
    from eval.claims import files as claim_files

    if target is None:
        from eval.claims import published as paper_table

        paper_table.show(file or claim_files.DEFAULT, every=every, as_json=json)
        return
    from eval.claims import checklist
    from study.runs import plan as plans
    from study.store.directory import Store

    sweep = plans.load(target)
    declared = plans.claims(sweep) if file is None else claim_files.for_sweep(file, sweep)
    if not declared:
        raise ValueError(
            f"{sweep.path} has no claims; legal: CLAIMS = claim_files.load(NAME) in it, or "
            "--claims FILE"
        )
    checklist.show(declared, sweep.runs, store=Store(store), every=every, as_json=json)


@app.command()
@ends_clearly
def rates(
    target: Target,
    out: Annotated[Path, typer.Option("--out", help="The file of choices that sweeps read.")],
    store: StoreAt = DEFAULT_STORE,
    json: AsJson = False,
):
    """Choose each lineage's learning rate from a finished sweep, by its own held-out loss."""
    from study.commands import tables
    from study.runs import plan as plans
    from study.store.directory import Store
    from study.train.rates import choose_into

    trials = choose_into(out, runs=plans.load(target).runs, store=Store(store))
    tables.show_trials(trials, as_json=json)


@app.command()
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
    from study.language.model import check as checks

    return checks.show(target, store=store, device=device, as_json=json)


@app.command()
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
    from study.runs import plan as plans
    from study.store import times

    found = timing.measure(plans.load(str(measure)).runs, threads=threads)
    tables.show_times(found, as_json=json)
    print(times.save(found, store), file=sys.stderr)


@app.command()
@ends_clearly
def export(
    target: Target,
    to: Annotated[Path, typer.Option("--to", help="The directory to write; must not exist.")],
    form: Annotated[
        Format, typer.Option("--format", help="hf: any run; t5: T5 itself.")
    ] = Format.HF,
    step: Annotated[int | None, typer.Option(help="The run's own step [default: last]")] = None,
    store: StoreAt = DEFAULT_STORE,
):
    """Write a trained model with its tokenizer as a Hugging Face directory."""
    from study.language.huggingface import export as exports
    from study.runs import plan as plans
    from study.store.directory import Store

    print(exports.write(plans.load(target), to=to, form=form.value, step=step, store=Store(store)))


@app.command(
    name="lm-eval",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
@ends_clearly
def lm_eval(context: typer.Context):
    """Run lm-eval's own command line with this project's models as `--model study`."""
    from study.language.scores.lm import forward_lm_eval

    forward_lm_eval(context.args)


@app.command()
@ends_clearly
def fetch(
    target: Target,
    data_dir: DataDir = None,
    cache: Cache = None,
):
    """Bring every source of a sweep here, for machines without a network."""
    from study.launch import ready
    from study.runs import plan as plans
    from study.sources import fetch as fetches
    from study.sources.content import Access

    execution = _execution(data_dir, cache)
    access = Access(data_dirs=execution.data_dirs, cache=execution.cache)
    sweep = plans.load(target)
    ready.refuse_unpinned(sweep, sweep.runs)
    count = fetches.fetch(sweep.runs, access=access, say=print)
    print(f"{count} sources are here")


@app.command()
@ends_clearly
def overlap(
    target: Target,
    store: StoreAt = DEFAULT_STORE,
    data_dir: DataDir = None,
    cache: Cache = None,
    json: AsJson = False,
):
    """Look for the rows of a sweep's suites in its training text, whatever its size."""
    from study.commands import overlaps
    from study.runs import plan as plans
    from study.sources.content import Access
    from study.store.directory import Store

    execution = _execution(data_dir, cache)
    access = Access(data_dirs=execution.data_dirs, cache=execution.cache)
    return overlaps.show(plans.load(target), store=Store(store), access=access, as_json=json)


@app.command(hidden=True)
@ends_clearly
def worker():
    """Execute runs for a launcher (JSON lines)."""
    from study.launch.worker import serve

    code = serve(_executors())
    sys.stderr.flush()
    os._exit(code)  # everything is published; unloading torch would keep the launcher for seconds


@app.command(hidden=True)
@ends_clearly
def job(
    directory: Annotated[Path, typer.Argument(help="A run directory.")],
    execution: Annotated[Path, typer.Option("--execution", help="JSON, as launch writes it.")],
    code: Annotated[
        Path | None, typer.Option("--code", help="The code that was submitted.")
    ] = None,
):
    """Execute the run of one directory, as a job of SLURM does."""
    from study.launch.cluster.job import execute_directory

    ended = execute_directory(directory, execution=execution, code=code, executors=_executors())
    sys.stderr.flush()
    os._exit(ended)  # as in `worker`


@app.command(hidden=True)
@ends_clearly
def rank():
    """Train one run as one of several ranks, for a worker (a JSON line)."""
    from study.launch.worker import assist

    code = assist(_executors()["Pretrain"])
    sys.stderr.flush()
    os._exit(code)


def _executors() -> dict[str, Execute]:
    """What executes a run, by the name of its kind."""

    def train(run: Run, *, store: Store, execution: Execution, report: Callable[..., None]) -> None:
        from study.launch.companions import gathered

        with gathered(run, store=store, execution=execution) as ranks:
            from study.train.work import execute

            execute(run, store=store, execution=execution, report=report, ranks=ranks)  # type: ignore[arg-type]

    def score(run: Run, **rest: Any) -> None:
        from study.language.scores.execute import execute

        execute(run, **rest)  # type: ignore[arg-type]

    kinds: dict[str, Execute] = {"Evaluation": score, "External": score}
    return {"Corpus": train, "Pretrain": train, "Adapt": train, "Finetune": train} | kinds


def _execution(data_dir: list[Path] | None, cache: Path | None, **choices: Any) -> Execution:
    from study.runs.execution import Execution, default_cache

    return Execution(
        data_dirs=tuple(path.resolve() for path in data_dir or ()),
        cache=(cache or default_cache()).resolve(),
        **choices,
    )


def _execute(
    sweep: Sweep, root: Path, execution: Execution, workers: int | None, threads: int | None
) -> int:
    from study.launch import environment, ready
    from study.launch import local as launch
    from study.runs.execution import check_runs
    from study.show import terminal as display
    from study.store import declared
    from study.store.directory import Store

    store = Store(root.resolve())
    check_runs(sweep.runs, execution=execution)
    todo = launch.remaining(sweep, store=store)
    if not todo:
        print(f"nothing to do: all {len(sweep.runs)} runs are done")
        return 0
    ready.refuse(sweep, todo)
    if reason := environment.clash():
        raise ValueError(reason)
    store.check_writable()
    declared.record_claims(sweep, store=store)
    count = workers or launch.default_workers(todo, execution=execution)
    execution = launch.with_threads(execution, threads=threads, workers=count)
    each = f"{execution.ranks} ranks x " if execution.ranks > 1 else ""
    print(
        f"{len(todo)} of {len(sweep.runs)} runs, {count} x {each}{execution.threads} threads",
        flush=True,
    )
    with display.progress(todo) as listen:
        outcome = launch.run_plan(
            sweep, store=store, execution=execution, workers=count, on_event=listen
        )
    print(display.summary(outcome, todo))
    return outcome.exit_code


def _report_directory(sweep: Sweep) -> Path:
    return Path("reports") / sweep.path.stem


def _write_report(
    sweep: Sweep, store: Path, out: Path, *, budgets: Budgets = "refuse"
) -> list[Path]:
    from eval.report.material import gather
    from eval.report.report import files, publish
    from study.store.directory import Store

    content = files(gather(sweep, store=Store(store), out_dir=out, budgets=budgets))
    return publish(content, out)


def _changed_since(path: Path, sweep: Sweep, root: Path) -> bool:
    """Whether a report is missing, or older than its sweep or than one of its runs' seals."""
    from study.store.directory import Store

    if not path.exists():
        return True
    store = Store(root)
    seals = [store.directory(run) / "done.json" for run in sweep.runs]
    newest = max(each.stat().st_mtime for each in (sweep.path, *seals))
    return newest > path.stat().st_mtime


for each in (commands.launch, commands.explain, commands.retry, commands.cancel):
    app.command()(each)


def main() -> None:
    """The `study` command."""
    furnish()
    app()


if __name__ == "__main__":
    main()
