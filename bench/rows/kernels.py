"""Mixers alone: attention on packed rows, and what each mixer costs by length."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch

from bench import same
from bench.clock import seconds
from bench.row import Bench, Figure, Finding, Goal
from bench.rows.corpora import decoder
from kernels.attention import attention, prepare
from kernels.visibility import Visibility
from study.language.model.build import build
from study.language.model.timing import row
from study.language.values.model import Model

TOKENS, DOCUMENT, HEADS, WIDTH = 2048, 256, 4, 32
LENGTHS = (512, 1024, 2048, 4096, 8192, 16384)


def packed_attention(bench: Bench) -> Finding:
    """Forward and backward over eight causal documents, by SDPA with a dense mask."""
    begins = torch.arange(TOKENS) // DOCUMENT * DOCUMENT
    visibility = Visibility.build(
        begins[None].int(), torch.arange(1, TOKENS + 1)[None].int(), num_keys=TOKENS
    )
    share = float(visibility.softmax_mask.sum()) / TOKENS**2
    prepare(visibility, None)
    mask = visibility.softmax_mask[:, None]
    leaves = [torch.randn(1, HEADS, TOKENS, WIDTH, requires_grad=True) for _ in range(3)]
    query, key, value = leaves
    grad = torch.randn(1, HEADS, TOKENS, WIDTH)

    def ours() -> torch.Tensor:
        return attention(query, key, value, visibility, bias=None, scale=WIDTH**-0.5)

    def dense() -> torch.Tensor:
        return torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)

    apart = float((ours() - dense()).detach().abs().max())
    equal = same.outputs(apart, within=1e-5)
    found = bench.beside(
        lambda: seconds(lambda: torch.autograd.grad(ours(), leaves, grad), times=5),
        lambda: seconds(lambda: torch.autograd.grad(dense(), leaves, grad), times=5),
        unit="s",
    )
    return replace(
        found,
        goal=Goal(sense="at most", value=1.2 * share),
        same=(equal,),
        notes=(f"{share:.1%} of the pairs are visible",),
    )


def model_of(mixer: str) -> Model:
    base = replace(decoder(width=128, layers=1), vocab_size=64)
    match mixer:
        case "ssd":
            return replace(base, mixer="ssd", positions="none", d_state=32)
        case "monarch":
            return replace(
                base, mixer="monarch", positions="none", blocks=4, d_filter=32, span=2048, d_ff=352
            )
        case _:
            return base


def exponent(bench: Bench, *, mixer: str) -> Finding:
    """Slope of log time over log length, forward and backward of one layer, float32."""
    layer = build(model_of(mixer), dropout=0.0, seed=0)
    batches = {length: row(model_of(mixer), length) for length in LENGTHS}

    def once(length: int) -> float:
        return seconds(lambda: layer.hidden(batches[length]).square().mean().backward())

    for length in LENGTHS:
        once(length)
    slopes, found = [], []
    for _ in range(bench.rounds):
        times = [min(once(length) for _ in range(2)) for length in LENGTHS]
        slopes.append(float(np.polyfit(np.log(LENGTHS), np.log(times), 1)[0]))
        found.append(times)
    last = [math.log2(times[-1] / times[-2]) for times in found]
    middle = np.median(np.array(found), axis=0)
    return Finding(
        figure=Figure(values=tuple(slopes), unit="x"),
        ours=Figure(values=tuple(times[-1] for times in found), unit=f"s at {LENGTHS[-1]:,}"),
        notes=(
            "Seconds at "
            + ", ".join(
                f"{length:,}: {value:.3g}" for length, value in zip(LENGTHS, middle, strict=True)
            ),
            f"Exponent of the last doubling alone: {np.median(last):.2f}",
        ),
    )
