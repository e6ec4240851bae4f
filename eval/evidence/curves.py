"""Validation losses as runs wrote them; a damaged event file is a hole, not the end of a report."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from study.runs.run import Run, Trained
from study.store.directory import RunDirectory, Store
from study.store.events import read_curve


def validations(run: Trained, *, store: Store) -> tuple[dict[str, Any], ...]:
    """The validation events that count, none where the file is damaged (`damaged` tells)."""
    try:
        return read_curve(RunDirectory(store.directory(run)).events).validations
    except ValueError:
        return ()


def damaged(runs: Iterable[Run], *, store: Store) -> list[tuple[str, str]]:
    """(run, what is wrong) of every event file that cannot be read."""
    found = []
    for run in runs:
        if not isinstance(run, Trained):
            continue
        try:
            read_curve(RunDirectory(store.directory(run)).events)
        except ValueError as error:
            found.append((run.slug, str(error)))
    return found
