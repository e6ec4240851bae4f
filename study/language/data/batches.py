"""Batch n of a run: THE pure function of (seed, n) from shards to a laid-out `Batch`.

Text: step n reads chunks [n B, (n + 1) B) of the stream, so every cell with the same raw length
sees the same documents in the same order; chunk k is corrupted by a generator of (seed, k),
whatever the batch it lies in. Prompted: step n draws its own examples from the mixture by a
generator of (seed, n). Steps count from 0 over the whole lineage. Always the whole global batch:
micro-batches and ranks take `batch.rows(low, high)`.

Row lengths are fixed by the objective, so that shapes do not change from step to step, with one
exception: under `document_masking`, span corruption adds sentinels and ends to every document (and
an encoder-decoder's prefix splits vary by document), so a row can outgrow the objective's length.
Then the whole batch is padded to the next multiple of `GROWTH`: nothing is ever cut. The ledger
counts the objective's plain length; `Batch.content_tokens` counts what is really there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol, runtime_checkable

import numpy as np

from study.language.data.stream import CORRUPTION, MIXTURE, TextStream, Tokens
from study.language.layout import Batch, Row, Segment, layout
from study.language.objectives import TextObjective, prefix_lm, prompted, raw_length, segments
from study.language.values.model import Architecture
from study.language.values.objective import (
    FullLM,
    Objective,
    Packing,
    PrefixLM,
    Prompted,
    SpanCorruption,
    row_length,
)

GROWTH = 16
VALIDATION_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that a batch depends on beside the shards.

    packing: of text; None for prompted examples, which are always kept apart.
    batch_size: rows as the objective counts them; an encoder-decoder's prefix LM packs two in one.
    sentinels: their ids, descending (`study.language.objectives.sentinel_ids`).
    """

    architecture: Architecture
    objective: Objective
    packing: Packing | None
    batch_size: int
    seed: int
    sentinels: range


@runtime_checkable
class BatchSource(Protocol):
    def batch(self, step: int) -> Batch:
        """The whole global batch of a global step (from 0)."""
        ...

    def digest(self, batch: Batch) -> str: ...


@runtime_checkable
class Examples(Protocol):
    """What a mixture needs of `study.language.data.shards.ExampleShards`."""

    @property
    def tasks(self) -> Sequence[str]: ...

    @property
    def rates(self) -> np.ndarray: ...

    def examples_of(self, task: int) -> Sequence[int]: ...

    def example(self, index: int) -> tuple[np.ndarray, np.ndarray]: ...


class TextBatches:
    """Batches of full LM, prefix LM and span corruption."""

    def __init__(self, shards: Tokens, *, recipe: Recipe) -> None:
        if isinstance(recipe.objective, Prompted) or recipe.packing is None:
            raise ValueError(
                f"text needs a packing and a text objective; got {recipe.packing!r} and "
                f"{type(recipe.objective).__name__}; legal: FullLM, PrefixLM, SpanCorruption"
            )
        self.recipe = recipe
        self.objective: TextObjective = recipe.objective
        self.packing: Packing = recipe.packing
        self.stream = TextStream(
            shards,
            raw_length=raw_length(recipe.objective),
            packing=recipe.packing,
            seed=recipe.seed,
        )

    def batch(self, step: int) -> Batch:
        size = self.recipe.batch_size
        return self.chunks(step * size, (step + 1) * size)

    def digest(self, batch: Batch) -> str:
        return batch.digest()

    def chunks(self, low: int, high: int) -> Batch:
        """Chunks [low, high) of the stream as one batch."""
        architecture = self.recipe.architecture
        rows = self._rows(low, high)
        length, source_length = _plain_lengths(self.objective, architecture)
        if self.packing.document_masking:
            length, source_length = _grown(rows, length, source_length)
        return layout(rows, architecture=architecture, length=length, source_length=source_length)

    def _rows(self, low: int, high: int) -> list[Row]:
        length = self.stream.raw_length
        tokens, starts = self.stream.read(low * length, high * length)
        edges = np.searchsorted(starts, np.arange(high - low + 1) * length)
        chunks = [
            (tokens[n * length : (n + 1) * length], self._starts(starts[a:b] - n * length))
            for n, (a, b) in enumerate(pairwise(edges.tolist()))
        ]
        generators = [
            np.random.default_rng((self.recipe.seed, CORRUPTION, index))
            for index in range(low, high)
        ]
        paired = self.recipe.architecture == "encoder_decoder" and isinstance(
            self.objective, PrefixLM
        )
        if paired and not self.packing.document_masking:
            rows = [
                prefix_lm.paired(first, second, rng=rng)
                for (first, _), (second, _), rng in zip(
                    chunks[0::2], chunks[1::2], generators[0::2], strict=False
                )
            ]
            if len(chunks) % 2:
                rows.append((prefix_lm.segment(chunks[-1][0], rng=generators[-1]),))
            return rows
        single = [
            segments(
                self.objective,
                chunk,
                begins,
                rng=rng,
                sentinels=self.recipe.sentinels,
                packing=self.packing,
            )
            for (chunk, begins), rng in zip(chunks, generators, strict=True)
        ]
        if paired:
            return [sum(single[n : n + 2], start=()) for n in range(0, len(single), 2)]
        return single

    @staticmethod
    def _starts(begins: np.ndarray) -> np.ndarray:
        """A chunk that continues a document starts with it all the same."""
        return begins if len(begins) and begins[0] == 0 else np.concatenate([[0], begins])


class PromptedBatches:
    """Packed prompted examples, drawn by the mixture's rates."""

    def __init__(self, examples: Examples, *, recipe: Recipe) -> None:
        if not isinstance(recipe.objective, Prompted):
            raise ValueError(
                f"prompted examples under {type(recipe.objective).__name__}; legal: Prompted"
            )
        self.examples = examples
        self.recipe = recipe
        self.objective: Prompted = recipe.objective
        self._members = [examples.examples_of(task) for task in range(len(examples.tasks))]
        rates = np.asarray(examples.rates, dtype=np.float64) * [len(m) > 0 for m in self._members]
        if not rates.sum() > 0:
            raise ValueError("the mixture holds no example with a rate above 0; legal: one or more")
        self._cumulative = np.cumsum(rates / rates.sum())

    def batch(self, step: int) -> Batch:
        rng = np.random.default_rng((self.recipe.seed, MIXTURE, step))
        rows = prompted.pack(
            self._draws(rng), objective=self.objective, rows=self.recipe.batch_size
        )
        length, source_length = _plain_lengths(self.objective, self.recipe.architecture)
        return layout(
            rows,
            architecture=self.recipe.architecture,
            length=length,
            source_length=source_length,
        )

    def digest(self, batch: Batch) -> str:
        return batch.digest()

    def _draws(self, rng: np.random.Generator) -> Iterator[Segment]:
        while True:
            tasks = np.searchsorted(self._cumulative, rng.random(64), side="right")
            tasks = np.minimum(tasks, len(self._members) - 1)
            for task, place in zip(tasks.tolist(), rng.random(64).tolist(), strict=True):
                members = self._members[task]
                inputs, targets = self.examples.example(members[int(place * len(members))])
                yield Segment(inputs=inputs, targets=targets)


def text_batches(shards: Tokens, *, recipe: Recipe) -> BatchSource:
    return TextBatches(shards, recipe=recipe)


def prompted_batches(examples: Examples, *, recipe: Recipe) -> BatchSource:
    return PromptedBatches(examples, recipe=recipe)


def validation_batches(held_out: Tokens | Examples, *, recipe: Recipe, count: int) -> list[Batch]:
    """At most `count` fixed batches of held-out data: the same ones whatever the recipe's seed.

    Text is read once at most; the last batch may have fewer rows, and a held-out text shorter than
    one chunk is repeated to fill it.
    """
    fixed = replace(recipe, seed=VALIDATION_SEED)
    if isinstance(recipe.objective, Prompted):
        drawn = PromptedBatches(held_out, recipe=fixed)  # type: ignore[arg-type]
        return [drawn.batch(step) for step in range(count)]
    text = TextBatches(held_out, recipe=fixed)  # type: ignore[arg-type]
    size = recipe.batch_size
    chunks = min(count * size, max(1, text.stream.epoch_tokens // text.stream.raw_length))
    return [text.chunks(low, min(low + size, chunks)) for low in range(0, chunks, size)]


def _plain_lengths(objective: Objective, architecture: Architecture) -> tuple[int, int | None]:
    """(decoder length, source length) of a row without document masking."""
    if architecture != "encoder_decoder":
        return row_length(objective), None
    match objective:
        case FullLM():
            return objective.length, 1
        case PrefixLM():
            return objective.length, objective.length
        case SpanCorruption():
            return objective.target_length, objective.input_length
        case Prompted():
            return objective.targets, objective.inputs


def _grown(rows: Sequence[Row], length: int, source_length: int | None) -> tuple[int, int | None]:
    """The lengths, or the next multiples of GROWTH that hold the longest row."""

    def at_least(plain: int, longest: int) -> int:
        return plain if longest <= plain else -(-longest // GROWTH) * GROWTH

    inputs = [sum(len(one.inputs) for one in row) for row in rows]
    targets = [sum(len(one.targets) for one in row) for row in rows]
    if source_length is None:
        return at_least(length, max(map(sum, zip(inputs, targets, strict=True)))), None
    return at_least(length, max(targets)), at_least(source_length, max(inputs))
