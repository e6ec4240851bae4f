"""A table of declared columns: Markdown for people, with the same results as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

Line = TypeVar("Line")
Column = Callable[[Line], str]


@dataclass(frozen=True, kw_only=True)
class Table(Generic[Line]):
    """Columns by their heads. place: what was declared. measured: what was found, of which the
    first says `why` there is nothing where there is not.
    """

    place: Mapping[str, Column[Line]]
    measured: Mapping[str, Column[Line]]
    why: Column[Line]

    def head(self) -> str:
        heads = [*self.place, *self.measured]
        return f"{_line(heads)}\n{_line(['---'] * len(heads))}"

    def line(self, given: Line) -> str:
        why = self.why(given)
        found = [column(given) for column in self.measured.values()] if not why else [why]
        found += [""] * (len(self.measured) - len(found))
        return _line([*(column(given) for column in self.place.values()), *found])

    def markdown(self, lines: Iterable[Line]) -> str:
        return "\n".join([self.head(), *map(self.line, lines)])


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def write(path: Path, markdown: str, found: Any) -> None:
    """path: the Markdown's; the JSON lies beside it, in lower case."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(markdown)
    json_beside(path).write_text(json.dumps(found, indent=1) + "\n")


def json_beside(path: Path) -> Path:
    return path.with_name(f"{path.stem.lower()}.json")
