"""Every row of the table, in its order."""

from __future__ import annotations

from functools import partial

from bench.row import Goal, Row
from bench.rows import (
    commands,
    corpus,
    finetuning,
    inside,
    kernels,
    memory,
    on_gpu,
    scoring,
    training,
)
from study.language.values.model import Architecture

AT_LEAST_HALF_MORE = Goal(sense="at least", value=1.5)

SCORED: tuple[tuple[str, str, Architecture], ...] = (
    ("decoder", "causal decoder", "causal_decoder"),
    ("encoder-decoder", "encoder-decoder", "encoder_decoder"),
)

DECODERS = (("1m", "1.3 M", 128, 4), ("6m", "6 M", 256, 6))
ENCODER_DECODERS = (("2m", "2.4 M", 128, 4), ("12m", "11 M", 256, 6))

ROWS: tuple[Row, ...] = (
    *(
        Row(
            name=f"train-decoder-{size}",
            what=f"training, causal decoder of {text} parameters, packed rows of 256",
            peer="Trainer, GPT-NeoX, bfloat16",
            goal=AT_LEAST_HALF_MORE,
            floor="the matrix products, whose share the rows `matmul` show",
            measure=partial(training.causal_decoder, width=width, layers=layers),
        )
        for size, text, width, layers in DECODERS
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
        for size, text, width, layers in ENCODER_DECODERS
    ),
    Row(
        name="finetune-decoder",
        what="prompted finetuning, useful tokens, causal decoder of 1.3 M parameters",
        peer="Trainer, GPT-NeoX, padded to the longest of a batch",
        goal=Goal(sense="at least", value=2.5),
        floor="the packed rows' own training speed",
        measure=partial(finetuning.prompts, width=128, layers=4),
    ),
    *(
        Row(
            name=f"matmul-{size}",
            what=f"training FLOP/s, causal decoder of {text} parameters",
            peer="the products of the same shapes alone, bfloat16",
            goal=Goal(sense="at least", value=0.6),
            floor="the products themselves",
            missed=(
                "at these widths a position costs as much outside of the products as inside: "
                "of a compiled step of the 6 M decoder 31 % are the products, 18 % "
                "attention, 42 % fused loops over the float32 residual stream, norms and the "
                "gated MLP, which are bound by memory. What would help, a 16-bit residual "
                "stream, changes the numbers"
            ),
            measure=partial(inside.matmul_share, width=width, layers=layers),
        )
        for size, text, width, layers in DECODERS
    ),
    *(
        Row(
            name=f"choice-{name}",
            what=f"multiple choice, 4 choices after 150 words, {text}: speed by the bound",
            peer="`HFLM` at its best batch size, times the positions that a shared context saves",
            goal=Goal(sense="at least", value=0.9),
            floor="one pass over each context and each choice",
            missed=(
                "every target also computes its end of sequence, which the other option of "
                "the rule needs and `HFLM` does not, and short continuations fill the cores "
                "less than contexts do"
            ),
            measure=partial(scoring.choices, architecture=architecture),
        )
        for name, text, architecture in SCORED
    ),
    Row(
        name="prompts-decoder",
        what="T0-style scoring, 10 prompts a row, causal decoder",
        peer="`HFLM`, one task a prompt",
        goal=Goal(sense="at least", value=4.0),
        floor="one pass over each row's text, and one over what each prompt and answer add",
        missed=(
            "the text of a row is read once for the prompts that begin with it (nine of "
            "these ten), but what is left are short passes: keys are copied for every "
            "prompt and answer, every answer also computes its end of sequence, and "
            "tokenising is a tenth"
        ),
        measure=partial(scoring.prompts, architecture="causal_decoder"),
    ),
    Row(
        name="loading",
        what="loading a batch with its digest, causal decoder of 1.3 M parameters",
        peer="the step that eats it",
        goal=Goal(sense="at most", value=0.02),
        floor="copying the rows and hashing them",
        measure=partial(inside.loading, width=128, layers=4),
    ),
    Row(
        name="tokenising",
        what="tokenising a corpus: read, split, encode, write",
        peer="`tokenizers` encode_batch alone",
        goal=Goal(sense="at least", value=0.9),
        floor="encode_batch",
        measure=corpus.tokenising,
    ),
    Row(
        name="sweep",
        what="the demo's tree at a tenth of its steps, two workers",
        peer="each leaf's path on its own, one after the other",
        goal=Goal(sense="at most", value=0.6),
        floor="the share of tokens that sharing leaves",
        measure=partial(commands.sweep, pretrain=60, adapt=15, finetune=15),
    ),
    Row(
        name="plan",
        what="`study plan` of 10,008 runs",
        goal=Goal(sense="at most", value=3.0),
        floor="starting Python",
        measure=commands.plan,
        unit="s",
    ),
    Row(
        name="null-run",
        what="`study run` of the demo's 36 runs, all done",
        goal=Goal(sense="at most", value=2.0),
        floor="starting Python",
        measure=commands.null_run,
        unit="s",
    ),
    Row(
        name="help",
        what="`study --help`",
        goal=Goal(sense="at most", value=0.3),
        floor="starting Python",
        measure=commands.help_page,
        unit="s",
    ),
    Row(
        name="first-step",
        what="start to first step, without compilation: seconds more",
        peer="a bare torch loop",
        goal=Goal(sense="at most", value=2.0),
        floor="importing torch",
        missed=(
            "the launcher's own start takes about .9 s of it, the held-out loss and the isolation "
            "test before the step as much"
        ),
        measure=commands.first_step,
        unit="s",
    ),
    Row(
        name="checkpoint",
        what="a checkpoint's stall, causal decoder of 1.3 M parameters",
        peer="one training step",
        goal=Goal(sense="at most", value=1.0),
        floor="writing and hashing the bytes",
        measure=partial(inside.checkpoint_stall, width=128, layers=4),
    ),
    Row(
        name="packed-attention",
        what="attention on a row of eight documents, forward and backward",
        peer="SDPA with a dense mask",
        goal=Goal(sense="at most", value=0.075),
        floor="the share of visible pairs, plus 20 %",
        missed=(
            "torch's flash kernel by itself, given the eight documents as rows, takes .14 of "
            "the dense call; gathering them and adding up their gradients is the rest. Read "
            "as the share plus 20 points the limit is .26, which is met"
        ),
        measure=kernels.packed_attention,
    ),
    *(
        Row(
            name=f"length-{mixer}",
            what=f"one layer with {mixer}, 512 to 16,384 tokens: exponent of its time",
            goal=Goal(sense="at most", value=limit),
            floor="the equation's own cost",
            measure=partial(kernels.exponent, mixer=mixer),
        )
        for mixer, limit in (("attention", 2.0), ("monarch", 1.5), ("ssd", 1.05))
    ),
    *(
        Row(
            name=f"memory-{mixer}",
            what=f"training memory of a layer with {mixer}, 2,048 to 8,192 tokens: exponent",
            goal=Goal(sense="at most", value=1.05),
            floor="the activations",
            measure=partial(memory.training, mixer=mixer),
        )
        for mixer in ("attention", "monarch", "ssd")
    ),
    Row(
        name="memory-evaluation",
        what="evaluation memory that eight times the requests add",
        goal=Goal(sense="at most", value=32.0),
        floor="the requests' own tokens",
        measure=memory.evaluation,
        unit="MiB",
    ),
    Row(
        name="memory-plan",
        what="planning memory by the number of runs: exponent",
        goal=Goal(sense="at most", value=1.05),
        floor="the runs",
        measure=memory.planning,
    ),
    *(
        Row(
            name=f"mfu-{name}",
            what=f"FLOPs utilisation of training at the paper's shapes, {text}",
            peer="the card's peak in bfloat16",
            floor="the matrix products",
            measure=partial(on_gpu.utilisation, architecture=architecture),
            gpu=True,
        )
        for name, text, architecture in SCORED
    ),
    Row(
        name="gpu-kernels",
        what="attention, state space, long convolution and block-diagonal kernels, bfloat16",
        peer="SDPA, FlexAttention, `mamba_ssm`, flash-linear-attention, FlashFFTConv",
        floor="the card's roofline",
        gpu=True,
        command="make gpu",
    ),
    Row(
        name="zero-scaling",
        what="training tokens/s of 2, 4 and 8 cards by one card's, ZeRO 1 to 3",
        peer="one card",
        floor="the links between the cards",
        gpu=True,
        command="study run SWEEP --device cuda --ranks N --zero STAGE",
    ),
)
