"""Which cell of a study a run is: its lineage, budget and model.

Owns the key by which claims, tables and costs mean a run, and the model size by which they are
grouped. The names are given by the run's domain. Reads no file. No torch.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar, runtime_checkable

from study.runs import domain
from study.runs.node import Evaluation, ExternalCheckpoint, Run, Trained, root

EXTERNAL = "external"
Key = TypeVar("Key", bound=Hashable)

Cell = tuple[str, ...]
"""A lineage such as ("CD:FLM", "CD:MTF"). What a lineage does not say stands in brackets, as the
run's domain names it: ("ED:MLM", "ED:MTF (dropout 0)"), ("ND:MLM (positions t5_bias)",)."""


def label(cell: Cell) -> str:
    return " → ".join(cell)


@dataclass(frozen=True, kw_only=True, order=True)
class CellStage:
    """At which point of a domain's training a cell is scored. place: among the domain's stages;
    name and its short form: empty where a domain has but one.
    """

    place: int = 0
    name: str = ""
    short: str = ""


@dataclass(frozen=True, kw_only=True, order=True)
class CellKey:
    """lineage: the cells from pretraining on, or an external checkpoint's slug alone.

    tokens: seen in the budget by which cells are matched. variant: what tells the model from others
    of its size, "" where nothing has to. stage: cells of one stage are compared, and their seeds
    are taken to vary alike. note: what keeps a score apart from others of its stage, such as
    `off-objective`. beside: the cell in whose line this one stands where stages stand side by side,
    () for its own. These follow from the lineage, as the run's domain names it.
    """

    lineage: Cell
    tokens: int
    variant: str = ""
    stage: CellStage = field(default=CellStage(), compare=False)
    note: str = field(default="", compare=False)
    beside: Cell = field(default=(), compare=False)

    @property
    def name(self) -> Cell:
        """As claims name it: the lineage, with the variant in its first cell."""
        return self._named(self.lineage)

    @property
    def label(self) -> str:
        """As people read it, such as `CD:FLM (ssd) → CD:MTF`."""
        return label(self.name)

    @property
    def line(self) -> str:
        """The label of the line in which its score stands, beside those of its other stages."""
        return label(self._named(self.beside or self.lineage))

    @property
    def stage_label(self) -> str:
        """The stage and what keeps the score apart in it; empty where there is neither."""
        return ", ".join(each for each in (self.stage.name, self.note) if each)

    def _named(self, cells: Cell) -> Cell:
        first, *rest = cells
        if not self.variant:
            return cells
        if first.endswith(")"):
            return (f"{first[:-1]}, {self.variant})", *rest)
        return (f"{first} ({self.variant})", *rest)


@runtime_checkable
class Names(Protocol):
    """The names that one plan gives a domain's runs."""

    def size(self, run: Trained | ExternalCheckpoint) -> str:
        """The model size by which runs stand in one table."""
        ...

    def key(
        self, run: Trained | ExternalCheckpoint, step: int, *, tokens: int | None = None
    ) -> CellKey:
        """tokens: another count than those before finetuning."""
        ...

    def cell(self, run: Run) -> str:
        """The stage's own cell, such as `CD:FLM`; empty where it has none."""
        ...


class Naming:
    """The names that one plan gives its runs, each by its own domain."""

    def __init__(self, runs: Iterable[Run]) -> None:
        groups: dict[str, list[Run]] = {}
        owners: dict[str, domain.Domain] = {}
        for run in runs:
            owner = domain.of(run)
            owners[owner.name] = owner
            groups.setdefault(owner.name, []).append(run)
        self._names = {name: owners[name].names(group) for name, group in groups.items()}

    def _of(self, run: Run) -> Names:
        return self._names[domain.of(run).name]

    def size(self, run: Trained | ExternalCheckpoint) -> str:
        return self._of(run).size(run)

    def key(
        self, run: Trained | ExternalCheckpoint, step: int, *, tokens: int | None = None
    ) -> CellKey:
        return self._of(run).key(run, step, tokens=tokens)

    def cell(self, run: Run) -> str:
        return self._of(run).cell(run)


def seed_of(run: Trained | ExternalCheckpoint) -> int:
    """The replicate: the seed of the lineage's first stage; 0 of a checkpoint from elsewhere."""
    return root(run).seed if isinstance(run, Trained) else 0


def likeness(run: Evaluation) -> str:
    """Equal for evaluations whose scores may be averaged."""
    trained = run.run
    if isinstance(trained, Trained) and not domain.of(trained).in_budget(trained):
        trained = replace(trained, seed=0)  # type: ignore[type-var]  every kind is a dataclass
    return f"{trained.id} at {run.step}"


def duplicates(runs: Iterable[tuple[Key, Evaluation]]) -> dict[Key, str]:
    """What is wrong, in words, of each key (a cell and a seed) whose evaluations are not alike."""
    found: dict[Key, dict[str, list[str]]] = {}
    for key, run in runs:
        found.setdefault(key, {}).setdefault(likeness(run), []).append(run.slug)
    return {
        key: "duplicate cell: "
        + " and ".join(slugs[0] for slugs in kinds.values())
        + " differ and are not averaged"
        for key, kinds in found.items()
        if len(kinds) > 1
    }


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """A line that a plan's report will have. problem: why some of its scores will be holes."""

    suite: str
    size: str
    key: CellKey
    seeds: int
    problem: str = ""


def planned_cells(runs: Iterable[Run]) -> list[PlannedCell]:
    """In the plan's order; known before anything is trained."""
    runs = tuple(runs)
    naming = Naming(runs)
    groups: dict[tuple[str, str, CellKey], list[Evaluation]] = {}
    for run in runs:
        if isinstance(run, Evaluation):
            key = naming.key(run.run, run.step)
            groups.setdefault((run.suite.name, naming.size(run.run), key), []).append(run)
    return [
        PlannedCell(
            suite=suite,
            size=size,
            key=key,
            seeds=len({seed_of(run.run) for run in own}),
            problem="; ".join(duplicates((seed_of(run.run), run) for run in own).values()),
        )
        for (suite, size, key), own in groups.items()
    ]
