"""Costs by formula against the built model, torch's own counter, and the paper's numbers."""

import subprocess
import sys
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from study.language import cost
from study.language.layout import Segment, layout
from study.language.model.build import build, empty
from study.language.values.corpus import Corpus, Mixture, Text, TrainedBPE
from study.language.values.model import Model
from study.language.values.objective import (
    FullLM,
    Objective,
    Packing,
    PrefixLM,
    Prompted,
    SpanCorruption,
)
from study.language.values.stages import Adapt, Finetune, Pretrain
from study.runs.training import AdamW, Constant, Training

SMALL = Model(
    architecture="causal_decoder",
    mixer="attention",
    positions="t5_bias",
    layers=2,
    d_model=32,
    heads=3,
    d_head=8,
    d_ff=40,
    vocab_size=72,
    tied=True,
)
PAPER = replace(
    SMALL,
    positions="t5_bias_paper",
    layers=24,
    d_model=4096,
    heads=64,
    d_head=64,
    d_ff=10240,
    vocab_size=32128,
)
ARCHITECTURES = ("causal_decoder", "prefix_decoder", "encoder_decoder")
MLM = SpanCorruption(raw_length=568, noise_density=0.15, mean_span=3.0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("positions", ["rope", "t5_bias", "t5_bias_paper"])
@pytest.mark.parametrize("tied", [True, False])
def test_parameters_are_those_of_the_built_model(architecture, positions, tied):
    model = replace(SMALL, architecture=architecture, positions=positions, tied=tied)
    built = build(model, dropout=0.0, seed=0)
    assert cost.parameter_count(model) == sum(each.numel() for each in built.parameters())


@pytest.mark.parametrize(
    ("architecture", "wanted"),
    [
        ("causal_decoder", 4_762_357_760),
        ("prefix_decoder", 4_762_357_760),
        ("encoder_decoder", 11_003_736_064),
    ],
)
def test_the_papers_models_have_their_parameters(architecture, wanted):
    model = replace(PAPER, architecture=architecture)
    assert cost.parameter_count(model) == wanted
    assert sum(each.numel() for each in empty(model, dropout=0.0).parameters()) == wanted


def segments(objective: Objective, architecture: str) -> tuple[Segment, ...]:
    """Rows of the objective's nominal lengths, for the counter; the values do not matter."""

    def segment(inputs: int, targets: int) -> Segment:
        ones = np.full(inputs + targets, 5, dtype=np.int32)
        return Segment(inputs=ones[:inputs], targets=ones[inputs:])

    match objective:
        case FullLM():
            return (segment(0, objective.length),)
        case PrefixLM() if architecture == "encoder_decoder":
            split = objective.length // 3
            return (
                segment(split, objective.length - split),
                segment(objective.length - split, split),
            )
        case PrefixLM():
            half = objective.length // 2
            return (segment(half, objective.length - half),)
        case SpanCorruption():
            return (segment(objective.input_length, objective.target_length),)
        case Prompted():
            return (segment(objective.inputs, objective.targets),)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("positions", ["rope", "t5_bias"])
@pytest.mark.parametrize(
    "objective",
    [
        FullLM(length=24),
        PrefixLM(length=24),
        SpanCorruption(raw_length=40, noise_density=0.15, mean_span=3.0),
        Prompted(inputs=20, targets=6),
    ],
    ids=lambda objective: type(objective).__name__,
)
def test_flops_are_what_torch_counts(architecture, positions, objective):
    model = replace(SMALL, architecture=architecture, positions=positions)
    built = build(model, dropout=0.0, seed=0)
    batch = layout([segments(objective, architecture)] * 2, architecture=architecture)
    # Torch counts its fused CPU attention as nothing, and the unfused form as two products.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        logits = built.logits(built.hidden(batch)[batch.loss_mask])
        forward = counter.get_total_flops()
        logits.square().sum().backward()
    shape = cost.row_shape(model, objective)
    assert forward == 2 * cost.forward_flops(model, shape)
    assert counter.get_total_flops() == 3 * forward


def test_the_papers_compute_ratios():
    """Encoder-decoder over decoder, with logits at every decoder position as in its code."""

    def flops(architecture, source: int, target: int) -> Fraction:
        shape = cost.RowShape(
            source=source, target=target, loss=Fraction(target), count=Fraction(1)
        )
        return cost.forward_flops(replace(PAPER, architecture=architecture), shape)

    decoder = flops("prefix_decoder", 0, 626)
    assert round(float(flops("encoder_decoder", 512, 114) / decoder), 3) == 1.139
    assert round(float(flops("encoder_decoder", 313, 313) / decoder), 3) == 1.145
    assert round(float(flops("encoder_decoder", 626, 626) / 2 / decoder), 3) == 1.164


CORPUS = Corpus(
    slug="text",
    documents=Text(sources=(), held_out=0.1),
    tokenizer=TrainedBPE(vocab_size=72, sentinels=28),
)
TRAINING = Training(
    optimizer=AdamW(learning_rate=1e-3, beta1=0.9, beta2=0.99, epsilon=1e-8, weight_decay=0.1),
    schedule=Constant(warmup_steps=0),
    steps=10,
    batch_size=4,
    dropout=0.0,
    z_loss=0.0,
    clip_norm=None,
    precision="float32",
    reduction="mean",
)


def pretrain(objective, *, architecture="causal_decoder", document_masking=False) -> Pretrain:
    return Pretrain(
        slug="p",
        corpus=CORPUS,
        model=replace(SMALL, architecture=architecture),
        objective=objective,
        packing=Packing(document_masking=document_masking, eos_between=True),
        training=TRAINING,
        seed=0,
    )


def test_tokens_and_loss_tokens_of_a_pretraining():
    runs = {
        "flm": (pretrain(FullLM(length=626)), 40 * 626, 40 * 626),
        "plm": (pretrain(PrefixLM(length=626)), 40 * 626, 40 * 313),
        "pair": (
            pretrain(PrefixLM(length=626), architecture="encoder_decoder"),
            40 * 626,
            40 * 313,
        ),
        "mlm": (pretrain(MLM), 40 * 626, 40 * 114),
        "documents": (pretrain(MLM, document_masking=True), 40 * 626, None),
        "masked": (pretrain(FullLM(length=626), document_masking=True), 40 * 626, 40 * 626),
    }
    for name, (run, tokens, loss_tokens) in runs.items():
        assert (cost.tokens(run), cost.loss_tokens(run)) == (tokens, loss_tokens), name


def test_half_of_a_prefix_lm_is_target_in_expectation():
    length = 626
    expectation = Fraction(sum(length - split for split in range(1, length)), length - 1)
    shape = cost.row_shape(SMALL, PrefixLM(length=length))
    assert shape.loss == expectation


def test_adaptation_and_finetuning_count_their_own_steps():
    parent = pretrain(FullLM(length=626))
    adapted = Adapt(
        slug="a",
        parent=parent,
        parent_step=10,
        corpus=CORPUS,
        architecture="prefix_decoder",
        objective=MLM,
        packing=parent.packing,
        training=replace(TRAINING, steps=3),
        optimizer_state="fresh",
        schedule_start="continued",
        seed=0,
    )
    assert cost.tokens(adapted) == 12 * 626
    assert cost.loss_tokens(adapted) == 12 * 114
    one_row = cost.forward_flops(SMALL, cost.row_shape(SMALL, MLM))
    assert cost.flops(adapted) == 3 * 12 * one_row
    mixture = Corpus(
        slug="tasks",
        documents=Mixture(tasks=(), cap=10, held_out=0.1),
        tokenizer=CORPUS,
    )
    finetuned = Finetune(
        slug="f",
        parent=adapted,
        parent_step=3,
        corpus=mixture,
        architecture="encoder_decoder",
        objective=Prompted(inputs=100, targets=20),
        training=replace(TRAINING, steps=5, batch_size=2),
        optimizer_state="fresh",
        schedule_start="restarted",
        seed=0,
    )
    assert cost.tokens(finetuned) == 10 * 120
    assert cost.loss_tokens(finetuned) is None
    pair = replace(SMALL, architecture="encoder_decoder")
    shape = cost.RowShape(source=100, target=20, loss=Fraction(20), count=Fraction(1))
    assert cost.flops(finetuned) == 3 * 10 * cost.forward_flops(pair, shape)
    assert (cost.tokens(CORPUS), cost.loss_tokens(CORPUS), cost.flops(CORPUS)) == (0, 0, 0)


def test_the_pairs_prefix_lm_packs_two_rows_into_one():
    run = pretrain(PrefixLM(length=626), architecture="encoder_decoder")
    shape = cost.RowShape(source=626, target=626, loss=Fraction(626), count=Fraction(1))
    assert cost.flops(run) == 3 * 20 * cost.forward_flops(run.model, shape)


def test_costs_need_no_torch():
    code = """
import sys
import study.language.cost
sys.exit("torch" in sys.modules or "numpy" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
