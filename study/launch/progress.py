"""How the runs of a plan come along: a live view on a terminal, plain lines where there is none.

Says nothing that the launcher's events don't. No torch; rich is imported when something is drawn.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from study.launch.local import Event, Outcome
from study.runs.node import Run, Trained
from study.show.numbers import quantity

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType
    from rich.live import Live

LINE_SECONDS = 10.0


@contextmanager
def listener(runs: Sequence[Run]) -> Iterator[Callable[[Event], None]]:
    """A listener for the launcher's events: a live view on a terminal, plain lines elsewhere."""
    if not sys.stdout.isatty():
        yield _Lines(total=len(runs))
        return
    from rich.console import Console
    from rich.live import Live

    view = _View(total=len(runs))
    with Live(console=Console(), refresh_per_second=4, get_renderable=view.render) as live:
        view.live = live
        yield view


def describe(event: Event) -> str:
    """What a report says, in a few words."""
    report = event.report
    parts = []
    if report.get("stage"):
        parts.append(str(report["stage"]))
    if "step" in report:
        steps = f"/{event.run.training.steps}" if isinstance(event.run, Trained) else ""
        parts.append(f"step {report['step']}{steps}")
    elif report.get("total"):
        parts.append(f"{report.get('done', 0)}/{report['total']}")
    if isinstance(report.get("loss"), float):
        name = "validation loss" if report.get("event") == "validation" else "loss"
        parts.append(f"{name} {report['loss']:.3f}")
    if report.get("tokens_per_second"):
        parts.append(f"{quantity(report['tokens_per_second'])}tok/s")
    if report.get("message"):
        parts.append(str(report["message"]))
    return "  ".join(parts) or str(report.get("event", ""))


def summary(outcome: Outcome, todo: Sequence[Run]) -> str:
    """How a plan ended, with the way on."""
    ends = list(outcome.ends.values())
    counts = [f"{ends.count(end)} {end}" for end in dict.fromkeys(ends)]
    waiting = len(todo) - len(ends)
    counts += [f"{waiting} not started"] if waiting else []
    if outcome.interrupted:
        counts.append("interrupted: start the same command again to go on")
    return ", ".join(counts)


class _Lines:
    """One line for what begins and ends, and one every ten seconds for each run at work."""

    def __init__(self, *, total: int) -> None:
        self.total, self.ended = total, 0
        self.last: dict[str, float] = {}
        self.begun: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        slug, now = event.run.slug, time.monotonic()
        match event.what:
            case "start":
                self.begun[slug] = self.last[slug] = now
                print(f"start  {slug}", flush=True)
            case "report":
                if event.report.get("event") == "warning" or now - self.last[slug] > LINE_SECONDS:
                    self.last[slug] = now
                    print(f"       {slug}  {describe(event)}", flush=True)
            case _:
                self.ended += 1
                print(self.ending(event, now), flush=True)

    def ending(self, event: Event, now: float) -> str:
        slug = event.run.slug
        took = f"  {now - self.begun[slug]:.0f} s" if slug in self.begun else ""
        message = f"  {event.message}" if event.message else ""
        return f"{event.what:6} {slug}  [{self.ended}/{self.total}]{took}{message}"


class _View(_Lines):
    """The same, with what is at work redrawn in place below."""

    live: Live

    def __init__(self, *, total: int) -> None:
        super().__init__(total=total)
        self.active: dict[str, Event] = {}
        self.since = time.monotonic()

    def __call__(self, event: Event) -> None:
        slug, now = event.run.slug, time.monotonic()
        if event.what == "start":
            self.begun[slug] = now
        if event.what in ("start", "report"):
            self.active[slug] = event
            return
        self.active.pop(slug, None)
        self.ended += 1
        from rich.text import Text

        colours = {"done": "green", "failed": "bold red", "cancelled": "yellow"}
        self.live.console.print(
            Text(self.ending(event, now), style=colours.get(event.what, "yellow"))
        )

    def render(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 2))
        for slug, event in self.active.items():
            bar = ProgressBar(total=1.0, completed=_share(event), width=24)
            grid.add_row(Text(slug), bar, Text(describe(event)))
        minutes = (time.monotonic() - self.since) / 60
        return Group(grid, Text(f"{self.ended} of {self.total} runs  {minutes:.1f} min"))


def _share(event: Event) -> float:
    report: dict[str, Any] = event.report
    if isinstance(event.run, Trained) and isinstance(report.get("step"), int):
        return report["step"] / event.run.training.steps
    if report.get("total"):
        return report.get("done", 0) / report["total"]
    return 0.0
