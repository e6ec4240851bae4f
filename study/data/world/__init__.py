"""The built-in microworld: a generator of English about a small world, in promptsource's format.

Owns the `world://` address space: `documents` (pretraining text), `rows` and `templates_yaml` (task
families). Everything is a pure function of its query. `SEMANTICS` is raised when any of it changes
what it gives, which a golden test shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from study.data.world import families, text
from study.data.world.families import FAMILIES, Family
from study.data.world.templates import templates_yaml

__all__ = ["FAMILIES", "SEMANTICS", "Family", "documents", "rows", "templates_yaml"]

SEMANTICS = 1


def documents(query: dict[str, str]) -> Iterator[str]:
    """Pretraining documents: `documents` (how many) and `seed`."""
    number, seed = _numbers(query, "documents", "seed")
    return text.documents(number, seed=seed)


def rows(family: str, query: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Rows of a task family: `items` (how many; even, since they come in twins) and `seed`."""
    if family not in FAMILIES:
        raise ValueError(f"world has no family {family!r}; legal: {', '.join(FAMILIES)}")
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
