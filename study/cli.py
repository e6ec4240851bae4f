"""The program `study`: its commands, collected, and how it ends; imported by nothing.

Every import that takes time stands inside the command that needs it, so that `study --help` answers
at once.

    study run sweeps/demo.py        python -m study.cli run sweeps/demo.py
"""

from __future__ import annotations

import os
from typing import Annotated

import typer

from study import domains  # noqa: F401  the kinds that a run file may hold
from study.commands import cluster, data, evidence, execute, inspect, language, run
from study.runs import domain
from study.runs.user_directories import furnish

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


# in the order of the help
for each in (inspect.plan, inspect.show, inspect.status, run.run):
    app.command()(each)
app.command(name="eval")(run.evaluate)
for each in (evidence.report, data.pin, language.suites, evidence.claims):
    app.command()(each)
for each in (inspect.rates, inspect.check, inspect.mixers, language.export):
    app.command()(each)
app.command(
    name="lm-eval",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(language.lm_eval)
for each in (data.fetch, evidence.overlap):
    app.command()(each)
for each in (execute.worker, execute.job, execute.rank):
    app.command(hidden=True)(each)
for each in (cluster.launch, cluster.explain, cluster.retry, cluster.cancel):
    app.command()(each)
for own in domain.registered().values():
    if own.commands is not None:
        app.add_typer(own.commands(), name=own.name)


def main() -> None:
    """The `study` command."""
    furnish()
    app()


if __name__ == "__main__":
    main()
