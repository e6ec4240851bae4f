"""Who depends on whom: every token changed once, in every architecture with every mixer.

The isolation self-test (`study.language.model.isolation`) probes a few places of large rows. This
is its oracle on small ones: the whole table of dependencies, measured with plain forward passes and
compared with one written down from what inputs, targets and documents mean.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from small_models import ARCHITECTURES, KINDS, VOCABULARY, small

from study.language.layout import Segment, layout
from study.nn.initial_values import seeded

# (inputs, targets) of the documents of two rows; the first has padding after it
ROWS = (((4, 3), (2, 3)), ((5, 4), (3, 5)))
SPARE = 3


def lively(kind, architecture):
    """A model in which every parameter matters."""
    built = small(kind, architecture)
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=seeded(name, 9)))
    return built.eval()


def laid(architecture):
    draw = np.random.default_rng(0)
    rows = [
        tuple(
            Segment(
                inputs=draw.integers(2, VOCABULARY, inputs, dtype=np.int32),
                targets=draw.integers(2, VOCABULARY, targets, dtype=np.int32),
            )
            for inputs, targets in row
        )
        for row in ROWS
    ]
    if architecture == "encoder_decoder":
        longest = [max(sum(one[side] for one in row) for row in ROWS) for side in (0, 1)]
        source_length, length = (each + SPARE for each in longest)
        return layout(rows, architecture=architecture, length=length, source_length=source_length)
    return layout(rows, architecture=architecture, length=17 + SPARE)


def documents(architecture):
    """(row, number, first decoder place, inputs, targets) of every document."""
    for row, sizes in enumerate(ROWS):
        begin = 0
        for number, (inputs, targets) in enumerate(sizes, start=1):
            yield row, number, begin, inputs, targets
            begin += targets + (0 if architecture == "encoder_decoder" else inputs)


def readers(architecture):
    """For every place of the decoder's tokens, and of the source's: the decoder positions whose
    logits may depend on what stands there, by the meaning of the architecture.

    Decoder place p of a document holds what position p - 1 emitted; place 0 holds the start.
    """
    decoder, source = {}, {}
    for row, number, begin, inputs, targets in documents(architecture):
        if architecture == "encoder_decoder":
            for place in range(targets):
                decoder[row, begin + place] = {(row, begin + at) for at in range(place, targets)}
            first = sum(each[0] for each in ROWS[row][: number - 1])
            for place in range(inputs):
                source[row, first + place] = {(row, begin + at) for at in range(targets)}
            continue
        whole = inputs + targets
        for place in range(whole):
            # the start and the inputs, places 0 to `inputs`, are a prefix decoder's prefix
            seen_by_all = architecture == "prefix_decoder" and place <= inputs
            decoder[row, begin + place] = {
                (row, begin + at) for at in range(0 if seen_by_all else place, whole)
            }
    return decoder, source


def logits(model, batch):
    with torch.no_grad():
        return model.logits(model.hidden(batch))


def swapped(tokens, row, place):
    changed = tokens.clone()
    changed[row, place] = 2 + (int(tokens[row, place]) - 1) % (VOCABULARY - 2)
    assert changed[row, place] != tokens[row, place]
    return changed


@pytest.mark.parametrize(("kind", "architecture"), list(product(KINDS, ARCHITECTURES)))
def test_every_token_reaches_exactly_those_who_may_see_it(kind, architecture):
    """Outside the readers the difference is exactly zero in float32; within them a change is
    allowed, and each reader's logits do change. A transform over a whole document (`rounding`) may
    move the rest of that document by rounding alone; other documents and padding never.
    """
    model, batch = lively(kind, architecture), laid(architecture)
    before = logits(model, batch)
    rounding = max(getattr(module, "rounding", 0.0) for module in model.modules())
    decoder, source = readers(architecture)
    sides = [("decoder", batch.tokens, decoder)]
    if batch.source is not None:
        sides.append(("source", batch.source.tokens, source))
    checked = 0
    for side, tokens, table in sides:
        for row, place in product(range(tokens.shape[0]), range(tokens.shape[1])):
            changed = swapped(tokens, row, place)
            after = logits(
                model,
                replace(batch, tokens=changed)
                if side == "decoder"
                else replace(batch, source=replace(batch.source, tokens=changed)),
            )
            size = (after - before).abs().amax(-1)
            wanted = table.get((row, place), set())  # padding has no reader
            bound = rounding * torch.finfo(torch.float32).eps * float(before.abs().max())
            for at in product(range(size.shape[0]), range(size.shape[1])):
                what = f"{side} {row}, {place} and the logits at {at}: {float(size[at])}"
                if batch.segments[at] == 0:
                    continue  # padding's own logits are nobody's
                if at in wanted:
                    assert size[at] > bound, f"{what} do not change"
                elif wanted and batch.segments[at] == _own(batch, wanted) and at[0] == row:
                    assert size[at] <= bound, f"{what} change"
                else:
                    assert size[at] == 0, f"{what} change"
                checked += 1
    assert checked > 500


def _own(batch, readers_of):
    """The number of the document that these positions are in."""
    return batch.segments[next(iter(readers_of))]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_table_says_what_the_architecture_means(architecture):
    """By hand: the first document of the first row has 4 inputs and 3 targets."""
    decoder, source = readers(architecture)
    match architecture:
        case "causal_decoder":
            assert decoder[0, 2] == {(0, at) for at in range(2, 7)}
        case "prefix_decoder":
            assert decoder[0, 2] == {(0, at) for at in range(7)}
            assert decoder[0, 5] == {(0, 5), (0, 6)}  # a target is no prefix
        case "encoder_decoder":
            assert source[0, 3] == {(0, 0), (0, 1), (0, 2)}
            assert decoder[0, 1] == {(0, 1), (0, 2)}
