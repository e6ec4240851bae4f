"""What a domain adds to a report: its words, the style of its cells, what only it can check.

Owns the values by which a domain says this; `eval` asks for nothing else of it. Everything has a
default, with which a report is complete. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from study.runs.cells import Cell
from study.runs.node import Evaluation, Run
from study.runs.suite import Suite, Task, View
from study.show.table import Block, Section

Results = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Words:
    """What tables call what every domain has. scores: the headline's title; stage: what tells a
    domain's stages apart; budget: what cells are matched by; condition: under which a task is
    scored, one and several.
    """

    scores: str = "Scores"
    stage: str = "stage"
    budget: str = "token budget"
    condition: str = "condition"
    conditions: str = "conditions"


def _no_style(cell: Cell) -> tuple[str, str]:
    return "", ""


@dataclass(frozen=True, kw_only=True)
class Style:
    """How figures tell cells apart: a colour and a marker, each key with its words for a legend.

    of: (lineage) -> the keys of its colour and its marker, "" for none. losses: kinds of validation
    losses, in the order of their figure, with their words; kinds are the trait `objective`.
    loss_unit: what all of them are in.
    """

    colours: Mapping[str, str] = field(default_factory=dict)
    markers: Mapping[str, str] = field(default_factory=dict)
    of: Callable[[Cell], tuple[str, str]] = _no_style
    losses: Mapping[str, str] = field(default_factory=dict)
    loss_unit: str = ""


@runtime_checkable
class Overlap(Protocol):
    """One piece of training data against the rows of a suite. corpus: its slug. rows: a table with
    the columns task, index, grams (n-grams of the row, 0 where it is too short to say) and found
    (how many of them the data hold).
    """

    @property
    def corpus(self) -> str: ...
    @property
    def rows(self) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class OverlapSearch:
    """Rows that a model was scored on, in what it was trained on.

    trained_on: (evaluation) -> the prepared data of its lineage, none where unknown.
    read: (data, tasks, store) -> its overlap with the questions of this digest, or in words why
    there is none. caption: what counts as a hit. note: (tasks) -> what else to know, or "".
    """

    trained_on: Callable[[Evaluation], Sequence[Run]]
    read: Callable[..., Overlap | str]
    caption: str
    note: Callable[[Iterable[Task]], str] = lambda tasks: ""


@dataclass(frozen=True, kw_only=True)
class Reporting:
    """What a domain adds to a report.

    notes: what to know of the cells that a `CellKey.note` keeps apart. views: suites' scores
    without some tasks. scoring: (suite, its scores' results.json) -> how they were scored, in
    sentences, each a line. counts: (suites with theirs) -> what was asked, skipped and so on.
    sections: (runs, store) -> what the report says beside. cost_note: what makes costs unequal.
    citation: of the study that is re-run, as BibTeX.
    """

    words: Words = Words()
    style: Style = Style()
    notes: Mapping[str, str] = field(default_factory=dict)
    views: tuple[View, ...] = ()
    overlap: OverlapSearch | None = None
    scoring: Callable[[Suite, Results], Sequence[str]] = lambda suite, results: ()
    counts: Callable[[Sequence[tuple[Suite, Results]]], Sequence[Block]] = lambda scored: ()
    sections: Callable[..., Sequence[Section]] = lambda runs, *, store: ()
    cost_note: str = ""
    citation: str = ""
