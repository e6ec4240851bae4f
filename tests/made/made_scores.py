"""Tiny language models, requests, and the scoring rule written out in float64."""

import random

import torch

from kernels.visibility import Visibility
from study.language.layout import Batch, SourceSide
from study.language.model.build import build
from study.language.model.check import MIXERS
from study.language.scores.score import Request, Subject
from study.language.values.model import Model
from study.language.values.suite import Scoring

ARCHITECTURES = ("causal_decoder", "prefix_decoder", "encoder_decoder")
VOCABULARY = 41
LEFT = Scoring(end_of_sequence=True, truncation="left")


def tiny(architecture, positions="rope", mixer="attention", seed=0):
    shape = Model(
        architecture=architecture,
        mixer=mixer,
        positions=positions if mixer == "attention" else "none",
        layers=2,
        d_model=16,
        heads=2,
        d_head=8,
        d_ff=32,
        vocab_size=VOCABULARY,
        tied=False,
        **MIXERS.get(mixer, {}),
    )
    return build(shape, dropout=0.0, seed=seed).eval()


def subject(architecture, *, max_length=64, batch_tokens=4096, **options):
    return Subject(
        model=tiny(architecture, **options),
        architecture=architecture,
        max_length=max_length,
        batch_tokens=batch_tokens,
    )


def requests(number=12, seed=3):
    draw = random.Random(seed)
    token = lambda: draw.randrange(2, VOCABULARY)  # noqa: E731
    return [
        Request(
            context=[token() for _ in range(draw.randrange(0, 20))],
            targets=[[token() for _ in range(draw.randrange(1, 5))] for _ in range(3)],
        )
        for _ in range(number)
    ]


def shared_requests():
    """Contexts with several targets, with one, empty, and equal ones under several requests."""
    some = requests(4)
    first = some[0]
    return [
        *some,
        Request(context=list(first.context), targets=[[5, 6, 7], list(first.targets[1])]),
        Request(context=some[1].context[:3], targets=[[9]]),
        Request(context=[], targets=[[4, 5], [7], [8, 9, 10, 11]]),
    ]


def row(ends, *, keys):
    end = torch.tensor([ends], dtype=torch.int32)
    return Visibility.build(torch.zeros_like(end), end, num_keys=keys)


def oracle(model, architecture, context, target):
    """Log-probability of each target token and of the end of sequence, in float64, written out."""
    wanted = [*target, 1]
    source = None
    if architecture == "encoder_decoder":
        shifted = [0, *target]
        decoder = row([i + 1 for i in range(len(shifted))], keys=len(shifted))
        seen = context or [0]
        size = len(context)
        cross = torch.full((1, len(shifted)), size, dtype=torch.int32)
        source = SourceSide(
            tokens=torch.tensor([seen]),
            positions=torch.arange(len(seen), dtype=torch.int32)[None],
            visibility=row([size] * len(seen), keys=len(seen)),
            cross=Visibility.build(torch.zeros_like(cross), cross, num_keys=len(seen)),
            segments=torch.ones(1, len(seen), dtype=torch.int32),
        )
        first = 0
    else:
        shifted = [0, *context, *target]
        prefix = len(context) + 1 if architecture == "prefix_decoder" else 0
        decoder = row([max(i + 1, prefix) for i in range(len(shifted))], keys=len(shifted))
        first = len(context)
    length = len(shifted)
    batch = Batch(
        tokens=torch.tensor([shifted]),
        labels=torch.zeros(1, length, dtype=torch.int64),
        loss_mask=torch.zeros(1, length, dtype=torch.bool),
        positions=torch.arange(length, dtype=torch.int32)[None],
        visibility=decoder,
        segments=torch.ones(1, length, dtype=torch.int32),
        source=source,
    )
    with torch.no_grad():
        logits = model.logits(model.hidden(batch))[0]
    chances = torch.log_softmax(logits.double(), dim=-1)
    return [float(chances[first + place, token]) for place, token in enumerate(wanted)]
