"""What one layer of a model costs at a length, measured: forward and backward, on this machine.

Owns the measurement behind `study mixers --measure`; its values are `study.store.times`'. The
length counts every position of a row, source and target together: an encoder-decoder and a prefix
decoder have half of it as inputs. Times belong to the machine and the moment, and enter no run.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch

from kernels import backend
from study.language.layout import Batch, Segment, layout
from study.language.model.build import LanguageModel, build
from study.language.values.model import Model
from study.language.values.stages import Pretrain
from study.runs.identity import canonical
from study.runs.node import Run
from study.store import provenance
from study.store.times import Times

LENGTHS = (512, 1024, 2048, 4096, 8192)
REPEATS = 3
VOCABULARY = 64


def measure(
    runs: Iterable[Run], *, threads: int, lengths: Sequence[int] = LENGTHS
) -> tuple[Times, ...]:
    """Measure every model that the runs pretrain.

    Raises ValueError where nothing is pretrained, or for lengths that no exponent can be fitted to.
    """
    if len(set(lengths)) < 3 or min(lengths) < 2:
        raise ValueError(f"lengths {tuple(lengths)}; legal: three or more, of 2 or more")
    models = list(dict.fromkeys(run.model for run in runs if isinstance(run, Pretrain)))
    if not models:
        raise ValueError("nothing is pretrained here; legal: a sweep with a Pretrain")
    torch.set_num_threads(threads)
    return tuple(
        Times(
            model=canonical(model),
            lengths=tuple(lengths),
            seconds=tuple(_seconds(model, lengths)),
            machine=provenance.collect()["hardware"]["cpu"],
            threads=threads,
            backend=backend.backend(torch.device("cpu"), torch.float32),
        )
        for model in models
    )


def _seconds(model: Model, lengths: Sequence[int]) -> list[float]:
    """Rounds over all lengths, so that a slow moment of the machine falls on all of them."""
    layer = build(replace(model, layers=1, vocab_size=VOCABULARY), dropout=0.0, seed=0)
    batches = [row(model, length) for length in lengths]
    _pass(layer, batches[0])
    rounds = [[_pass(layer, batch) for batch in batches] for _ in range(REPEATS)]
    return [statistics.median(times) for times in zip(*rounds, strict=True)]


def row(model: Model, length: int) -> Batch:
    """One document of `length` tokens; half of it inputs, except in a causal decoder."""
    document = np.random.default_rng(0).integers(2, VOCABULARY, length).astype(np.int32)
    split = 0 if model.architecture == "causal_decoder" else length // 2
    segment = Segment(inputs=document[:split], targets=document[split:])
    return layout([(segment,)], architecture=model.architecture)


def _pass(layer: LanguageModel, batch: Batch) -> float:
    begun = time.perf_counter()
    layer.hidden(batch).square().mean().backward()
    return time.perf_counter() - begun
