"""The built-in microworld: a generator of English about a small world, in promptsource's format.

Owns the `world://` address space: `documents` (pretraining text, or the documents of associative
recall), `rows` and `templates_yaml` (task families, and recall). Everything is a pure function of
its query. `SEMANTICS` is raised when any of it changes what it gives, which a golden test shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from study.language.world import families, scenes, text
from study.language.world.families import FAMILIES, Family
from study.language.world.templates import templates_yaml

__all__ = ["FAMILIES", "SEMANTICS", "Family", "documents", "rows", "templates_yaml"]

SEMANTICS = 1


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
