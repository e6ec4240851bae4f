"""The published suites on any rows: what is asked is one thing, where the rows lie another.

Owns the two origins of rows (the hub, a local mirror) and what becomes of a data set that has none:
it is a hole of the suite, with its reason, and the suite goes on. What a plan names is never
dropped later: rows that are gone, or that are not those of the digest, stop the scoring. No torch.

A mirror is a directory of files (`study.language.suites.data_sets`); a pin file holds their
digests, so the ids of its evaluations follow from their content, and the directory is a
`--data-dir` of the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from study.language.suites.data_sets import DataSet
from study.language.values.suite import Labels, Metric, Preparation, Scoring, SuiteTask
from study.runs.source import Source
from study.runs.suite import Hole, Suite
from study.sources.pins import Pins


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One headline task of a published suite, but for its rows."""

    name: str
    data: DataSet
    split: str
    templates: Source
    template_names: tuple[str, ...]
    metric: Metric
    chance: float
    question: tuple[str, ...] = ()
    preparation: Preparation = ""

    def __post_init__(self) -> None:
        self.data.check_split(self.split)


@dataclass(frozen=True, kw_only=True)
class Found:
    """Rows, and their labels where these are not the hub's own."""

    rows: Source
    labels: Labels | None


Origin = Callable[[Asked], Found | Hole]


def suite(name: str, asked: Iterable[Asked], *, scoring: Scoring, rows: Origin) -> Suite:
    """The suite on the rows of one origin; what has none there is a hole."""
    tasks: list[SuiteTask] = []
    holes: list[Hole] = []
    for each in asked:
        found = rows(each)
        if isinstance(found, Hole):
            holes.append(found)
            continue
        tasks.append(
            SuiteTask(
                name=each.name,
                rows=found.rows,
                templates=each.templates,
                template_names=each.template_names,
                metric=each.metric,
                chance=each.chance,
                role="headline",
                labels=found.labels,
                question=each.question,
                preparation=each.preparation,
            )
        )
    return Suite(name=name, tasks=tuple(tasks), scoring=scoring, holes=tuple(holes))


def hub(pins: Pins) -> Origin:
    """Every data set on the hub, pinned or not: what is not is refused when it would be run."""

    def rows(asked: Asked) -> Found:
        data = asked.data
        if not data.hub:
            return Found(rows=pins.file(local_file(asked)), labels=None)
        source = pins.rows(data.hub, asked.split, config=data.config)
        return Found(rows=source, labels=None)

    return rows


def mirror(pins: Pins) -> Origin:
    """The files of a local mirror whose digests the pin file holds."""

    def rows(asked: Asked) -> Found | Hole:
        name = asked.data.file(asked.split)
        if not pins.files.get(name, {}).get("sha256"):
            return Hole(name=asked.name, wanted=name, reason=f"no digest in {pins.path.name}")
        return Found(rows=pins.file(name), labels=asked.data.labels)

    return rows


def local_file(asked: Asked) -> str:
    """The name that a data set without a hub has below a data directory."""
    return f"{asked.data.key.replace('/', '_')}_{asked.split}.jsonl"
