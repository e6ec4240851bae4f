"""What a run is, how it is planned, trained and stored. From Python: `study.load`, `study.run`,
`study.scores`. Nothing is imported before one of them is asked for, so that commands start at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from study.commands.python import load as load
    from study.commands.python import run as run
    from study.commands.python import scores as scores


def __getattr__(name: str) -> object:
    if name not in ("load", "run", "scores"):
        raise AttributeError(f"module 'study' has no attribute {name!r}")
    from study.commands import python

    return getattr(python, name)
