"""Which cell of a study a language run is, from its declaration alone. No torch.

Owns the names that a plan gives its language runs. A claim names a cell by its lineage. What a
lineage does not say stands in brackets where a plan needs it, and what most of the plan's runs are
needs no name: `ED:MLM (half depth)`, `CD:FLM (ssd)`, `ND:MLM (positions t5_bias)`,
`ND:MTF (dropout 0)`. Models of equal width and depth are told apart by their mixer, then by
whatever else differs.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, replace

from study.language import cost
from study.language.choices import Choices
from study.language.values.model import Model
from study.language.values.objective import objective_short
from study.language.values.stages import External, Finetune, Stage, cell, model_of
from study.runs.cells import EXTERNAL, Cell, CellKey, CellStage
from study.runs.domain import ValidationTarget
from study.runs.node import Evaluation, ExternalCheckpoint, Run, Trained, stages, taken_steps

BEFORE = CellStage(place=0, name="before finetuning", short="before")
AFTER = CellStage(place=1, name="after finetuning", short="after")
OFF = "off-objective"
_NAMED_ELSEWHERE = ("architecture", "layers", "d_model", "mixer")


class LanguageNames:
    """The names that one plan gives its language runs (`study.runs.cells.Names`)."""

    def __init__(self, runs: Iterable[Run]) -> None:
        runs = self._runs = tuple(runs)
        trained = [each.run if isinstance(each, Evaluation) else each for each in runs]
        own = [each for each in trained if isinstance(each, Stage)]
        self._variants = variants(runs)
        self._main = _main(own)
        self._decoders = {
            (model.layers, model.d_model)
            for model in map(model_of, own)
            if model.architecture != "encoder_decoder"
        }
        dropouts = Counter(run.training.dropout for run in own if isinstance(run, Finetune))
        # the larger count, then the larger dropout: what most finetunings do needs no name
        self._dropout = max(dropouts, key=lambda each: (dropouts[each], each), default=0.0)

    @functools.cached_property
    def _choices(self) -> Choices:
        return Choices(_points(self._runs))

    def size(self, run: Trained | ExternalCheckpoint) -> str:
        """The model size by which runs stand in one table."""
        if not isinstance(run, Stage):
            return EXTERNAL
        model = model_of(run)
        layers = model.layers * (2 if self._half(model) else 1)
        return f"{layers} layers, width {model.d_model}"

    def key(
        self, run: Trained | ExternalCheckpoint, step: int, *, tokens: int | None = None
    ) -> CellKey:
        """tokens: another count than those before finetuning."""
        if not isinstance(run, Stage):
            return key_of((run.slug,), tokens=0)
        return key_of(
            self.lineage(run),
            tokens=tokens_before_finetuning(run, step) if tokens is None else tokens,
            variant=self.variant(model_of(run)),
        )

    def cell(self, run: Run) -> str:
        """The stage's own cell, such as `CD:FLM`; an external checkpoint's is its architecture."""
        subject = run.run if isinstance(run, Evaluation) else run
        if isinstance(subject, External):
            return subject.architecture
        return cell(subject) if isinstance(subject, Stage) else ""

    def lineage(self, run: Stage) -> tuple[str, ...]:
        """The lineage, each stage with what is not as in most stages like it."""
        return tuple(self._stage(stage) for stage in stages(run) if isinstance(stage, Stage))

    def _stage(self, stage: Stage) -> str:
        parts = list(self._choices.of(stage))
        if isinstance(stage, Finetune) and stage.training.dropout != self._dropout:
            parts.append(f"dropout {stage.training.dropout:g}")
        return f"{cell(stage)} ({', '.join(parts)})" if parts else cell(stage)

    def variant(self, model: Model) -> str:
        parts = ["half depth"] if self._half(model) else []
        own = shape(model)
        if (name := self._variants[own]) and own not in self._main:
            parts.append(name)
        return ", ".join(parts)

    def _half(self, model: Model) -> bool:
        """An encoder-decoder with as many layers in both stacks together as the plan's decoders of
        its width have, where none has as many as one stack.
        """
        size = (model.layers, model.d_model)
        twice = (2 * model.layers, model.d_model)
        return (
            model.architecture == "encoder_decoder"
            and size not in self._decoders
            and twice in self._decoders
        )


def key_of(lineage: Cell, *, tokens: int, variant: str = "") -> CellKey:
    """The key of a lineage of language. A model that only learned to fill in spans is scored off
    its objective; a finetuned one stands in the line of what it was, if its architecture and
    finetuning are the plan's usual ones.
    """
    *before, last = lineage
    bare = last.partition(" ")[0]
    finetuned = bare.endswith(":MTF")
    usual = bool(before) and last == f"{before[-1][:2]}:MTF"
    return CellKey(
        lineage=lineage,
        tokens=tokens,
        variant=variant,
        stage=AFTER if finetuned else BEFORE,
        note=OFF if bare.endswith(":MLM") else "",
        beside=tuple(before) if finetuned and usual else (),
    )


def _points(runs: Iterable[Run]) -> Iterable[tuple[Stage, int]]:
    """Every stage at every budget at which the plan scores it, ends it or goes on from it."""
    for run in runs:
        subject = run.run if isinstance(run, Evaluation) else run
        if not isinstance(subject, Stage):
            continue
        step = run.step if isinstance(run, Evaluation) else subject.training.steps
        for stage, taken in taken_steps(subject, step):
            if isinstance(stage, Stage):
                yield stage, tokens_before_finetuning(stage, taken)


def _main(trained: Iterable[Stage]) -> set[Model]:
    """Of the attention models of one width and depth, the one that most runs have: it needs no
    name. None where two have as many.
    """
    groups: dict[tuple[int, int], Counter[Model]] = {}
    for run in trained:
        model = shape(model_of(run))
        if model.mixer == "attention":
            groups.setdefault((model.layers, model.d_model), Counter())[model] += 1
    found = set()
    for group in groups.values():
        (first, most), *rest = group.most_common(2)
        if not rest or rest[0][1] < most:
            found.add(first)
    return found


def tokens_before_finetuning(run: Stage, step: int) -> int:
    """Tokens that the text stages of a lineage saw, each as far as the next one starts from it."""
    return sum(
        cost.tokens(stage) * taken // stage.training.steps
        for stage, taken in taken_steps(run, step)
        if not isinstance(stage, Finetune)
    )


def traits(run: Run) -> Mapping[str, str]:
    """What `study plan` says of a run: its architecture, objective and mixer."""
    subject = run.run if isinstance(run, Evaluation) else run
    if isinstance(subject, External):
        return {"architecture": subject.architecture}
    if not isinstance(subject, Stage):
        return {}
    model = model_of(subject)
    return {
        "architecture": model.architecture,
        "objective": objective_short(subject.objective),
        "mixer": model.mixer,
    }


def validation_target(run: Stage) -> ValidationTarget:
    """Held-out text, objective, packing and rows a batch say which tokens are predicted."""
    packing = None if isinstance(run, Finetune) else asdict(run.packing)
    objective, size = type(run.objective).__name__, run.training.batch_size
    return ValidationTarget(
        form=[run.corpus.id, objective, asdict(run.objective), packing, size],
        description=f"{objective} of {run.corpus.slug}",
    )


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


def _trained(runs: Iterable[Run]) -> Iterable[Stage]:
    for run in runs:
        subject = run.run if isinstance(run, Evaluation) else run
        if isinstance(subject, Stage):
            yield subject


def _parts(model: Model, *, others: list[Model]) -> Iterable[str]:
    if model.mixer != "attention":
        yield model.mixer
    for each in fields(model):
        if each.name in _NAMED_ELSEWHERE:
            continue
        if len({getattr(other, each.name) for other in others}) > 1:
            yield f"{each.name} {getattr(model, each.name)}"
