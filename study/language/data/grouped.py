"""Items of a stream in lists that are large enough, for work that costs a call each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def grouped(
    items: Iterable[Item], *, size: Callable[[Item], int], enough: int
) -> Iterator[list[Item]]:
    """As many items in a row as have a size of `enough` together; the last ones have less."""
    group: list[Item] = []
    total = 0
    for item in items:
        group.append(item)
        total += size(item)
        if total >= enough:
            yield group
            group, total = [], 0
    if group:
        yield group
