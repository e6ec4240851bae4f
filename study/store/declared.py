"""What was declared before results existed: one small file beside the store for each declaration.

Owns the digest of a declaration, its record, and the question whether it came first. What it says
is `eval.claims.claim`'; here it is data. A record lists the runs of the store that were sealed
when it was made, so no clock is asked: a declaration is *post hoc* for a plan where a run that it
looks at is among them, or where it was never recorded and such a run is sealed now. A record is
written once and never over. No torch.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from study.runs.node import Run
from study.runs.plan import Sweep, claims
from study.store.directory import Store
from study.store.publish import publish_file

FOLDER = "declared"


def digest(values: Iterable[Any]) -> str:
    """sha256 over dataclass values as data: two equal digests declared the same."""
    form = [asdict(value) for value in values]
    text = json.dumps(form, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def record_claims(sweep: Sweep, *, store: Store) -> list[str]:
    """Record each claim of a sweep, before anything of it is scored."""
    return record((digest((claim,)) for claim in claims(sweep)), store=store)


def record(digests: Iterable[str], *, store: Store) -> list[str]:
    """Record what was not recorded before, with the runs that are sealed now; the new ones."""
    folder = store.root / FOLDER
    new = [name for name in dict.fromkeys(digests) if not _path(store, name).exists()]
    if not new:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"sealed_before": _sealed(store)}, indent=1) + "\n"
    for name in new:
        publish_file(_path(store, name), text.encode())
    return new


def post_hoc(name: str, runs: Iterable[Run], *, store: Store) -> bool:
    """Whether the declaration of this digest came after the first of these runs was sealed.

    Raises ValueError naming a record that cannot be read.
    """
    path = _path(store, name)
    try:
        before = set(json.loads(path.read_text(encoding="utf-8"))["sealed_before"])
    except FileNotFoundError:
        return any((store.directory(run) / "done.json").exists() for run in runs)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a record of a declaration ({error!r})") from error
    return any(run.id[:12] in before for run in runs)


def _path(store: Store, name: str) -> Path:
    return store.root / FOLDER / f"{name}.json"


def _sealed(store: Store) -> list[str]:
    """The id parts of all runs of the store that are sealed."""
    found = []
    for entry in os.scandir(store.root):
        _, mark, short = entry.name.rpartition("--")
        if mark and (Path(entry.path) / "done.json").exists():
            found.append(short)
    return sorted(found)
