"""Language's own commands: suites, export, lm-eval."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from study.commands.options import (
    DEFAULT_STORE,
    AsJson,
    ExportFormat,
    StoreAt,
    Target,
    ends_clearly,
)


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


@ends_clearly
def export(
    target: Target,
    to: Annotated[Path, typer.Option("--to", help="The directory to write; must not exist.")],
    form: Annotated[
        ExportFormat, typer.Option("--format", help="hf: any run; t5: T5 itself.")
    ] = ExportFormat.HF,
    step: Annotated[int | None, typer.Option(help="The run's own step [default: last]")] = None,
    store: StoreAt = DEFAULT_STORE,
):
    """Write a trained model with its tokenizer as a Hugging Face directory."""
    from study.language.huggingface import export
    from study.runs import plan
    from study.store.directory import Store

    print(export.write(plan.load(target), to=to, form=form.value, step=step, store=Store(store)))


@ends_clearly
def lm_eval(context: typer.Context):
    """Run lm-eval's own command line with this project's models as `--model study`."""
    from study.language.scores.lm import forward_lm_eval

    forward_lm_eval(context.args)
