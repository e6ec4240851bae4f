"""The sources of a plan on this machine: what is here, what is not, and getting it.

Owns which sources a run reads, so that a cluster's nodes need no network: the cache is filled where
there is one. How a source is read is `study.sources.content`'. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from study.runs.node import ExternalCheckpoint, Run
from study.runs.source import Source
from study.sources import content, pins
from study.sources.content import Access
from study.sources.hub import snapshot


def sources_of(runs: Iterable[Run]) -> tuple[Source, ...]:
    """Every content that the runs themselves read, each once, but for checkpoints from elsewhere,
    which are directories (`checkpoints_of`).
    """
    named = pins.sources(run for run in runs if not isinstance(run, ExternalCheckpoint))
    return tuple({(each.uri, each.digest): each for each in named}.values())


def checkpoints_of(runs: Iterable[Run]) -> tuple[Source, ...]:
    """The checkpoints that the hub has, each once; those of a data directory are there or not."""
    named = [run.source for run in runs if isinstance(run, ExternalCheckpoint)]
    return tuple(dict.fromkeys(each for each in named if each.uri.startswith("hf://")))


def lacking(runs: Iterable[Run], *, access: Access) -> list[str]:
    """`uri: why` of every source that a machine without a network could not read. Quick: contents
    are checked when they are read.
    """
    runs, found = tuple(runs), []
    for source in checkpoints_of(runs):
        try:
            snapshot(source, cache=access.cache, offline=True)
        except ValueError as error:
            found.append(f"{source.uri}: {error}")
    for source in sources_of(runs):
        why = content.lacking(source, access=access)
        if why is not None:
            found.append(f"{source.uri}: {why}")
    return found


def fetch(runs: Iterable[Run], *, access: Access, say: Callable[[str], None]) -> int:
    """Bring every source here, and check it where a check does not read it twice; how many there
    are. Raises ValueError naming the first that can't be had.
    """
    runs = tuple(runs)
    wanted, checkpoints = sources_of(runs), checkpoints_of(runs)
    for source in wanted:
        say(f"{source.uri}: {content.fetch(source, access=access)}")
    for source in checkpoints:
        found = snapshot(source, cache=access.cache, offline=access.offline)
        say(f"{source.uri}: {found}")
    return len(wanted) + len(checkpoints)
