"""The ladder's setting: three sizes that a university can pay for, their budgets and recipes.

Owns the numbers of `sweeps/ladder.py` and `sweeps/ladder_rates.py`, which must agree. No torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from study.language.recipes.presets import paper_span_corruption, small_training
from study.language.recipes.tree import Replication, Steps
from study.language.suites import eai, t0
from study.language.values.corpus import Corpus, PretrainedTokenizer, Text
from study.language.values.model import Model
from study.language.values.objective import Packing, Prompted
from study.runs.training import Constant, Training
from study.sources import pins

STEPS = Steps(
    budgets=(8_192, 16_384, 32_768),  # 2.6, 5.3 and 10.5 B tokens at 320,512 a step
    unfinetuned=0,
    lm_from=7_500,
    lm=24_576,
    non_causal=9_984,
    pruned=8_192,
)
FINETUNE_STEPS = 2_500  # 0.8 B tokens at 327,680 a step


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One size. half: the same width and parameters as the encoder-decoder with half its depth in
    each stack; its MLP makes up for the cross-attention.
    """

    name: str
    model: Model
    half: Model
    seeds: tuple[int, ...]


def _model(*, layers: int, d_model: int, d_ff: int) -> Model:
    return Model(
        architecture="causal_decoder",
        mixer="attention",
        positions="rope",
        layers=layers,
        d_model=d_model,
        heads=d_model // 64,
        d_head=64,
        d_ff=d_ff,
        vocab_size=32_128,
        tied=True,
    )


def _rung(
    name: str, *, layers: int, d_model: int, d_ff: int, half_d_ff: int, seeds: tuple[int, ...]
) -> Rung:
    half = _model(layers=layers // 2, d_model=d_model, d_ff=half_d_ff)
    return Rung(
        name=name,
        model=_model(layers=layers, d_model=d_model, d_ff=d_ff),
        half=replace(half, architecture="encoder_decoder"),
        seeds=seeds,
    )


# five seeds at the smallest: with six cells the minimum detectable effect is then 2.7 residual
# standard deviations, with three 3.9 (Holm's first step, power 0.8)
RUNGS = (
    _rung("small", layers=12, d_model=512, d_ff=1280, half_d_ff=936, seeds=(1, 2, 3, 4, 5)),
    _rung("medium", layers=16, d_model=768, d_ff=1920, half_d_ff=1408, seeds=(1, 2, 3)),
    _rung("large", layers=24, d_model=1024, d_ff=2560, half_d_ff=1880, seeds=(1, 2, 3)),
)


def corpus(known: pins.Pins) -> Corpus:
    """C4 as in the paper, under T5's vocabulary, one thousandth held out."""
    return Corpus(
        slug="c4",
        documents=Text(
            sources=(known.rows("allenai/c4", "train", config="en", text_field="text"),),
            held_out=1e-3,
        ),
        tokenizer=PretrainedTokenizer(source=known.file("t5/tokenizer.json"), sentinels=100),
    )


def mixture(known: pins.Pins, *, table: Path, tokenizer: Corpus) -> Corpus:
    """T0's training mixture, with rows held out to choose finetuning's rates on."""
    return Corpus(
        slug="t0-train",
        documents=t0.mixture(known, table=table, held_out=0.01),
        tokenizer=tokenizer,
    )


def training(*, steps: int, batch_size: int, dropout: float) -> Training:
    """AdamW at a constant rate after a warm-up: no horizon, so a budget is a checkpoint. The rate
    is `study.language.recipes.rates`' to set.
    """
    small = small_training(
        1.0, steps=steps, batch_size=batch_size, dropout=dropout, precision="bfloat16_autocast"
    )
    return replace(small, schedule=Constant(warmup_steps=500))


def study(
    known: pins.Pins, *, table: Path, model: Model, rates: Mapping[str, float], seed: int, tag: str
) -> Replication:
    """One seed of one size."""
    text = corpus(known)
    # one setting of both for every cell, unlike the paper: what is compared differs in nothing else
    packing = Packing(document_masking=False, eos_between=True)
    return Replication(
        corpus=text,
        mixture=mixture(known, table=table, tokenizer=text),
        suites=(eai.suite(known), t0.suite(known)),
        model=model,
        spans=paper_span_corruption(),
        prompted=Prompted(inputs=1024, targets=256),
        packing=packing,
        span_packing=packing,
        pretraining=training(steps=STEPS.budgets[-1], batch_size=512, dropout=0.0),
        finetuning=training(steps=FINETUNE_STEPS, batch_size=256, dropout=0.1),
        steps=STEPS,
        rates=rates,
        seed=seed,
        tag=tag,
    )
