"""What the commands share: the options that are typed, and how a command ends.

Owns their words and the exit codes of errors. No torch.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from study.runs.execution import Execution

Command = TypeVar("Command", bound=Callable[..., Any])


class Switch(StrEnum):
    OFF = "off"
    ON = "on"


class KernelChoice(StrEnum):
    AUTO = "auto"
    TORCH = "torch"
    TRITON = "triton"


class Wandb(StrEnum):
    OFF = "off"
    OFFLINE = "offline"
    ONLINE = "online"


class ExportFormat(StrEnum):
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
    KernelChoice,
    typer.Option(help="What computes the mixers: auto is Triton on a GPU."),
]
Mirror = Annotated[Wandb, typer.Option("--wandb", help="Mirror the metrics to wandb.")]
DataDir = Annotated[
    list[Path] | None, typer.Option("--data-dir", help="Where file:// sources lie; repeatable.")
]
Cache = Annotated[Path | None, typer.Option(help="Where downloads are kept.")]
Offline = Annotated[bool, typer.Option("--offline", help="Download nothing.")]
DEFAULT_STORE = Path("runs")


def ends_clearly(command: Command) -> Command:
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
    from study.launch.cluster.slurm import Unanswered
    from study.store.lease import LeaseHeld
    from study.store.redaction import redact
    from study.train.signals import EXIT_CODE, Interrupted

    if isinstance(error, (KeyboardInterrupt, Interrupted)):
        print("interrupted: start the same command again to go on", file=sys.stderr)
        return EXIT_CODE
    if isinstance(error, BrokenPipeError):  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    unanswered = isinstance(error, Unanswered)
    expected = unanswered or isinstance(error, (ValueError, OSError, LeaseHeld))
    kind = "" if expected else f"{type(error).__name__}: "
    print(redact(f"error: {kind}{error}"), file=sys.stderr)
    if not expected:
        print("(study --traceback COMMAND shows where)", file=sys.stderr)
    if isinstance(error, LeaseHeld):
        return 3
    if unanswered:
        print("SLURM is silent: start the same command again when it answers", file=sys.stderr)
        return EXIT_CODE
    return 2 if expected else 1


def execution_of(data_dir: list[Path] | None, cache: Path | None, **choices: Any) -> Execution:
    """The execution that the options ask for; choices: its other fields."""
    from study.runs.execution import Execution, default_cache

    return Execution(
        data_dirs=tuple(path.resolve() for path in data_dir or ()),
        cache=(cache or default_cache()).resolve(),
        **choices,
    )
