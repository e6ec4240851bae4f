"""Measured times of layers as values and as a file beside a store. No torch.

Owns what `study mixers --measure` writes and a report reads; `study.language.model.timing`
measures.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from study.store.publish import publish_file

FILE = "mixer_times.json"


@dataclass(frozen=True, kw_only=True)
class Times:
    """model: the canonical form of the model that was measured, with all its layers. seconds: of
    one layer (two in an encoder-decoder, one a side) at each of the lengths, the median of repeats.
    """

    model: dict
    lengths: tuple[int, ...]
    seconds: tuple[float, ...]
    machine: str
    threads: int
    backend: str


def save(found: Iterable[Times], store: Path) -> Path:
    """Write the file anew; its path."""
    store.mkdir(parents=True, exist_ok=True)
    text = json.dumps([asdict(each) for each in found], indent=1, sort_keys=True)
    publish_file(store / FILE, (text + "\n").encode())
    return store / FILE


def load(store: Path) -> tuple[Times, ...]:
    """What was measured beside this store; empty where nothing was. Raises ValueError naming a file
    that is not of this form.
    """
    path = store / FILE
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        found = [Times(**entry) for entry in entries]
    except FileNotFoundError:
        return ()
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: not a file of `study mixers --measure` ({error})") from error
    return tuple(
        replace(each, lengths=tuple(each.lengths), seconds=tuple(each.seconds)) for each in found
    )
