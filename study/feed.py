"""A run's own batches, by its own step, and its held-out batches.

Owns where the lineage's data stream goes on: a child reads the text after its parent's last token,
whatever the two stages' chunk lengths are. What a batch holds is `study.data.batches`' part.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from study.data.batches import PromptedBatches, Recipe, TextBatches, validation_batches
from study.data.corpus import OpenCorpus
from study.data.mixture import ExampleShards
from study.data.shards import TokenShards
from study.layout import Batch
from study.objectives import raw_length, sentinel_ids
from study.run import Finetune, Prompted, Trained, model_of, stages, steps_before
from study.train import Batches

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


def tokens_read_before(run: Trained) -> int:
    """Tokens of this run's corpus that the stages above it have read."""
    return sum(
        child.parent_step * stage.training.batch_size * raw_length(stage.objective)  # type: ignore[union-attr]
        for stage, child in pairwise(stages(run))
        if stage.corpus == run.corpus
    )


def feed(run: Trained, *, corpus: OpenCorpus) -> tuple[Batches, list[Batch]]:
    """(the run's batches by its own step, the fixed held-out batches). Without held-out data the
    second is empty.
    """
    tokenizer = corpus.tokenizer
    recipe = Recipe(
        architecture=model_of(run).architecture,
        objective=run.objective,
        packing=None if isinstance(run, Finetune) else run.packing,
        batch_size=run.training.batch_size,
        seed=run.seed,
        sentinels=sentinel_ids(
            vocab_size=tokenizer.vocab_size, sentinels=tokenizer.num_sentinels
        ),
    )
    batches: Batches
    if isinstance(corpus.train, ExampleShards):
        if not isinstance(run.objective, Prompted):
            raise ValueError(
                f"{run.slug!r} has the objective {type(run.objective).__name__}, but its corpus "
                f"{run.corpus.slug!r} holds a mixture; legal: Prompted"
            )
        batches = _Prompted(
            source=PromptedBatches(corpus.train, recipe=recipe), first_step=steps_before(run)
        )
    else:
        if isinstance(run.objective, Prompted):
            raise ValueError(
                f"{run.slug!r} has the objective Prompted, but its corpus {run.corpus.slug!r} holds "
                "text; legal: FullLM, PrefixLM, SpanCorruption"
            )
        # Up to the next whole chunk: less than one chunk is skipped where the lengths differ.
        first = -(-tokens_read_before(run) // raw_length(run.objective))
        batches = _Text(source=TextBatches(corpus.train, recipe=recipe), first_chunk=first)
    if _is_empty(corpus.held_out):
        return batches, []
    return batches, validation_batches(corpus.held_out, recipe=recipe, count=VALIDATION_BATCHES)


def _is_empty(shards: TokenShards | ExampleShards) -> bool:
    if isinstance(shards, ExampleShards):
        return shards.num_examples == 0
    return shards.num_tokens == 0
