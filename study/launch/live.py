"""The live view of `study status --live`: states, progress and losses, redrawn until Ctrl-C.

Owns drawing and its rhythm; the rows are `study.launch.status`. No torch.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from study.launch.cluster.reconcile import CLUSTER_STATES
from study.launch.status import (
    QUIET,
    Standing,
    Standings,
    first_line,
    show_status,
    silence,
    standings,
)
from study.runs.plan import Sweep
from study.show.terminal import quantity
from study.store.directory import Store

if TYPE_CHECKING:
    from rich.console import RenderableType

REFRESH_SECONDS = 5.0
"""Each is a question to SLURM's controller, which serves everybody."""
ROWS = 30
COLOURS = {
    "running": "green",
    "failed": "bold red",
    "cancelled": "yellow",
    "unknown": "magenta",
    "queued": "cyan",
}
FIRST = ("running", "failed", "unknown")


def watch(sweep: Sweep, *, store: Store) -> None:
    """Redraw until Ctrl-C, which is the way out and no error. What is there then is printed."""
    from rich.console import Console
    from rich.live import Live

    console = Console()
    if not console.is_terminal:
        raise ValueError("--live draws on a terminal; legal: study status SWEEP")
    try:
        with Live(console=console, auto_refresh=False, screen=True) as live:
            while True:
                live.update(render(standings(sweep, store=store), title=sweep.title), refresh=True)
                time.sleep(REFRESH_SECONDS)
    except KeyboardInterrupt:
        show_status(sweep, store=store, every=False, as_json=False)


def render(found: Standings, *, title: str) -> RenderableType:
    """The live view: totals, then what moves or needs a look, with its progress."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    counts = Counter(each.state for each in found.rows)
    totals = "  ".join(f"{counts[state]} {state}" for state in CLUSTER_STATES if counts[state])
    parts: list[RenderableType] = [Text(title, style="bold"), Text(totals)]
    if found.silent is not None:
        parts.append(Text(silence(found.silent), style="bold red"))
    grid = Table.grid(padding=(0, 2))
    moving = [each for each in found.rows if each.state not in QUIET]
    moving.sort(key=lambda each: FIRST.index(each.state) if each.state in FIRST else len(FIRST))
    for each in moving[:ROWS]:
        share = (each.step or 0) / each.steps if each.steps else 0.0
        bar = ProgressBar(total=1.0, completed=share, width=20) if each.steps else Text("")
        grid.add_row(
            Text(each.slug),
            Text(each.state, style=COLOURS.get(each.state, "")),
            bar,
            Text(_progress(each)),
            Text(first_line(each.note), overflow="ellipsis", no_wrap=True),
        )
    parts += [Text(""), grid]
    if len(moving) > ROWS:
        parts.append(Text(f"and {len(moving) - ROWS} more"))
    parts += [Text(""), Text("Ctrl-C ends the view, nothing else", style="dim")]
    return Group(*parts)


def _progress(each: Standing) -> str:
    parts = [] if each.step is None else [f"step {each.step}/{each.steps}"]
    if each.loss is not None:
        parts.append(f"loss {each.loss:.3f}")
    if each.validation_loss is not None:
        parts.append(f"validation {each.validation_loss:.3f}")
    if each.tokens_per_second:
        parts.append(f"{quantity(each.tokens_per_second)}tok/s")
    return "  ".join(parts)
