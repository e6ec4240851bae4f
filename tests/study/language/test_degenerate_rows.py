"""Rows that hold nothing, text longer than a row, and text that spells a sentinel."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import ARCHITECTURES, KINDS, VOCABULARY, small

from study.language.data.batches import GROWTH, Recipe, text_batches
from study.language.data.shards import write_shards
from study.language.data.tokenizer import train
from study.language.layout import PAD, Segment, layout
from study.language.objectives import sentinel_ids, span_corruption
from study.language.values.objective import FullLM, Packing, PrefixLM, SpanCorruption
from study.nn.loss import linear_cross_entropy


def document(inputs, targets):
    draw = np.random.default_rng(inputs).integers(2, VOCABULARY, inputs + targets, dtype=np.int32)
    return Segment(inputs=draw[:inputs], targets=draw[inputs:])


def gradients(model, loss):
    """Every parameter's gradient; zero where the loss does not reach it."""
    model.zero_grad()
    loss.backward()
    return {
        name: torch.zeros_like(each) if each.grad is None else each.grad.clone()
        for name, each in model.named_parameters()
    }


@pytest.mark.parametrize(("kind", "architecture"), list(product(KINDS, ARCHITECTURES)))
def test_a_row_of_padding_alone_changes_nothing(kind, architecture):
    """Its own logits are numbers, and loss and gradients are those of the batch without it."""
    model = small(kind, architecture).double()  # so that rounding can't be taken for a leak
    lengths = {"length": 24}
    if architecture == "encoder_decoder":
        lengths["source_length"] = 16
    whole = [(document(6, 5), document(3, 4))]
    with_it = layout([*whole, ()], architecture=architecture, **lengths)
    without = layout(whole, architecture=architecture, **lengths)
    assert (with_it.tokens[1] == PAD).all()
    assert not with_it.loss_mask[1].any()
    with torch.no_grad():
        logits = model.logits(model.hidden(with_it))
    assert torch.isfinite(logits).all()
    found, wanted = (gradients(model, _loss(model, batch)) for batch in (with_it, without))
    scale = max(float(each.abs().max()) for each in wanted.values())
    for name, each in found.items():
        torch.testing.assert_close(each, wanted[name], rtol=0, atol=1e-13 * scale, msg=name)


def _loss(model, batch):
    logits = model.logits(model.hidden(batch)[batch.loss_mask])
    return torch.nn.functional.cross_entropy(logits, batch.labels[batch.loss_mask], reduction="sum")


@pytest.mark.parametrize(("kind", "architecture"), list(product(KINDS, ARCHITECTURES)))
def test_a_batch_of_padding_alone_has_no_loss_and_no_gradient(kind, architecture):
    batch = layout([(), ()], architecture=architecture, length=8)
    model = small(kind, architecture)
    read = model.read_out(model.hidden(batch)[batch.loss_mask])
    loss = linear_cross_entropy(*read, batch.labels[batch.loss_mask], z_loss=1e-4)
    assert loss.total == 0
    for name, each in gradients(model, loss.total).items():
        assert torch.equal(each, torch.zeros_like(each)), name


OBJECTIVES = {
    "full": FullLM(length=40),
    "prefix": PrefixLM(length=40),
    "spans": SpanCorruption(raw_length=40, noise_density=0.15, mean_span=3.0),
}


def _limits(objective, architecture):
    """(decoder, source) lengths, from what each objective says of itself."""
    match objective:
        case SpanCorruption(input_length=inputs, target_length=targets):
            whole, both = inputs + targets, (targets, inputs)
        case FullLM(length=whole):
            both = (whole, 1)
        case PrefixLM(length=whole):
            both = (whole, whole)
    return both if architecture == "encoder_decoder" else (whole,)


def batches(tmp_path, lengths, *, architecture, objective, masking):
    rng = np.random.default_rng(0)
    documents = [rng.integers(2, 280, length, dtype=np.int32) for length in lengths]
    shards = write_shards(tmp_path, documents, 300)
    recipe = Recipe(
        architecture=architecture,
        objective=objective,
        packing=Packing(document_masking=masking, eos_between=True),
        batch_size=2,
        seed=0,
        sentinels=sentinel_ids(vocab_size=300, sentinels=16),
    )
    return text_batches(shards, recipe=recipe), documents


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(0, 400), min_size=1, max_size=5).filter(sum), data=st.data())
def test_no_length_of_documents_makes_a_row_longer_than_its_limit(
    tmp_path_factory, architecture, name, lengths, data
):
    """From nothing to ten rows long. Without document masking the objective's own length is the
    limit; with it the next multiple of GROWTH that holds what the sentinels and ends add.
    """
    masking = data.draw(st.booleans())
    objective = OBJECTIVES[name]
    source, _ = batches(
        tmp_path_factory.mktemp("shards"),
        lengths,
        architecture=architecture,
        objective=objective,
        masking=masking,
    )
    batch = source.batch(0)
    sides = [batch.tokens] + ([batch.source.tokens] if batch.source is not None else [])
    for tokens, limit in zip(sides, _limits(objective, architecture), strict=True):
        if masking and tokens.shape[1] != limit:
            assert tokens.shape[1] > limit
            assert tokens.shape[1] % GROWTH == 0
            assert not isinstance(objective, FullLM)  # which adds nothing to the text
        else:
            assert tokens.shape[1] == limit
    assert batch.labels.max() < 300


def test_a_document_longer_than_the_window_is_read_to_its_end(tmp_path):
    """In several rows, nothing cut and nothing read twice."""
    source, (long,) = batches(
        tmp_path, [400], architecture="causal_decoder", objective=FullLM(length=40), masking=True
    )
    read = np.concatenate(
        [batch.labels[batch.loss_mask].numpy() for batch in map(source.batch, range(5))]
    )
    assert read[:400].tolist() == long.tolist()


@pytest.mark.parametrize("text", ["<extra_id_0>", "a <extra_id_0> b <extra_id_1></s><pad>"])
def test_a_sentinel_that_a_text_spells_is_spelled(tmp_path, text):
    """Span corruption of it has as many sentinels as spans, and none comes from the text."""
    tokenizer = train(["some words of a text", text] * 3, vocab_size=300, sentinels=16)
    ids = np.array(tokenizer.encode(text * 20), dtype=np.int32)
    sentinels = sentinel_ids(vocab_size=tokenizer.vocab_size, sentinels=16)
    assert not np.isin(ids, list(sentinels)).any()
    assert not np.isin(ids, [0, 1]).any()
    assert tokenizer.decode(ids) == text * 20
    objective = SpanCorruption(raw_length=len(ids), noise_density=0.05, mean_span=3.0)
    one = span_corruption.segment(
        ids, objective=objective, rng=np.random.default_rng(0), sentinels=sentinels
    )
    _, spans = objective.noise()
    for side in (one.inputs, one.targets):
        assert np.isin(side, list(sentinels)).sum() == spans
