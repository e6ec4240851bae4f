"""The sources of a plan on this machine: what is here, what is not, and getting it.

Owns which sources a run reads, so that a cluster's nodes need no network: the cache is filled where
there is one. How a source is read is `study.data.sources`'. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from typing import Any

from study.data import sources
from study.data.sources import Access
from study.run import KINDS, External, Run, Source


def sources_of(runs: Iterable[Run]) -> tuple[Source, ...]:
    """Every content that the runs themselves read, each once, but for checkpoints from elsewhere,
    which are directories.
    """
    seen: dict[tuple[str, str], Source] = {}
    for run in runs:
        if not isinstance(run, External):
            for each in fields(run):
                _collect(getattr(run, each.name), seen)
    return tuple(seen.values())


def lacking(runs: Iterable[Run], *, access: Access) -> list[str]:
    """`uri: why` of every source that a machine without a network could not read. Quick: contents
    are checked when they are read.
    """
    found = []
    for source in sources_of(runs):
        why = sources.lacking(source, access=access)
        if why is not None:
            found.append(f"{source.uri}: {why}")
    return found


def fetch(runs: Iterable[Run], *, access: Access, say: Callable[[str], None]) -> int:
    """Bring every source here, and check it where a check does not read it twice; how many there
    are. Raises ValueError naming the first that can't be had.
    """
    wanted = sources_of(runs)
    for source in wanted:
        say(f"{source.uri}: {sources.fetch(source, access=access)}")
    return len(wanted)


def _collect(value: Any, seen: dict[tuple[str, str], Source]) -> None:
    """Add the sources among a value's fields; those of other runs are their own affair."""
    if isinstance(value, Source):
        seen.setdefault((value.uri, value.digest), value)
    elif isinstance(value, tuple):
        for each in value:
            _collect(each, seen)
    elif is_dataclass(value) and type(value).__name__ not in KINDS:
        for each in fields(value):
            _collect(getattr(value, each.name), seen)
