"""Prompted finetuning beside the Trainer, which pads to the longest row of a batch.

Both read the same examples of the movies' prompts in the same order; what counts is tokens that are
no padding.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from bench import same
from bench.row import Bench, Finding
from bench.rows.corpora import decoder, movies, opened, pretraining, recipe
from bench.rows.loops import OurLoop, TrainerLoop
from bench.rows.training import gpt_neox
from study.language.layout import Batch
from study.language.learner import Batches, open_batches
from study.language.values.objective import FullLM, Prompted
from study.language.values.stages import Finetune

PROMPTED = Prompted(inputs=4032, targets=64)
ROWS = 16
"""Packed rows of 4,096: shorter rows, and fewer, leave more padding (12 % in four of 1,024)."""
EXAMPLES = 8
"""The Trainer's rows a batch."""
TURN = 2
"""Steps of packed rows that count."""
THEIR_TURN = 24
LARGEST_PADDING = 0.02


def _examples(batches: Batches, count: int) -> list[dict[str, Any]]:
    """Whole examples with labels on their targets alone, in the order of the packed rows."""
    found: list[dict[str, Any]] = []
    step = 0
    while len(found) < count:
        found += _unpacked(batches.batch(step))
        step += 1
    return found[:count]


def _unpacked(batch: Batch) -> list[dict[str, Any]]:
    found = []
    for row in range(batch.num_rows):
        for number in range(1, int(batch.segments[row].max()) + 1):
            own = (batch.segments[row] == number).nonzero()[:, 0]
            # What goes in is shifted by one: the last label has not been an input yet.
            tokens = torch.cat([batch.tokens[row, own[1:]], batch.labels[row, own[-1:]]])
            labels = tokens.masked_fill(~batch.loss_mask[row, own], -100)
            found.append({"input_ids": tokens, "labels": labels})
    return found


def _padded(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What a collator of language models does: the batch is as long as its longest row."""

    def together(each: list[torch.Tensor], value: int) -> torch.Tensor:
        return torch.nn.utils.rnn.pad_sequence(each, batch_first=True, padding_value=value)

    return {
        "input_ids": together([row["input_ids"] for row in rows], 0),
        "labels": together([row["labels"] for row in rows], -100),
        "attention_mask": together([torch.ones_like(row["input_ids"]) for row in rows], 0),
    }


def prompts(bench: Bench, *, width: int, layers: int) -> Finding:
    model = decoder(width=width, layers=layers)
    run = Finetune(
        slug="bench",
        parent=pretraining(model, FullLM(length=256), batch_size=ROWS),
        parent_step=1,
        corpus=movies().MIXTURE,
        architecture="causal_decoder",
        objective=PROMPTED,
        training=recipe(steps=1_000_000, batch_size=ROWS),
        optimizer_state="fresh",
        schedule_start="restarted",
        seed=0,
    )
    batches = open_batches(run, corpus=opened(run.corpus, bench)).batches
    ours = OurLoop(run, batches, folder=bench.folder, compiled=torch.compile)
    examples = _examples(batches, (THEIR_TURN + 2) * EXAMPLES)
    theirs = TrainerLoop(
        gpt_neox(model, positions=1024),
        examples,
        batch_size=EXAMPLES,
        content=lambda row: len(row["input_ids"]),
        folder=bench.folder,
        collator=_padded,
    )
    first = [batches.batch(step) for step in range(8)]
    content = sum(batch.content_tokens for batch in first)
    padding = 1 - content / sum(batch.tokens.numel() for batch in first)
    shared = (
        same.parameters(ours.parameters, theirs.parameters),
        same.equal(
            "tokens of the first step's examples",
            first[0].content_tokens,
            sum(len(row["input_ids"]) for row in _unpacked(first[0])),
        ),
    )
    long = [len(row["input_ids"]) for row in examples]
    found = bench.beside(
        lambda: ours.turn(TURN), lambda: theirs.turn(THEIR_TURN), unit="useful tokens/s"
    )
    return replace(
        found,
        same=shared,
        notes=(
            f"{padding:.1%} of packed rows of 4,096 are padding (goal: under "
            f"{LARGEST_PADDING:.0%})",
            f"Examples have {min(long)} to {max(long)} tokens, "
            f"{sum(long) / len(long):.0f} on average",
        ),
    )
