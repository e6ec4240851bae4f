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
class PublishedTask:
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


Origin = Callable[[PublishedTask], Found | Hole]


def suite(name: str, tasks: Iterable[PublishedTask], *, scoring: Scoring, rows: Origin) -> Suite:
    """The suite on the rows of one origin; what has none there is a hole."""
    built: list[SuiteTask] = []
    holes: list[Hole] = []
    for each in tasks:
        found = rows(each)
        if isinstance(found, Hole):
            holes.append(found)
            continue
        built.append(
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
    return Suite(name=name, tasks=tuple(built), scoring=scoring, holes=tuple(holes))


def from_hub(pins: Pins) -> Origin:
    """Every data set on the hub, pinned or not: what is not is refused when it would be run."""

    def rows(task: PublishedTask) -> Found:
        data = task.data
        if not data.hub:
            return Found(rows=pins.file(local_file(task)), labels=None)
        source = pins.rows(data.hub, task.split, config=data.config)
        return Found(rows=source, labels=None)

    return rows


def mirror(pins: Pins) -> Origin:
    """The files of a local mirror whose digests the pin file holds."""

    def rows(task: PublishedTask) -> Found | Hole:
        name = task.data.file(task.split)
        if not pins.files.get(name, {}).get("sha256"):
            return Hole(name=task.name, wanted=name, reason=f"no digest in {pins.path.name}")
        return Found(rows=pins.file(name), labels=task.data.labels)

    return rows


def local_file(task: PublishedTask) -> str:
    """The name that a data set without a hub has below a data directory."""
    return f"{task.data.key.replace('/', '_')}_{task.split}.jsonl"
