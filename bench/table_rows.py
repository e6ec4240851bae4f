"""Every row of the table, in its order."""

from __future__ import annotations

from functools import partial

from bench.finding import Goal
from bench.row import Row
from bench.rows import scoring, training
from study.run import Architecture

AT_LEAST_HALF_MORE = Goal(sense="at least", value=1.5)

SCORED: tuple[tuple[str, str, Architecture], ...] = (
    ("decoder", "causal decoder", "causal_decoder"),
    ("encoder-decoder", "encoder-decoder", "encoder_decoder"),
)

ROWS: tuple[Row, ...] = (
    *(
        Row(
            name=f"train-decoder-{size}",
            what=f"training, causal decoder of {text} parameters, packed rows of 256",
            peer="Trainer, GPT-NeoX, bfloat16",
            goal=AT_LEAST_HALF_MORE,
            floor="the matrix products, whose share is the row `matmul`",
            measure=partial(training.causal_decoder, width=width, layers=layers),
        )
        for size, text, width, layers in (("1m", "1.3 M", 128, 4), ("6m", "6 M", 256, 6))
    ),
    *(
        Row(
            name=f"train-encoder-decoder-{size}",
            what=f"training, encoder-decoder of {text} parameters, 256 inputs and 57 targets",
            peer="Trainer, T5, bfloat16",
            goal=AT_LEAST_HALF_MORE,
            floor="the matrix products",
            measure=partial(training.t5_encoder_decoder, width=width, layers=layers),
        )
        for size, text, width, layers in (("2m", "2.4 M", 128, 4), ("12m", "11 M", 256, 6))
    ),
    *(
        Row(
            name=f"choice-{name}",
            what=f"multiple choice, 4 choices after 150 words, {text}: speed by the bound",
            peer="`HFLM` at its best batch size, times the positions that a shared context saves",
            goal=Goal(sense="at least", value=0.9),
            floor="one pass over each context and each choice",
            measure=partial(scoring.choices, architecture=architecture),
        )
        for name, text, architecture in SCORED
    ),
    Row(
        name="prompts-decoder",
        what="T0-style scoring, 10 prompts a row, causal decoder",
        peer="`HFLM`, one task a prompt",
        goal=Goal(sense="at least", value=4.0),
        floor="one pass over each prompt, and one over each answer",
        measure=partial(scoring.prompts, architecture="causal_decoder"),
    ),
)
