"""Finding runs and sources among the fields of a value, at any depth. No torch."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any, TypeVar, get_args, get_origin

from study.runs import domain
from study.runs.node import Run

_T = TypeVar("_T")


def held(value: Any, wanted: type[_T]) -> Iterator[_T]:
    """What of the wanted class the value's fields hold, in their order. Another run's fields are
    its own: the walk ends there.
    """
    for name in _branches(type(value), wanted, tuple(domain.registered())):
        yield from _inside(getattr(value, name), wanted)


def _inside(item: Any, wanted: type[_T]) -> Iterator[_T]:
    if isinstance(item, wanted):
        yield item
    elif isinstance(item, tuple):
        for each in item:
            yield from _inside(each, wanted)
    elif is_dataclass(item) and not isinstance(item, Run):
        yield from held(item, wanted)


@functools.cache
def _branches(owner: type, wanted: type, known: tuple[str, ...]) -> tuple[str, ...]:
    """The fields that may hold it by their declared types: a plan has thousands of values whose
    other fields need not be looked at. known: the domains, by which bases
    are resolved.
    """
    del known
    found = domain.types_of(owner).items()
    return tuple(name for name, hint in found if _may_hold(hint, wanted, above=(owner,)))


def _may_hold(hint: Any, wanted: type, *, above: tuple[type, ...]) -> bool:
    for member in domain.members(hint):
        if get_origin(member) is tuple:
            if any(_may_hold(each, wanted, above=above) for each in get_args(member)):
                return True
        elif isinstance(member, type):
            if issubclass(member, wanted):
                return True
            if is_dataclass(member) and not issubclass(member, Run) and member not in above:
                inner = domain.types_of(member).values()
                if any(_may_hold(each, wanted, above=(*above, member)) for each in inner):
                    return True
    return False
