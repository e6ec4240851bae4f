"""The forecast of memory against what autograd saves and what a process really takes."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from study.costs.memory import forecast
from study.language.layout import Segment, layout
from study.language.losses import TokenLosses
from study.language.model.build import build
from study.language.recipes import presets
from study.language.values.corpus import Corpus, Text, TrainedBPE
from study.language.values.model import Model
from study.language.values.objective import FullLM, Packing, PrefixLM, SpanCorruption
from study.language.values.stages import Pretrain
from study.runs.decode import encode

MODEL = Model(
    architecture="causal_decoder",
    mixer="attention",
    positions="rope",
    layers=3,
    d_model=64,
    heads=3,
    d_head=16,
    d_ff=80,
    vocab_size=72,
    tied=True,
)
ROOT = Path(__file__).parents[3]
ADAFACTOR = presets.paper_pretraining(steps=3).optimizer
MLM = SpanCorruption(raw_length=568, noise_density=0.15, mean_span=3.0)
ROWS = 2


def pretrain(model, objective=None, **changes):
    training = presets.small_training(1e-3, steps=3, batch_size=ROWS)
    return Pretrain(
        slug="run",
        corpus=Corpus(
            slug="text",
            documents=Text(sources=(presets.world("text", documents=9, seed=1),), held_out=0.0),
            tokenizer=TrainedBPE(vocab_size=72, sentinels=28),
        ),
        model=model,
        objective=objective or FullLM(length=100),
        packing=Packing(document_masking=False, eos_between=False),
        training=replace(training, **changes),
        seed=1,
    )


def predicted(run, **changes):
    options = {"zero": None, "ranks": 1, "micro_batch": None, "activation_checkpointing": "off"}
    return forecast(run, **options | {"device": "cpu"} | changes)


def segments(run):
    def segment(inputs, targets):
        ones = np.full(inputs + targets, 5, dtype=np.int32)
        return Segment(inputs=ones[:inputs], targets=ones[inputs:])

    match run.objective:
        case SpanCorruption() as spans:
            return (segment(spans.input_length, spans.target_length),)
        case PrefixLM(length=length):
            return (segment(length // 2, length - length // 2),)
        case FullLM(length=length):
            return (segment(0, length),)


def saved(run):
    """Bytes that autograd keeps of one forward pass: every storage once, weights left out."""
    model = build(run.model, dropout=run.training.dropout, seed=0)
    computed = TokenLosses(model, training=run.training)
    batch = layout([segments(run)] * ROWS, architecture=run.model.architecture)
    own = {each.untyped_storage().data_ptr() for each in model.parameters()}
    found: dict[int, torch.UntypedStorage] = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = computed.losses(batch, device=torch.device("cpu"))
    del out
    return sum(storage.nbytes() for storage in found.values())


@pytest.mark.parametrize("architecture", ["causal_decoder", "prefix_decoder", "encoder_decoder"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16_autocast"])
@pytest.mark.parametrize("positions", ["rope", "t5_bias"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_activations_are_what_autograd_saves(architecture, precision, positions, dropout):
    model = replace(MODEL, architecture=architecture, positions=positions)
    run = pretrain(model, MLM, precision=precision, dropout=dropout)
    said = predicted(run)
    casts = 0
    if precision != "float32":
        casts = 2 * sum(
            each.numel() for each in build(model, dropout=0.0, seed=0).parameters() if each.ndim > 1
        )
    assert said.activations + casts == pytest.approx(saved(run), rel=0.03)


BIG = replace(MODEL, layers=12, d_model=640, heads=10, d_head=64, d_ff=1712, vocab_size=24000)
LONG = replace(MODEL, layers=8, d_model=384, heads=6, d_head=64, d_ff=1024, vocab_size=4000)
MEASURED = {
    "adamw": (BIG, FullLM(length=32), 2, {"batch_size": 4}),
    "adafactor": (
        replace(BIG, layers=18),
        FullLM(length=32),
        4,
        {"batch_size": 4, "optimizer": ADAFACTOR},
    ),
    "autocast": (
        LONG,
        FullLM(length=256),
        20,
        {"batch_size": 20, "precision": "bfloat16_autocast"},
    ),
    "logits": (
        replace(LONG, layers=1, vocab_size=160000),
        FullLM(length=256),
        16,
        {"batch_size": 16},
    ),
    "bias": (
        replace(LONG, layers=4, positions="t5_bias"),
        FullLM(length=512),
        9,
        {"batch_size": 9},
    ),
}


# a CPU of AVX2 alone multiplies in bfloat16 at a fiftieth of float32's speed
HALVES = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(),
    reason="this CPU has no products in bfloat16; the case would take it hours",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=HALVES if each == "autocast" else ()) for each in MEASURED]
)
def test_resident_memory_grows_as_forecast(name, tmp_path):
    model, objective, rows, changes = MEASURED[name]
    run = pretrain(model, objective, **changes)
    said = predicted(run, micro_batch=rows)
    assert said.total >= 1e9
    assert said.total == pytest.approx(grown(run, tmp_path, micro_batch=rows), rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16_autocast", marks=HALVES)])
def test_resident_memory_with_recomputed_layers(precision, tmp_path):
    model = replace(LONG, layers=24, d_ff=4096)
    run = pretrain(model, FullLM(length=256), batch_size=12, precision=precision)
    changes = {"micro_batch": 12, "activation_checkpointing": "on"}
    said = predicted(run, **changes)
    assert said.total >= 1e9
    assert said.total < predicted(run, micro_batch=12).total / 2
    assert said.total == pytest.approx(grown(run, tmp_path, **changes), rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("zero", [0, 1, 2, 3])
def test_resident_memory_of_two_ranks_grows_as_forecast(zero, tmp_path):
    run = pretrain(replace(BIG, layers=10), FullLM(length=32), batch_size=8)
    changes = {"zero": zero, "ranks": 2, "micro_batch": 2}
    said = predicted(run, **changes)
    assert said.total >= 1e9
    assert said.total == pytest.approx(grown(run, tmp_path, **changes), rel=0.15)


ALLOCATOR = {
    # Freed memory is given back at once, so that the high-water mark is that of what is held.
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
}


def grown(run, directory, *, ranks=1, **execution):
    """Bytes that resident memory of rank 0 grows by in fresh processes."""
    asked = directory / "asked.json"
    execution |= {"ranks": ranks}
    asked.write_text(json.dumps({"run": encode(run), "execution": execution}))
    environment = os.environ | ALLOCATOR | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    if ranks > 1:
        environment |= {"STUDY_RENDEZVOUS": str(directory / "meet"), "WORLD_SIZE": str(ranks)}
    children = [
        subprocess.Popen(
            [
                sys.executable,
                str(Path(__file__).parents[2] / "made" / "memory_child.py"),
                str(asked),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment | ({"RANK": str(n), "LOCAL_RANK": str(n)} if ranks > 1 else {}),
        )
        for n in range(ranks)
    ]
    answers = [child.communicate(timeout=500) for child in children]
    assert [child.returncode for child in children] == [0] * ranks, answers
    return json.loads(answers[0][0].splitlines()[-1])["growth"]
