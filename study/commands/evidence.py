"""Commands that say what scores say: report, claims, overlap.

Owns where a sweep's report lies and when it is out of date.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from study.commands.options import (
    DEFAULT_STORE,
    AsJson,
    Cache,
    DataDir,
    Every,
    StoreAt,
    Target,
    ends_clearly,
    execution_of,
)

if TYPE_CHECKING:
    from eval.report.material import Budgets
    from study.runs.plan import Sweep


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
    from study.runs import plan

    sweep = plan.load(target)
    if not store.is_dir():  # else a mistyped store would empty a finished report
        raise ValueError(
            f"{store} is no directory; legal: where the runs of the sweep lie (--store)"
        )
    budgets: Budgets = "label" if unequal_budgets else "refuse"
    for path in write_report(sweep, store, out or report_directory(sweep), budgets=budgets):
        print(path)


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
    from eval.claims import files

    if target is None:
        from eval.claims import published

        published.show(file or files.DEFAULT, every=every, as_json=json)
        return
    from eval.claims import checklist
    from study.runs import plan
    from study.store.directory import Store

    sweep = plan.load(target)
    declared = plan.claims(sweep) if file is None else files.for_sweep(file, sweep)
    if not declared:
        raise ValueError(
            f"{sweep.path} has no claims; legal: CLAIMS = claim_files.load(NAME) in it, or "
            "--claims FILE"
        )
    checklist.show(declared, sweep.runs, store=Store(store), every=every, as_json=json)


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
    from study.runs import plan
    from study.sources.content import Access
    from study.store.directory import Store

    execution = execution_of(data_dir, cache)
    access = Access(data_dirs=execution.data_dirs, cache=execution.cache)
    return overlaps.show(plan.load(target), store=Store(store), access=access, as_json=json)


def report_directory(sweep: Sweep) -> Path:
    return Path("reports") / sweep.path.stem


def write_report(
    sweep: Sweep, store: Path, out: Path, *, budgets: Budgets = "refuse"
) -> list[Path]:
    from eval.report.material import gather
    from eval.report.report import files, publish
    from study.store.directory import Store

    content = files(gather(sweep, store=Store(store), out_dir=out, budgets=budgets))
    return publish(content, out)


def changed_since(path: Path, sweep: Sweep, root: Path) -> bool:
    """Whether a report is missing, or older than its sweep or than one of its runs' seals."""
    from study.store.directory import Store

    if not path.exists():
        return True
    store = Store(root)
    seals = [store.directory(run) / "done.json" for run in sweep.runs]
    newest = max(each.stat().st_mtime for each in (sweep.path, *seals))
    return newest > path.stat().st_mtime
