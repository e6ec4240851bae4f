"""What training needs of a language run: its model, its batches by its own step, its losses.

Owns where the lineage's data stream goes on: a child reads the text after its parent's last token,
whatever the two stages' chunk lengths are; and that tokenizer, model and parent fit each other.
What a batch holds is `study.language.data.batches`' part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from study.language.data.batches import PromptedBatches, Recipe, TextBatches, validation_batches
from study.language.data.corpus import OpenCorpus, corpus_path, open_corpus
from study.language.data.mixture import ExampleShards
from study.language.data.shards import TokenShards
from study.language.layout import Batch
from study.language.losses import TokenLosses
from study.language.model.adapt import adapt, table
from study.language.model.build import build
from study.language.model.isolation import check_isolation
from study.language.model.kernel_trial import choose_kernels
from study.language.objectives import raw_length, sentinel_ids
from study.language.values.objective import Prompted
from study.language.values.stages import Finetune, Pretrain, Stage, model_of
from study.runs.execution import Execution
from study.runs.node import stages, steps_before
from study.store.directory import Store
from study.train import checkpoint
from study.train.learner import Inheritance
from study.train.ranks import Ranks

VALIDATION_BATCHES = 16


class Batches(Protocol):
    """The whole batch of the run's own step (from 0), a pure function of it."""

    def batch(self, step: int) -> Batch: ...


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


class LanguageLearner(TokenLosses):
    """A language run (`study.train.learner.Learner`)."""

    def __init__(self, run: Stage, *, store: Store) -> None:
        """Raises ValueError where the corpus is not done, or its tokenizer not the model's or the
        parent's.
        """
        corpus = _corpus_of(run, store=store)
        fed = open_batches(run, corpus=corpus)
        model = build(model_of(run), dropout=run.training.dropout, seed=run.seed)
        super().__init__(model, training=run.training)
        self._run = run
        self._batches = fed.batches
        self.validation = fed.validation
        self._summary: dict[str, Any] = {
            "tokenizer": corpus.tokenizer.digest,
            "corpus": corpus.summary["digest"],
            "isolation": None,
            "examples": fed.left_out,
        }

    def batch(self, step: int) -> Batch:
        return self._batches.batch(step)

    def begin(self, parent: Path) -> Inheritance:
        run = self._run
        assert not isinstance(run, Pretrain), "it has no parent"
        weights, accounts = adapt(
            checkpoint.read_tensors(parent / "model.safetensors"),
            source=model_of(run.parent),
            target=model_of(run),
            seed=run.seed,
        )
        checkpoint.load_weights(self.model, tensors=weights)
        return Inheritance(table=table(accounts), entries=[asdict(each) for each in accounts])

    def check(self, *, execution: Execution, ranks: Ranks, warn: Callable[[str], None]) -> None:
        """Whether the kernels compute the run's mixer here, and whether anything leaks."""
        shape, precision = model_of(self._run), self._run.training.precision
        choose_kernels(shape, execution=execution, ranks=ranks, precision=precision, warn=warn)
        found = check_isolation(
            self.model,
            architecture=shape.architecture,
            vocab_size=shape.vocab_size,
            precision=precision,
        )
        self._summary["isolation"] = asdict(found)

    def summary(self) -> dict[str, Any]:
        return self._summary


def _corpus_of(run: Stage, *, store: Store) -> OpenCorpus:
    """The run's corpus, opened, with its tokenizer checked against model and parent."""
    store.finished(run.corpus)
    corpus = open_corpus(corpus_path(store, run.corpus))
    size, room = corpus.tokenizer.vocab_size, model_of(run).vocab_size
    if size > room:
        raise ValueError(
            f"{run.slug!r}: its model has room for {room} tokens and its tokenizer has {size}; "
            f"legal: Model.vocab_size of {size} or more"
        )
    if not isinstance(run, Pretrain):
        parents = store.finished(run.parent)["tokenizer"]
        if parents != corpus.tokenizer.digest:
            raise ValueError(
                f"{run.slug!r}: the tokenizer of its corpus {run.corpus.slug!r} "
                f"({corpus.tokenizer.digest[:12]}) is not the one that {run.parent.slug!r} was "
                f"trained with ({parents[:12]}); legal: the same (Corpus.tokenizer may name the "
                "parent's corpus)"
            )
    return corpus
