"""Packing changes nothing: loss and gradients equal those of the segments in rows of their own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from study.language.layout import Batch, Row, Segment, layout
from study.language.model.build import build
from study.language.values.model import Model

ARCHITECTURES = ("causal_decoder", "prefix_decoder", "encoder_decoder")
SIZES = (((5, 3), (0, 4), (7, 2)), ((2, 6), (1, 1)))
VOCABULARY = 40


def rows() -> list[Row]:
    rng = np.random.default_rng(0)

    def draw(length: int) -> np.ndarray:
        return rng.integers(2, VOCABULARY, length, dtype=np.int32)

    return [tuple(Segment(inputs=draw(n), targets=draw(m)) for n, m in row) for row in SIZES]


def gradients(model, batches: list[Batch]) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss summed over loss tokens, and its gradients."""
    model.zero_grad()
    total = 0.0
    for batch in batches:
        logits = model.logits(model.hidden(batch)[batch.loss_mask])
        loss = cross_entropy(logits, batch.labels[batch.loss_mask], reduction="sum")
        loss.backward()
        total += float(loss.detach())
    kept = {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    return total, kept


@pytest.mark.parametrize("positions", ["rope", "t5_bias", "t5_bias_paper"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_packed_gradients_equal_unpacked_ones(architecture, positions):
    shape = Model(
        architecture=architecture,
        mixer="attention",
        positions=positions,
        layers=2,
        d_model=16,
        heads=2,
        d_head=8,
        d_ff=24,
        vocab_size=VOCABULARY,
        tied=True,
    )
    model = build(shape, dropout=0.0, seed=0).double()
    longer: dict[str, int] = {"length": 25}
    if architecture == "encoder_decoder":
        longer["source_length"] = 15
    packed = layout(rows(), architecture=architecture, **longer)
    alone = [layout([(one,)], architecture=architecture) for row in rows() for one in row]
    assert packed.loss_tokens == sum(batch.loss_tokens for batch in alone)

    loss, wanted = gradients(model, alone)
    for batches in ([packed], [packed.rows(0, 1), packed.rows(1, 2)]):
        found_loss, found = gradients(model, batches)
        assert found_loss == pytest.approx(loss, rel=1e-12)
        assert found.keys() == wanted.keys()
        for name, gradient in found.items():
            assert torch.allclose(gradient, wanted[name], rtol=1e-9, atol=1e-12), name
