"""Sizes, recipes and suites as functions: what fills the fields that `study.language.values` leaves
without defaults.

Owns no meaning of its own: a preset returns a value that could have been written out, and changing
one changes the ids of the sweeps that use it, which the golden file shows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal
from urllib.parse import urlencode

from study.language.values.corpus import PromptedTask
from study.language.values.model import Architecture, Model, Positions
from study.language.values.objective import SpanCorruption
from study.language.values.suite import SuiteTask
from study.runs.source import Part, Source
from study.runs.training import Adafactor, AdamW, Constant, Rsqrt, Training

PROMPTSOURCE = "pypi://promptsource==0.2.3/promptsource/templates"
WORLD = "world:1"


def paper_decoder(architecture: Architecture, *, positions: Positions) -> Model:
    """The 4.8 B decoder: 4,762,357,760 parameters with the paper's positions."""
    return Model(
        architecture=architecture,
        mixer="attention",
        positions=positions,
        layers=24,
        d_model=4096,
        heads=64,
        d_head=64,
        d_ff=10240,
        vocab_size=32128,
        tied=True,
    )


def paper_span_corruption() -> SpanCorruption:
    """568 raw tokens in 28 spans: inputs 512, targets 114."""
    return SpanCorruption(raw_length=568, noise_density=0.15, mean_span=3.0)


def paper_pretraining(*, steps: int) -> Training:
    """Adafactor at 1/sqrt(max(step, 10,000)), 2,048 rows, z-loss, no dropout, summed loss."""
    return Training(
        optimizer=Adafactor(
            learning_rate=0.01, decay_rate=0.8, clip_threshold=1.0, weight_decay=0.0
        ),
        schedule=Rsqrt(flat_steps=10_000),
        steps=steps,
        batch_size=2048,
        dropout=0.0,
        z_loss=1e-4,
        clip_norm=None,
        precision="bfloat16_autocast",
        reduction="sum",
    )


def paper_finetuning(*, steps: int) -> Training:
    """As pretraining, but at a constant 1e-3, with 1,024 rows of 1,280 tokens and dropout 0.1."""
    training = paper_pretraining(steps=steps)
    return replace(
        training,
        optimizer=replace(training.optimizer, learning_rate=1e-3),
        schedule=Constant(warmup_steps=0),
        batch_size=1024,
        dropout=0.1,
    )


def adamw(learning_rate: float) -> AdamW:
    """AdamW with the betas that language models use."""
    return AdamW(
        learning_rate=learning_rate, beta1=0.9, beta2=0.98, epsilon=1e-8, weight_decay=0.01
    )


def small_training(
    learning_rate: float,
    *,
    steps: int,
    batch_size: int,
    dropout: float = 0.0,
    precision: Literal["float32", "bfloat16_autocast"] = "float32",
) -> Training:
    """AdamW, a short warm-up to a constant rate, clipping at 1: what small models train under."""
    return Training(
        optimizer=adamw(learning_rate),
        schedule=Constant(warmup_steps=min(100, steps // 10)),
        steps=steps,
        batch_size=batch_size,
        dropout=dropout,
        z_loss=1e-4,
        clip_norm=1.0,
        precision=precision,
        reduction="mean",
    )


def world(path: str, **query: int) -> Source:
    """A source of the built-in microworld, such as `world("text", documents=1000, seed=1)`."""
    suffix = "?" + urlencode(query) if query else ""
    text_field = "text" if path.partition("/")[0] == "text" else ""
    return Source(
        uri=f"world://{path}{suffix}", digest=WORLD, text_field=text_field, where=(), part=None
    )


def released(
    uri: str,
    *,
    sha256: str,
    text_field: str = "",
    where: tuple[tuple[str, str], ...] = (),
    part: Part | None = None,
    split_by: tuple[str, ...] = (),
) -> Source:
    """A file inside a released package (`pypi://NAME==VERSION/PATH`) by its bytes' digest."""
    return Source(
        uri=uri,
        digest=f"sha256:{sha256}",
        text_field=text_field,
        where=where,
        part=part,
        split_by=split_by,
    )


def world_task(family: str, *, rows: int, seed: int) -> PromptedTask:
    """A training family of the microworld."""
    return PromptedTask(
        name=family,
        rows=world(f"rows/{family}", items=rows, seed=seed),
        templates=world(f"templates/{family}"),
        template_names=(),
    )


def world_suite_task(
    family: str,
    *,
    rows: int,
    seed: int,
    chance: float,
    role: Literal["headline", "probe", "stretch"],
) -> SuiteTask:
    """A held-out family of the microworld, ranked over its answer choices."""
    return SuiteTask(
        name=family,
        rows=world(f"rows/{family}", items=rows, seed=seed),
        templates=world(f"templates/{family}"),
        template_names=(),
        metric="rank",
        chance=chance,
        role=role,
    )


def recall_suite_task(name: str, *, pairs: int, rows: int, seed: int) -> SuiteTask:
    """Associative recall (`study.language.world.scenes`): which of four values of a document with
    `pairs` pairs belongs to a key.
    """
    return SuiteTask(
        name=name,
        rows=world("rows/recall", items=rows, pairs=pairs, seed=seed),
        templates=world("templates/recall"),
        template_names=(),
        metric="rank",
        chance=0.25,
        role="headline",
    )
