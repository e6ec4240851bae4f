"""Which scores of one cell and seed may be averaged.

Owns the refusal of duplicates: only finetunings that differ in nothing but their own seed are one
cell's. Anything else under one name is two cells
that a plan's names do not tell apart, and their mean would be of unlike things.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import replace
from typing import TypeVar

from study.runs.run import Evaluation, Finetune, run_id

Key = TypeVar("Key", bound=Hashable)


def likeness(run: Evaluation) -> str:
    """Equal for evaluations whose scores may be averaged."""
    trained = run.run
    if isinstance(trained, Finetune):
        trained = replace(trained, seed=0)
    return f"{run_id(trained)} at {run.step}"


def duplicates(runs: Iterable[tuple[Key, Evaluation]]) -> dict[Key, str]:
    """What is wrong, in words, of each key (a cell and a seed) whose evaluations are not alike."""
    found: dict[Key, dict[str, list[str]]] = {}
    for key, run in runs:
        found.setdefault(key, {}).setdefault(likeness(run), []).append(run.slug)
    return {
        key: "duplicate cell: "
        + " and ".join(slugs[0] for slugs in kinds.values())
        + " differ and are not averaged"
        for key, kinds in found.items()
        if len(kinds) > 1
    }
