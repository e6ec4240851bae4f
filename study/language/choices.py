"""What tells apart a plan's stages of one lineage, model and budget: the choices in which they
differ.

Owns the rule, which is one for every field of a stage's canonical form (a field that comes later is
named by it too), and the short words of some. What most of these stages have needs no name; where
no value has a majority, each is named. Seeds, slugs and steps are no choices: seeds are a cell's
own, and budgets stand beside its name. The model's shape is named by `study.language.cells`. No
torch.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import fields
from typing import Any

from study.language.values.model import Model
from study.language.values.stages import Finetune, Stage, lineage, model_of
from study.runs.identity import identity

_ELSEWHERE = ("kind", "semantics", "seed", "parent", "model", "architecture", "corpus")
"""Named by the lineage, by the model's variant, or not at all; a corpus has its slug."""
_WORDS = {
    "training.optimizer.learning_rate": "lr",
    "training.optimizer.kind": "",
    "training.schedule.kind": "",
    "training.batch_size": "batch size",
    "objective.noise_density": "noise",
    "objective.mean_span": "span",
}
_Place = tuple[tuple[str, ...], Model]


class Choices:
    """The choices that a plan's stages have to be told apart by."""

    def __init__(self, points: Iterable[tuple[Stage, int]]) -> None:
        """points: each stage with a budget at which it ends, is scored or is gone on from."""
        groups: dict[tuple[_Place, int], dict[tuple[Any, ...], Stage]] = {}
        alike: dict[_Place, dict[tuple[Any, ...], set[str]]] = {}
        for stage, tokens in points:
            place, own = _place(stage), _own(stage)
            groups.setdefault((place, tokens), {}).setdefault(own, stage)
            alike.setdefault(place, {}).setdefault(own, set()).add(stage.id)
        self._usual: dict[_Place, dict[str, Any]] = {}
        paths: dict[_Place, dict[str, None]] = {}
        every: dict[_Place, dict[tuple[Any, ...], Stage]] = {}
        for (place, _), group in groups.items():
            paths.setdefault(place, {}).update(dict.fromkeys(_differing(group.values())))
            every[place] = every.get(place, {}) | group
        for place, stages in every.items():
            asked = (path for path in _differing(stages.values()) if not _is_recipe(path))
            for path in (*asked, *paths[place]):
                counts: Counter[Any] = Counter()
                for own, stage in stages.items():
                    counts[_fields(stage).get(path)] += len(alike[place][own])
                self._usual.setdefault(place, {})[path] = _most(counts)

    def of(self, stage: Stage) -> tuple[str, ...]:
        """In words, what is not as in most stages like this one."""
        usual = self._usual.get(_place(stage))
        if not usual:
            return ()
        form = _fields(stage)
        return tuple(
            _words(path, form[path], stage)
            for path in form
            if path in usual and form[path] != usual[path]
        )


def _place(stage: Stage) -> _Place:
    return lineage(stage), model_of(stage)


def _own(stage: Stage) -> tuple[Any, ...]:
    """Equal for stages of equal choices, and cheap: most stages of a plan differ in their seed."""
    return tuple(getattr(stage, name) for name in _chosen(type(stage)))


@functools.cache
def _chosen(kind: type) -> tuple[str, ...]:
    return tuple(
        each.name
        for each in fields(kind)
        if each.name == "corpus" or each.name not in ("slug", *_ELSEWHERE)
    )


def _fields(stage: Stage) -> dict[str, Any]:
    """By path, the plain values of a stage's own choices."""
    form = {name: each for name, each in identity(stage).items() if name not in _ELSEWHERE}
    found = {"corpus": stage.corpus.id} | dict(_flat(form, ""))
    if not isinstance(stage, Finetune):  # a budget's steps follow from its batch
        del found["training.steps"]
    else:  # named by the plan's naming, whether or not two finetunings differ in it alone
        del found["training.dropout"]
    return found


def _flat(form: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, each in form.items():
        here = f"{path}.{name}" if path else name
        if isinstance(each, dict):
            yield from _flat(each, here)
        else:
            yield here, json.dumps(each) if isinstance(each, list) else each


def _is_recipe(path: str) -> bool:
    """Whether a field may follow the budget, as rates and warm-ups do: then it is a choice among
    stages of one budget alone. Objectives, packings and corpora are choices at any.
    """
    return path.partition(".")[0] not in ("objective", "packing", "corpus")


def _differing(group: Collection[Stage]) -> list[str]:
    """Paths that all have, with several values; of two kinds of a part, its kind alone."""
    if len(group) < 2:
        return []
    forms = [_fields(stage) for stage in group]
    shared = [path for path in forms[0] if all(path in form for form in forms)]
    found = [path for path in shared if len({form[path] for form in forms}) > 1]
    kinds = {path.rpartition(".")[0] for path in found if path.endswith(".kind")}
    return [
        path for path in found if path.endswith(".kind") or path.rpartition(".")[0] not in kinds
    ]


def _most(counts: Counter[Any]) -> Any:
    """What most have; no value where two are had as often."""
    (first, most), *rest = counts.most_common(2)
    return first if not rest or rest[0][1] < most else _Nothing


class _Nothing:
    """Equal to no field's value."""


def _words(path: str, value: Any, stage: Stage) -> str:
    if path == "corpus":
        return f"corpus {stage.corpus.slug}"
    name = _WORDS.get(path, path.rpartition(".")[2])
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{name} {text}".strip()
