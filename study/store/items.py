"""What every score publishes: its table of single items and its results. Imports no model.

Owns the columns that a score of any domain has (a domain's measures name the others,
`study.runs.measure`), and the files of one score: `items.parquet` and `results.json`, whole or not
there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from study.store.publish import CorruptError, publish_directory, verify

REQUIRED = ("task", "condition", "index", "group", "valid")
"""condition: under which the task was scored (a prompt, a resolution, a lookahead), empty where it
has but one. index: of the item in its task, from 0. group: items that are drawn together when they
are resampled. valid: whether the item could be scored. A column `twins` may say that the answers
within a group are opposite, so that what ignores the question gets exactly one half of them."""


def publish(table: pa.Table, results: Mapping[str, Any], scores: Path) -> None:
    """Into the folder of this very score (`RunDirectory.scores`).

    results: scorer_version, scoring (the rule's options), digests (of `weights`, `tasks` and
    whatever else two scores must share to be compared), tasks: by any name, entries with `task` and
    what was counted (`skipped`, `truncated`, `ties`, `invalid`), if anything.
    """

    def write(aside: Path) -> None:
        pq.write_table(table, aside / "items.parquet", compression="zstd")
        text = json.dumps(results, indent=1, sort_keys=True, allow_nan=False)
        (aside / "results.json").write_text(text + "\n", encoding="utf-8")

    publish_directory(scores, write)


def is_published(scores: Path, *, warn: Callable[[str], None]) -> bool:
    """Whether these very scores are there, whole."""
    if not scores.exists():
        return False
    try:
        verify(scores)
    except CorruptError as error:
        warn(f"scores are made again: {error}")
        return False
    return True


def read(scores: Path) -> tuple[pa.Table, dict[str, Any]]:
    """Items and results as published: in a domain's own columns."""
    results = json.loads((scores / "results.json").read_text(encoding="utf-8"))
    return pq.read_table(scores / "items.parquet"), results


def checked(table: pa.Table) -> pa.Table:
    """The table, or ValueError where it lacks a column that every score has."""
    if missing := [name for name in REQUIRED if name not in table.column_names]:
        raise ValueError(
            f"items without the columns {', '.join(missing)}; legal: {', '.join(REQUIRED)} and "
            "those of the domain's measures"
        )
    return table
