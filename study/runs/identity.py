"""A run's canonical form and its id: what the value says, without where it lies. No torch.

A field that is added later may carry a default that means the old behaviour; while it has that
value it is left out of the canonical form, so old ids live on. `SEMANTICS` is raised for a kind
when its code starts to compute something else. A part may carry one too (of its class, or a
property of the value): it enters the canonical form from 2 on, so that only the runs that hold such
a part get another id.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import PurePosixPath
from typing import Any

from study.runs.node import Run
from study.runs.source import Source
from study.runs.suite import Suite


def _holds_float(each: Field[Any]) -> bool:
    """`weight_decay=0` and `weight_decay=0.0` are one run: such a field holds a float."""
    return each.type in ("float", "float | None")


def _declared(each: Field[Any], item: Any) -> Any:
    return float(item) if type(item) is int and _holds_float(each) else item


_PLAIN = frozenset((str, int, bool, type(None)))
_fields = functools.cache(fields)


def semantics_of(value: Any) -> int:
    """What the code here computes for a run or a part: 1 where nothing was ever raised."""
    return getattr(value, "SEMANTICS", 1)


def _semantics(value: Any) -> dict[str, int]:
    found = semantics_of(value)
    return {"semantics": found} if isinstance(value, Run) or found != 1 else {}


def canonical(value: Any) -> Any:
    """The value as plain dicts, lists and scalars; every dataclass carries its class as `kind`,
    runs their semantics, and parts theirs where it was raised.

    A field at its declared default is left out. Raises TypeError on anything that has no canonical
    form.
    """
    if type(value) in _PLAIN:
        return value
    if is_dataclass(value) and not isinstance(value, type):
        form: dict[str, Any] = {"kind": type(value).__name__}
        form |= _semantics(value)
        for each in _fields(type(value)):
            item = _declared(each, getattr(value, each.name))
            if each.default is not MISSING and item == each.default:
                continue
            form[each.name] = canonical(item)
        return form
    if isinstance(value, tuple):
        return [canonical(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise TypeError(f"{value!r} has no canonical form")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{value!r} of type {type(value).__name__} has no canonical form")


def identity(value: Any) -> Any:
    """The canonical form reduced to what can change the result: runs below become their id, slugs
    and file locations go.
    """
    if type(value) in _PLAIN:  # most of a plan's time goes here
        return value
    if is_dataclass(value) and not isinstance(value, type):
        form = {"kind": type(value).__name__} | _semantics(value)
        for name, default, is_float in _identified(type(value)):
            item: Any = getattr(value, name)
            if is_float and type(item) is int:
                item = float(item)
            if default is not MISSING and item == default:
                continue
            if type(item) in _PLAIN:
                form[name] = item
            elif isinstance(item, Run):
                form[name] = item.id
            else:
                form[name] = _suite(item) if isinstance(item, Suite) else identity(item)
        if isinstance(value, Source) and value.uri.startswith("file://"):
            form["uri"] = "file://*" + PurePosixPath(value.uri).suffix
        return form
    if isinstance(value, tuple):
        return [identity(item) for item in value]
    return canonical(value)


@functools.cache
def _identified(owner: type) -> tuple[tuple[str, Any, bool], ...]:
    """(name, default, whether it holds a float) of the fields that enter an identity."""
    return tuple(
        (each.name, each.default, _holds_float(each))
        for each in fields(owner)
        if each.metadata.get("identity", True)
    )


_suites: dict[int, tuple[Suite, Any]] = {}


def _suite(suite: Suite) -> Any:
    """`identity` of a suite, remembered by object: many evaluations share one."""
    known = _suites.get(id(suite))
    if known is None or known[0] is not suite:
        known = _suites[id(suite)] = (suite, identity(suite))
    return known[1]


def digest(value: Any) -> str:
    """sha256 (hex) over `identity(value)` as compact JSON with sorted keys: a run's id."""
    form = json.dumps(identity(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(form.encode()).hexdigest()
