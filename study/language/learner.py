"""A run's own batches, by its own step, and its held-out batches.

Owns where the lineage's data stream goes on: a child reads the text after its parent's last token,
whatever the two stages' chunk lengths are. What a batch holds is `study.language.data.batches`'
part.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from study.language.data.batches import PromptedBatches, Recipe, TextBatches, validation_batches
from study.language.data.corpus import OpenCorpus
from study.language.data.mixture import ExampleShards
from study.language.data.shards import TokenShards
from study.language.layout import Batch
from study.language.objectives import raw_length, sentinel_ids
from study.language.values.objective import Prompted
from study.language.values.stages import Finetune, Stage, model_of
from study.runs.node import stages, steps_before
from study.train.loop import Batches

VALIDATION_BATCHES = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class _Text:
    source: TextBatches
    first_chunk: int

    def batch(self, step: int) -> Batch:
        size = self.source.recipe.batch_size
        low = self.first_chunk + step * size
        return self.source.chunks(low, low + size)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Prompted:
    source: PromptedBatches
    first_step: int

    def batch(self, step: int) -> Batch:
        return self.source.batch(self.first_step + step)


def tokens_read_before(run: Stage) -> int:
    """Tokens of this run's corpus that the stages above it have read."""
    return sum(
        child.parent_step * stage.training.batch_size * raw_length(stage.objective)  # type: ignore[union-attr]
        for stage, child in pairwise(stages(run))
        if stage.corpus == run.corpus
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class RunBatches:
    """batches: by the run's own step. validation: fixed, empty without held-out data. left_out:
    what of a mixture was too long for the objective's row, by part; nothing is ever cut.
    """

    batches: Batches
    validation: list[Batch]
    left_out: dict[str, dict[str, int]]


def open_batches(run: Stage, *, corpus: OpenCorpus) -> RunBatches:
    """All batches of a run. Raises ValueError where its corpus holds another form of data."""
    tokenizer = corpus.tokenizer
    recipe = Recipe(
        architecture=model_of(run).architecture,
        objective=run.objective,
        packing=None if isinstance(run, Finetune) else run.packing,
        batch_size=run.training.batch_size,
        seed=run.seed,
        sentinels=sentinel_ids(vocab_size=tokenizer.vocab_size, sentinels=tokenizer.num_sentinels),
    )
    match run.objective, corpus.train:
        case Prompted() as objective, ExampleShards() as examples:
            return _prompted_feed(run, examples, corpus=corpus, objective=objective, recipe=recipe)
        case Prompted(), _:
            form, legal = "text", "FullLM, PrefixLM, SpanCorruption"
        case _, ExampleShards():
            form, legal = "a mixture", "Prompted"
        case _, text:
            return _text_batches(run, text, corpus=corpus, recipe=recipe)
    raise ValueError(
        f"{run.slug!r} has the objective {type(run.objective).__name__}, but its corpus "
        f"{run.corpus.slug!r} holds {form}; legal: {legal}"
    )


def _text_batches(
    run: Stage, text: TokenShards, *, corpus: OpenCorpus, recipe: Recipe
) -> RunBatches:
    assert not isinstance(run.objective, Prompted), "told apart in open_batches"
    # Up to the next whole chunk: less than one chunk is skipped where the lengths differ.
    first = -(-tokens_read_before(run) // raw_length(run.objective))
    held_out = corpus.held_out
    assert isinstance(held_out, TokenShards), "both parts of a corpus have one form"
    empty = held_out.num_tokens == 0
    return RunBatches(
        batches=_Text(source=TextBatches(text, recipe=recipe), first_chunk=first),
        validation=[]
        if empty
        else validation_batches(held_out, recipe=recipe, count=VALIDATION_BATCHES),
        left_out={},
    )


def _prompted_feed(
    run: Stage,
    examples: ExampleShards,
    *,
    corpus: OpenCorpus,
    objective: Prompted,
    recipe: Recipe,
) -> RunBatches:
    train, counts = examples.within(objective.inputs, objective.targets)
    held_out = corpus.held_out
    assert isinstance(held_out, ExampleShards), "both parts of a corpus have one form"
    validation, left_out = [], {"train": counts}
    if held_out.num_examples:
        fitting, left_out["held_out"] = held_out.within(objective.inputs, objective.targets)
        validation = validation_batches(fitting, recipe=recipe, count=VALIDATION_BATCHES)
    return RunBatches(
        batches=_Prompted(
            source=PromptedBatches(train, recipe=recipe), first_step=steps_before(run)
        ),
        validation=validation,
        left_out=left_out,
    )
