"""What tells models of one plan apart that have equal width and depth: their mixer, then whatever
else differs. No torch.

Owns the short name that a cell gets for that, "" for the one attention model that most plans have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace

from study.runs.run import Evaluation, Model, Run, Trained, model_of

_NAMED_ELSEWHERE = ("architecture", "layers", "d_model", "mixer")


def shape(model: Model) -> Model:
    """The model without its architecture, which a cell's lineage names."""
    return replace(model, architecture="causal_decoder")


def variants(runs: Iterable[Run]) -> Mapping[Model, str]:
    """A name for every shape among the plan's models, different where width and depth are equal.

    A mixer other than attention is always named. Further fields are named where a mixer has several
    shapes of that width and depth, and only those fields that differ among these.
    """
    shapes = dict.fromkeys(shape(model_of(run)) for run in _trained(runs))
    groups: dict[tuple[int, int, str], list[Model]] = {}
    for each in shapes:
        groups.setdefault((each.layers, each.d_model, each.mixer), []).append(each)
    return {
        each: ", ".join(_parts(each, others=group)) for group in groups.values() for each in group
    }


def _trained(runs: Iterable[Run]) -> Iterable[Trained]:
    for run in runs:
        subject = run.run if isinstance(run, Evaluation) else run
        if isinstance(subject, Trained):
            yield subject


def _parts(model: Model, *, others: list[Model]) -> Iterable[str]:
    if model.mixer != "attention":
        yield model.mixer
    for each in fields(model):
        if each.name in _NAMED_ELSEWHERE:
            continue
        if len({getattr(other, each.name) for other in others}) > 1:
            yield f"{each.name} {getattr(model, each.name)}"
