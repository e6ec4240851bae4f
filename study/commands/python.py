"""What `import study` offers: a plan, its execution and its scores, as values.

    sweep = study.load("sweeps/demo.py")
    study.run(sweep)
    table = pandas.DataFrame(study.scores(sweep))

Owns nothing: each is what the command of its name does, without its words.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import study.domains  # noqa: F401  the kinds that a run file may hold
from study.commands.execute import execute_plan
from study.runs import plan
from study.runs.execution import Execution
from study.runs.plan import Sweep


def load(target: str | Path) -> Sweep:
    """The plan of `SWEEP.py`, `SWEEP.py:SLUG` or `RUN.yaml`. Raises SweepError, naming the line."""
    return plan.load(str(target))


def run(
    target: str | Path | Sweep,
    *,
    store: str | Path = "runs",
    execution: Execution | None = None,
    workers: int | None = None,
) -> Sweep:
    """Do what is not done, in processes of its own; the plan. execution: threads are divided among
    the workers where it is None. Raises RuntimeError where a run failed or was interrupted.
    """
    sweep = target if isinstance(target, Sweep) else load(target)
    threads = None if execution is None else execution.threads
    code = execute_plan(sweep, Path(store), execution or Execution(), workers, threads)
    if code:
        raise RuntimeError(
            f"{sweep.path}: not all is done (exit code {code}); `study status` says what is left"
        )
    return sweep


def scores(target: str | Path | Sweep, *, store: str | Path = "runs") -> list[dict[str, Any]]:
    """One row a cell and task, and one a cell for each suite, holes among them: the columns of the
    report's report.csv.
    """
    from eval.evidence import panel, table
    from study.store.directory import Store

    sweep = target if isinstance(target, Sweep) else load(target)
    found = table.build(panel.panels(sweep.runs, store=Store(store)))
    return found.values()
