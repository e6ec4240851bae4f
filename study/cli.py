"""The commands: the composition root above `study` and `eval`, imported by nothing.

Owns what is typed and how a command ends. Every import that takes time stands inside the command
that needs it, so that `study --help` answers at once.

    study run sweeps/demo.py        python -m study.cli run sweeps/demo.py
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from study.execution import Execution
    from study.plan import Sweep
    from study.run import Run
    from study.store import Store
    from study.worker import Execute

Command = TypeVar("Command", bound=Callable[..., Any])

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


class Switch(StrEnum):
    OFF = "off"
    ON = "on"


class Kernels(StrEnum):
    AUTO = "auto"
    TORCH = "torch"
    TRITON = "triton"


class Wandb(StrEnum):
    OFF = "off"
    OFFLINE = "offline"
    ONLINE = "online"


class Format(StrEnum):
    HF = "hf"
    T5 = "t5"


Target = Annotated[str, typer.Argument(help="SWEEP.py, SWEEP.py:SLUG or a run file FILE.yaml.")]
StoreAt = Annotated[Path, typer.Option("--store", help="Where run directories lie.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Every = Annotated[bool, typer.Option("--all", help="Every run instead of totals.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Worker processes [default: as many as have work]")
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Threads a worker [default: cores / workers]")
]
Device = Annotated[str, typer.Option(help="A torch device: cpu, cuda, cuda:1.")]
MicroBatch = Annotated[
    int | None, typer.Option(min=1, help="Rows of one pass [default: the whole batch]")
]
RanksOf = Annotated[int, typer.Option("--ranks", min=1, help="Processes that train one run.")]
Zero = Annotated[
    int | None,
    typer.Option(min=0, max=3, help="DeepSpeed's ZeRO stage [default: no DeepSpeed]"),
]
Recomputed = Annotated[
    Switch,
    typer.Option("--activation-checkpointing", help="Recompute layers in the backward pass."),
]
Compiled = Annotated[Switch, typer.Option("--compile", help="torch.compile the model.")]
Mixers = Annotated[
    Kernels,
    typer.Option(help="What computes the mixers: auto is Triton on a GPU."),
]
Mirror = Annotated[Wandb, typer.Option("--wandb", help="Mirror the metrics to wandb.")]
DataDir = Annotated[
    list[Path] | None, typer.Option("--data-dir", help="Where file:// sources lie; repeatable.")
]
Cache = Annotated[Path | None, typer.Option(help="Where downloads are kept.")]
Offline = Annotated[bool, typer.Option("--offline", help="Download nothing.")]
DEFAULT_STORE = Path("runs")


def _ends_clearly(command: Command) -> Command:
    """One line instead of a traceback, and the documented exit code."""

    @functools.wraps(command)
    def wrapped(*arguments: Any, **options: Any) -> None:
        try:
            code = command(*arguments, **options)
        except (typer.Exit, SystemExit):
            raise
        except BaseException as error:
            if os.environ.get("STUDY_TRACEBACK") == "1":
                raise
            code = _complain(error)
        raise typer.Exit(code or 0)

    return wrapped  # type: ignore[return-value]


def _complain(error: BaseException) -> int:
    from study.lease import LeaseHeld
    from study.signals import EXIT_CODE, Interrupted

    if isinstance(error, (KeyboardInterrupt, Interrupted)):
        print("interrupted: start the same command again to go on", file=sys.stderr)
        return EXIT_CODE
    if isinstance(error, BrokenPipeError):  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    expected = isinstance(error, (ValueError, OSError, LeaseHeld))
    kind = "" if expected else f"{type(error).__name__}: "
    print(f"error: {kind}{error}", file=sys.stderr)
    if not expected:
        print("(study --traceback COMMAND shows where)", file=sys.stderr)
    if isinstance(error, LeaseHeld):
        return 3
    return 2 if expected else 1


@app.callback()
def options(
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where an error arose (STUDY_TRACEBACK=1).")
    ] = False,
) -> None:
    if traceback:
        os.environ["STUDY_TRACEBACK"] = "1"


@app.command()
@_ends_clearly
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
):
    """Show what there is to do and what it costs, without doing it."""
    from study import plan as plans

    if memory:
        from study import memory_table

        setting = memory_table.Setting(
            ranks=ranks,
            micro_batch=micro_batch,
            activation_checkpointing=activation_checkpointing.value,
        )
        memory_table.show(plans.load(target), setting=setting, every=every, as_json=json)
        return
    from study import tables
    from study.store import Store

    tables.show_plan(plans.load(target), store=Store(store), every=every, as_json=json)


@app.command()
@_ends_clearly
def show(target: Target, json: AsJson = False):
    """Print one run as YAML that `study run FILE.yaml` takes."""
    from study import plan as plans
    from study import tables

    tables.show_run(plans.load(target), as_json=json)


@app.command()
@_ends_clearly
def status(
    target: Target, store: StoreAt = DEFAULT_STORE, every: Every = False, json: AsJson = False
):
    """Show how far each run is, from its files."""
    from study import plan as plans
    from study import tables
    from study.store import Store

    tables.show_status(plans.load(target), store=Store(store), every=every, as_json=json)


@app.command()
@_ends_clearly
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
    from study import plan as plans

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
            path = _write_report(sweep, store, path.parent)
        print(f"report: {path}")
    return code


@app.command(name="eval")
@_ends_clearly
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
    from eval.show import show_scores
    from study import plan as plans
    from study.launch import ready_evaluations
    from study.store import Store

    execution = _execution(data_dir, cache, device=device, offline=offline)
    sweep = ready_evaluations(plans.load_scored(target), store=Store(store))
    with contextlib.redirect_stdout(sys.stderr if json else sys.stdout):
        code = _execute(sweep, store, execution, workers, threads)
    show_scores(sweep, store=Store(store), as_json=json)
    return code


@app.command()
@_ends_clearly
def report(
    target: Target,
    store: StoreAt = DEFAULT_STORE,
    out: Annotated[Path | None, typer.Option(help="Directory [default: reports/SWEEP]")] = None,
):
    """Write the report of a sweep as far as it is done: HTML, Markdown and CSV."""
    from study import plan as plans

    sweep = plans.load(target)
    print(_write_report(sweep, store, out or _report_directory(sweep)))


@app.command()
@_ends_clearly
def rates(
    target: Target,
    out: Annotated[Path, typer.Option("--out", help="The file of choices that sweeps read.")],
    store: StoreAt = DEFAULT_STORE,
    json: AsJson = False,
):
    """Choose each lineage's learning rate from a finished sweep, by its own held-out loss."""
    from study import plan as plans
    from study import tables
    from study.rates import choose_into
    from study.store import Store

    trials = choose_into(out, runs=plans.load(target).runs, store=Store(store))
    tables.show_trials(trials, as_json=json)


@app.command()
@_ends_clearly
def check(
    target: Annotated[
        str | None, typer.Argument(help="A sweep or run [default: tiny models]")
    ] = None,
    store: StoreAt = DEFAULT_STORE,
    device: Device = "cpu",
    json: AsJson = False,
):
    """Check the environment, and that no model looks where it must not."""
    from study import check as checks

    return checks.show(target, store=store, device=device, as_json=json)


@app.command()
@_ends_clearly
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
    from study import patterns

    if measure is None:
        patterns.show(as_json=json)
        return
    from study import plan as plans
    from study import tables, times, timing

    found = timing.measure(plans.load(str(measure)).runs, threads=threads)
    tables.show_times(found, as_json=json)
    print(times.save(found, store), file=sys.stderr)


@app.command()
@_ends_clearly
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
    from study import export as exports
    from study import plan as plans
    from study.store import Store

    print(exports.write(plans.load(target), to=to, form=form.value, step=step, store=Store(store)))


@app.command(
    name="lm-eval",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
@_ends_clearly
def lm_eval(context: typer.Context):
    """Run lm-eval's own command line with this project's models as `--model study`."""
    from eval.lm import forward_lm_eval

    forward_lm_eval(context.args)


@app.command(hidden=True)
@_ends_clearly
def worker():
    """Execute runs for a launcher (JSON lines)."""
    from study.worker import serve

    code = serve(_executors())
    sys.stderr.flush()
    os._exit(code)  # everything is published; unloading torch would keep the launcher for seconds


@app.command(hidden=True)
@_ends_clearly
def rank():
    """Train one run as one of several ranks, for a worker (a JSON line)."""
    from study.worker import assist

    code = assist(_executors()["Pretrain"])
    sys.stderr.flush()
    os._exit(code)


def _executors() -> dict[str, Execute]:
    """What executes a run, by the name of its kind."""

    def train(run: Run, *, store: Store, execution: Execution, report: Callable[..., None]) -> None:
        from study.companions import gathered

        with gathered(run, store=store, execution=execution) as ranks:
            from study.work import execute

            execute(run, store=store, execution=execution, report=report, ranks=ranks)  # type: ignore[arg-type]

    def score(run: Run, **rest: Any) -> None:
        from eval.execute import execute

        execute(run, **rest)  # type: ignore[arg-type]

    kinds: dict[str, Execute] = {"Evaluation": score, "External": score}
    return {"Corpus": train, "Pretrain": train, "Adapt": train, "Finetune": train} | kinds


def _execution(data_dir: list[Path] | None, cache: Path | None, **choices: Any) -> Execution:
    from study.execution import Execution, default_cache

    return Execution(
        data_dirs=tuple(path.resolve() for path in data_dir or ()),
        cache=(cache or default_cache()).resolve(),
        **choices,
    )


def _execute(
    sweep: Sweep, root: Path, execution: Execution, workers: int | None, threads: int | None
) -> int:
    from study import display, environment, launch
    from study.execution import check_runs
    from study.store import Store

    store = Store(root.resolve())
    check_runs(sweep.runs, execution=execution)
    todo = launch.remaining(sweep, store=store)
    if not todo:
        print(f"nothing to do: all {len(sweep.runs)} runs are done")
        return 0
    if reason := environment.clash():
        raise ValueError(reason)
    store.check_writable()
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


def _write_report(sweep: Sweep, store: Path, out: Path) -> Path:
    from eval.report import write
    from study.store import Store

    return write(sweep, store=Store(store), out_dir=out)


def _changed_since(path: Path, sweep: Sweep, root: Path) -> bool:
    """Whether a report is missing, or older than its sweep or than one of its runs' seals."""
    from study.store import Store

    if not path.exists():
        return True
    store = Store(root)
    seals = [store.directory(run) / "done.json" for run in sweep.runs]
    newest = max(each.stat().st_mtime for each in (sweep.path, *seals))
    return newest > path.stat().st_mtime


def main() -> None:
    """The `study` command."""
    app()


if __name__ == "__main__":
    main()
