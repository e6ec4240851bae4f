"""The built-in microworld: a generator of English about a small world, in promptsource's format.

Owns the `world://` address space: `documents` (pretraining text, or the documents of associative
recall), `rows` and `templates_yaml` (task families, and recall). Everything is a pure function of
its query. `SEMANTICS` is raised when any of it changes what it gives, which a golden test shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from study.language.world import families, scenes, text
from study.language.world.families import FAMILIES, Family
from study.language.world.templates import templates_yaml
from study.runs.source import Source

__all__ = [
    "FAMILIES",
    "SEMANTICS",
    "Family",
    "documents",
    "read",
    "read_text",
    "rows",
    "templates_yaml",
]

SEMANTICS = 1


def read(source: Source) -> Iterator[dict[str, Any]]:
    """The rows of a source: documents under the column `text`, or a family's."""
    kind, name, query = _asked(source)
    match kind:
        case "text":
            yield from ({"text": each} for each in documents(query, name=name))
        case "rows":
            yield from rows(name, query)
        case _:
            raise ValueError(
                f"source {source.uri!r}: legal: world://text[/recall]?…, world://rows/FAMILY?…"
            )


def read_text(source: Source) -> str:
    """A family's templates.yaml."""
    kind, name, _ = _asked(source)
    if kind != "templates":
        raise ValueError(f"source {source.uri!r}: legal: world://templates/FAMILY")
    return templates_yaml(name)


def _asked(source: Source) -> tuple[str, str, dict[str, str]]:
    """What the URI asks for: kind, name and query."""
    if source.digest != f"world:{SEMANTICS}":
        raise ValueError(
            f"source {source.uri!r}: digest {source.digest!r}, but the generator here is "
            f"'world:{SEMANTICS}'"
        )
    parts = urlsplit(source.uri)
    return parts.netloc, parts.path.strip("/"), dict(parse_qsl(parts.query))


def documents(query: dict[str, str], *, name: str = "") -> Iterator[str]:
    """Pretraining documents of the microworld, or of what `name` says: `documents` (how many) and
    `seed`; of `recall` also `pairs` (in each document).
    """
    match name:
        case "":
            number, seed = _numbers(query, "documents", "seed")
            return text.documents(number, seed=seed)
        case "recall":
            number, pairs, seed = _numbers(query, "documents", "pairs", "seed")
            return scenes.documents(number, pairs=pairs, seed=seed)
        case _:
            raise ValueError(
                f"world has no text {name!r}; legal: world://text, world://text/recall"
            )


def rows(family: str, query: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Rows of a task family: `items` (how many; even, since they come in twins) and `seed`; of
    `recall`, whose rows stand alone: also `pairs`.
    """
    if family == "recall":
        items, pairs, seed = _numbers(query, "items", "pairs", "seed")
        return scenes.rows(items, pairs=pairs, seed=seed)
    if family not in FAMILIES:
        legal = ", ".join((*FAMILIES, "recall"))
        raise ValueError(f"world has no family {family!r}; legal: {legal}")
    items, seed = _numbers(query, "items", "seed")
    if items % 2:
        raise ValueError(f"world rows: items={items}; legal: an even number, rows come in twins")
    return families.rows(FAMILIES[family], items=items, seed=seed)


def _numbers(query: dict[str, str], *names: str) -> list[int]:
    if set(query) != set(names):
        raise ValueError(f"world query {query!r}; legal: exactly the keys {', '.join(names)}")
    for name in names:
        if not query[name].isdecimal():
            raise ValueError(f"world query {name}={query[name]!r}; legal: a natural number")
    return [int(query[name]) for name in names]
