"""`study suites`: what each suite asks, and where its rows are on this machine and today.

Owns the lines and their two forms. What a suite is stands in `study.language.suites.t0`,
`study.language.suites.eai` and `study.language.recipes.microworld`, where data sets lie in
`study.language.suites.data_sets`. No torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from study.language.recipes import microworld
from study.language.suites import eai, t0
from study.language.suites.data_sets import DATA_SETS
from study.language.suites.published import Found, PublishedTask, from_hub
from study.language.values.suite import SuiteTask
from study.runs.suite import Suite
from study.show import terminal
from study.sources import pins
from study.sources.pins import UNPINNED, Pins
from study.store.publish import sha256

HUB_PINS = Path("sweeps/pins.toml")
MIRROR_PINS = Path("sweeps/mirror.toml")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One task. rows: a hub path, a file or `built in`. pin: what fixes their content, `none` where
    nothing does. hole: why there are no rows, else empty.
    """

    suite: str
    task: str
    role: str
    metric: str
    baseline: float
    prompts: tuple[str, ...]
    rows: str
    pin: str
    hole: str


@dataclass(frozen=True, kw_only=True)
class Place:
    """A data set's path at the time of the paper and today, and why they differ."""

    data_set: str
    paper: str
    today: str
    state: str
    reason: str


def lines(*, mirror: Path | None, known: Pins | None) -> list[Line]:
    """Every task of every suite; the published ones on the hub, or from the files of a mirror.

    known: pins of the hub, or of the mirror's files. Raises ValueError where `mirror` is no
    directory.
    """
    if mirror is not None and not mirror.is_dir():
        raise ValueError(
            f"no directory {mirror}; legal: --mirror DIR, as "
            "study/language/suites/data_sets.py says"
        )
    found: list[Line] = []
    for name, tasks in (("t0", t0.TASKS), ("eai", eai.TASKS)):
        for each in tasks:
            place = _hub(each, known) if mirror is None else _file(each, mirror, known)
            found.append(_line(name, each, *place))
    return [*found, *_built_in(microworld.SUITE)]


def places() -> list[Place]:
    """Every data set of the published suites."""
    return [
        Place(
            data_set=each.key,
            paper=each.paper,
            today=each.hub,
            state=each.state,
            reason=each.reason,
        )
        for each in DATA_SETS
    ]


def show(*, mirror: Path | None, pin_file: Path | None, as_json: bool) -> None:
    """Print it. Without a pin file nothing counts as pinned."""
    chosen = pin_file or (HUB_PINS if mirror is None else MIRROR_PINS)
    known = pins.load(chosen) if pin_file or chosen.exists() else None
    found = lines(mirror=mirror, known=known)
    if as_json:
        form = {
            "tasks": [asdict(each) for each in found],
            "data_sets": [asdict(each) for each in places()],
        }
        print(json.dumps(form, indent=1))
        return
    columns = ("suite", "task", "metric", "baseline", "prompts", "rows", "pin")
    terminal.table(columns, [_cells(each) for each in found])
    print()
    for name in dict.fromkeys(each.suite for each in found):
        own = [each for each in found if each.suite == name]
        here = sum(not each.hole for each in own)
        prompts = f"{sum(len(each.prompts) for each in own)} prompts"
        print(f"{name}: {len(own)} tasks, {prompts}; rows of {here}, {len(own) - here} holes")
    print()
    moved = [each for each in places() if each.state != "same"]
    terminal.table(
        ("data set", "in 2022", "today", "state", "reason"),
        [(e.data_set, e.paper, e.today or "-", e.state, e.reason) for e in moved],
    )


def _cells(line: Line) -> tuple[str, ...]:
    rows = f"HOLE: {line.hole}" if line.hole else line.rows
    count = str(len(line.prompts))
    return line.suite, line.task, line.metric, f"{line.baseline:.3f}", count, rows, line.pin


def _line(suite: str, task: PublishedTask, rows: str, pin: str, hole: str) -> Line:
    return Line(
        suite=suite,
        task=task.name,
        role="headline",
        metric=task.metric,
        baseline=task.chance,
        prompts=task.template_names,
        rows=rows,
        pin=pin,
        hole=hole,
    )


def _hub(task: PublishedTask, known: Pins | None) -> tuple[str, str, str]:
    data = task.data
    blank = Pins(path=HUB_PINS, hub={data.hub: {}}, files={}) if data.hub else None
    if not data.hub:
        return "-", "none", data.reason
    table = known if known is not None and data.hub in known.hub else blank
    assert table is not None
    found = from_hub(table)(task)
    assert isinstance(found, Found)
    digest = found.rows.digest
    if UNPINNED not in digest:
        return found.rows.uri, digest.removeprefix("commit:")[:12], ""
    return found.rows.uri, "none", data.reason if data.state == "script" else ""


def _file(task: PublishedTask, mirror: Path, known: Pins | None) -> tuple[str, str, str]:
    name = task.data.file(task.split)
    path = mirror / name
    if not path.is_file():
        return "-", "none", _missing(task, path)
    digest = sha256(path)
    pinned = (known.files.get(name, {}) if known else {}).get("sha256")
    if not pinned:
        return str(path), "none", ""
    if pinned != digest:
        raise ValueError(
            f"{path} has sha256 {digest}, but {known.path if known else ''} pins {pinned}: its "
            "rows are not those that were meant"
        )
    return str(path), digest[:12], ""


def _missing(task: PublishedTask, path: Path) -> str:
    legal = [each for each in task.data.splits if each not in task.data.hidden]
    others = sorted(each.name for each in path.parent.glob("*")) if path.parent.is_dir() else []
    if not others:
        return f"no {path}"
    return f"no {path}; there: {', '.join(others)}; legal: " + ", ".join(
        f"{each}.jsonl" for each in legal
    )


def _built_in(suite: Suite) -> Iterator[Line]:
    for task in suite.tasks:
        yield Line(
            suite=suite.name,
            task=task.name,
            role=task.role,
            metric=task.metric,
            baseline=task.chance,
            prompts=task.template_names or _templates(task),
            rows=task.rows.uri,
            pin=task.rows.digest,
            hole="",
        )


def _templates(task: SuiteTask) -> tuple[str, ...]:
    """Every template of a family; the microworld's need neither a file nor the network."""
    from study.language.prompts.templates import load_templates
    from study.sources.content import Access

    assert task.templates is not None
    access = Access(data_dirs=(), cache=Path(), offline=True)
    return tuple(each.name for each in load_templates(task.templates, access=access))
