"""What the rows train and score on: the prose and prompts of `sweeps/movies.py`, tokenised once.

Both corpora are runs of a store that all rows share; the first row that asks builds them (which
fetches a released package, verified by digest).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.row import Bench
from study.language.data.corpus import OpenCorpus, corpus_path, open_corpus
from study.language.values.corpus import Corpus
from study.language.values.model import Model
from study.language.values.objective import FullLM, Packing, PrefixLM, SpanCorruption
from study.language.values.stages import Pretrain
from study.runs.execution import Execution
from study.runs.plan import load_sweep
from study.runs.training import AdamW, Constant, Training
from study.store.directory import Store
from study.train.work import execute

SWEEP = Path(__file__).parents[2] / "sweeps" / "movies.py"
PACKED = Packing(document_masking=False, eos_between=True)


def movies() -> Any:
    """The sweep's module."""
    return load_sweep(SWEEP).module


def opened(corpus: Corpus, bench: Bench) -> OpenCorpus:
    """Built where it is not there yet."""
    store = Store(bench.shared)
    execution = Execution(threads=bench.threads)
    if isinstance(corpus.tokenizer, Corpus):
        execute(corpus.tokenizer, store=store, execution=execution)
    execute(corpus, store=store, execution=execution)
    return open_corpus(corpus_path(store, corpus))


def recipe(*, steps: int, batch_size: int) -> Training:
    """AdamW in bfloat16 autocast, clipped: what the peers' defaults are."""
    return Training(
        optimizer=AdamW(learning_rate=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.0),
        schedule=Constant(warmup_steps=0),
        steps=steps,
        batch_size=batch_size,
        dropout=0.0,
        z_loss=0.0,
        clip_norm=1.0,
        precision="bfloat16_autocast",
        reduction="mean",
    )


def pretraining(
    model: Model, objective: FullLM | PrefixLM | SpanCorruption, *, batch_size: int
) -> Pretrain:
    """A run on the prose that never ends by itself."""
    return Pretrain(
        slug="bench",
        corpus=movies().CORPUS,
        model=model,
        objective=objective,
        packing=PACKED,
        training=recipe(steps=1_000_000, batch_size=batch_size),
        seed=0,
    )


def decoder(*, width: int, layers: int) -> Model:
    """A causal decoder as wide and deep as its peer. Three matrices of 8/3 of the width hold as
    many numbers as two of four times.
    """
    return Model(
        architecture="causal_decoder",
        mixer="attention",
        positions="rope",
        layers=layers,
        d_model=width,
        heads=width // 32,
        d_head=32,
        d_ff=round(width * 8 / 3 / 16) * 16,
        vocab_size=4096,
        tied=True,
    )


def encoder_decoder(*, width: int, layers: int) -> Model:
    """T5 1.1 itself: the same tensors as the peer's."""
    return replace(
        decoder(width=width, layers=layers), architecture="encoder_decoder", positions="t5_bias"
    )
