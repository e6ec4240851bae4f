"""Training tokens a second beside Hugging Face's Trainer, with models of equal size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, T5Config, T5ForConditionalGeneration

from bench import same
from bench.row import Bench, Finding
from bench.rows.corpora import decoder, encoder_decoder, opened, pretraining
from bench.rows.loops import OurLoop, TrainerLoop
from study.language.learner import Batches, open_batches
from study.language.values.model import Model
from study.language.values.objective import FullLM, SpanCorruption
from study.language.values.stages import Pretrain

BATCH = 16
TURN = 8
"""Steps of a turn that count."""
SPANS = SpanCorruption(raw_length=283, noise_density=0.15, mean_span=3.0)
"""256 inputs and 57 targets."""


def gpt_neox(model: Model, *, positions: int = 512) -> GPTNeoXForCausalLM:
    config: Any = GPTNeoXConfig
    return GPTNeoXForCausalLM(
        config(
            vocab_size=model.vocab_size,
            hidden_size=model.d_model,
            num_hidden_layers=model.layers,
            num_attention_heads=model.heads,
            intermediate_size=4 * model.d_model,
            max_position_embeddings=positions,
            tie_word_embeddings=True,
            hidden_dropout=0.0,
            attention_dropout=0.0,
            bos_token_id=0,
            eos_token_id=1,
        )
    )


def t5(model: Model) -> T5ForConditionalGeneration:
    config: Any = T5Config
    return T5ForConditionalGeneration(
        config(
            vocab_size=model.vocab_size,
            d_model=model.d_model,
            d_kv=model.d_head,
            d_ff=model.d_ff,
            num_layers=model.layers,
            num_heads=model.heads,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            tie_word_embeddings=True,
            decoder_start_token_id=0,
        )
    )


def rows_of(run: Pretrain, batches: Batches, *, steps: int) -> list[dict[str, Any]]:
    """The run's first rows as the Trainer wants them: the very tokens that its own loop reads."""
    rows: list[dict[str, Any]] = []
    for step in range(steps):
        batch = batches.batch(step)
        for number in range(batch.num_rows):
            labels = batch.labels[number]
            inputs = labels if batch.source is None else batch.source.tokens[number]
            rows.append({"input_ids": inputs, "labels": labels})
    return rows


def _content(row: dict[str, Any]) -> int:
    inputs, labels = row["input_ids"], row["labels"]
    return len(inputs) if inputs is labels else len(inputs) + len(labels)


def causal_decoder(bench: Bench, *, width: int, layers: int) -> Finding:
    model = decoder(width=width, layers=layers)
    run = pretraining(model, FullLM(length=256), batch_size=BATCH)
    return _beside(bench, run, gpt_neox(model))


def t5_encoder_decoder(bench: Bench, *, width: int, layers: int) -> Finding:
    model = encoder_decoder(width=width, layers=layers)
    run = pretraining(model, SPANS, batch_size=BATCH)
    return _beside(bench, run, t5(model))


def _beside(bench: Bench, run: Pretrain, peer: Any) -> Finding:
    fed = open_batches(run, corpus=opened(run.corpus, bench))
    ours = OurLoop(run, fed.batches, folder=bench.folder, compiled=torch.compile)
    eager = OurLoop(run, fed.batches, folder=bench.folder / "eager")
    rows = rows_of(run, fed.batches, steps=TURN + 2)
    theirs = TrainerLoop(peer, rows, batch_size=BATCH, content=_content, folder=bench.folder)
    compiled = TrainerLoop(
        peer, rows, batch_size=BATCH, content=_content, folder=bench.folder, compiled=True
    )
    ours_tokens = fed.batches.batch(0).content_tokens
    shared = (
        same.parameters(ours.parameters, theirs.parameters),
        same.equal("tokens a step", ours_tokens, sum(map(_content, rows[:BATCH]))),
    )
    found = bench.beside(lambda: ours.turn(TURN), lambda: theirs.turn(TURN), unit="tokens/s")
    plain = bench.beside(lambda: eager.turn(TURN), lambda: compiled.turn(TURN), unit="tokens/s")
    assert plain.ours is not None
    assert plain.peer is not None
    return replace(
        found,
        same=shared,
        notes=(
            "This project with `--compile on`, the Trainer with its defaults",
            f"Without compilation this project reaches {plain.ours.median:,.0f} tokens/s, and the "
            f"Trainer under `torch_compile` {plain.peer.median:,.0f}",
        ),
    )
