"""The sources of a plan on this machine: what is here, what is not, and getting it.

Owns which sources a run reads, so that a cluster's nodes need no network: the cache is filled where
there is one. How a source is read is `study.data.sources`'. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from study import pins
from study.data import sources
from study.data.sources import Access
from study.run import External, Run, Source


def sources_of(runs: Iterable[Run]) -> tuple[Source, ...]:
    """Every content that the runs themselves read, each once, but for checkpoints from elsewhere,
    which are directories.
    """
    named = pins.sources(run for run in runs if not isinstance(run, External))
    return tuple({(each.uri, each.digest): each for each in named}.values())


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
