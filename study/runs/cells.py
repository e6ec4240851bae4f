"""Which cell of a study a run is: its lineage, budget and model, from its declaration alone.

Owns the names by which claims, tables and costs mean a run, and the model size by which they are
grouped. Reads no file. No torch.

A claim names a cell by its lineage. What a lineage does not say stands in brackets where a plan
needs it, and what most of the plan's runs are needs no name: `ED:MLM (half depth)`, `CD:FLM (ssd)`,
`ND:MLM (positions t5_bias)`, `ND:MTF (dropout 0)`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from study.language import cost
from study.language.variants import shape, variants
from study.runs.run import (
    Evaluation,
    External,
    Finetune,
    Model,
    Pretrain,
    Run,
    Trained,
    lineage,
    model_of,
    root,
    stages,
)

Cell = tuple[str, ...]
"""A lineage such as ("CD:FLM", "CD:MTF"). What a lineage does not say stands in brackets:
("ED:MLM", "ED:MTF (dropout 0)"), ("ND:MLM (positions t5_bias)",)."""

EXTERNAL = "external"


def label(cell: Cell) -> str:
    return " → ".join(cell)


@dataclass(frozen=True, kw_only=True, order=True)
class CellKey:
    """lineage: the cells from pretraining on, or an external checkpoint's slug alone.

    tokens: seen before finetuning, the budget by which cells are matched. variant: what tells the
    model from others of its size, "" where nothing has to.
    """

    lineage: Cell
    tokens: int
    variant: str = ""

    @property
    def name(self) -> Cell:
        """As claims name it: the lineage, with the variant in its first cell."""
        first, *rest = self.lineage
        return (f"{first} ({self.variant})" if self.variant else first, *rest)

    @property
    def label(self) -> str:
        """As people read it, such as `CD:FLM (ssd) → CD:MTF`."""
        return label(self.name)

    @property
    def finetuned(self) -> bool:
        return ":MTF" in self.lineage[-1]

    @property
    def off_objective(self) -> bool:
        """Scored by continuing text, having only learned to fill in spans."""
        return self.lineage[-1].endswith(":MLM")


class Naming:
    """The names that one plan gives its runs."""

    def __init__(self, runs: Iterable[Run]) -> None:
        runs = tuple(runs)
        trained = [each.run if isinstance(each, Evaluation) else each for each in runs]
        own = [each for each in trained if isinstance(each, Trained)]
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

    def size(self, run: Trained | External) -> str:
        """The model size by which runs stand in one table."""
        if isinstance(run, External):
            return EXTERNAL
        model = model_of(run)
        layers = model.layers * (2 if self._half(model) else 1)
        return f"{layers} layers, width {model.d_model}"

    def key(self, run: Trained | External, step: int, *, tokens: int | None = None) -> CellKey:
        """tokens: another count than those before finetuning."""
        if isinstance(run, External):
            return CellKey(lineage=(run.slug,), tokens=0)
        return CellKey(
            lineage=self.lineage(run),
            tokens=tokens_before_finetuning(run, step) if tokens is None else tokens,
            variant=self.variant(model_of(run)),
        )

    def lineage(self, run: Trained) -> Cell:
        """The lineage, with a finetuning's dropout where it is not what most have."""
        *first, last = lineage(run)
        if isinstance(run, Finetune) and run.training.dropout != self._dropout:
            last = f"{last} (dropout {run.training.dropout:g})"
        return (*first, last)

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


def _main(trained: Iterable[Trained]) -> set[Model]:
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


def tokens_before_finetuning(run: Trained, step: int) -> int:
    """Tokens that the text stages of a lineage saw, each as far as the next one starts from it."""
    return sum(
        cost.tokens(stage) * taken // stage.training.steps
        for stage, taken in taken_steps(run, step)
        if not isinstance(stage, Finetune)
    )


def taken_steps(run: Trained, step: int) -> list[tuple[Trained, int]]:
    """Each stage of the lineage with the own steps that count for this checkpoint."""
    line = list(stages(run))
    after = [child.parent_step for child in line[1:] if not isinstance(child, Pretrain)]
    return list(zip(line, [*after, step], strict=True))


def seed_of(run: Trained | External) -> int:
    """The replicate: the seed of the pretraining; 0 of a checkpoint from elsewhere."""
    return 0 if isinstance(run, External) else root(run).seed
