"""The state-space mixer in the models: its FLOPs, adaptation, parameters' roles, refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from study.language import cost
from study.language.layout import Segment, layout
from study.language.model.adapt import adapt
from study.language.model.build import build
from study.language.values.model import Model
from study.language.values.objective import PrefixLM, SpanCorruption
from study.train.optimizers import role

SMALL = Model(
    architecture="causal_decoder",
    mixer="ssd",
    positions="none",
    layers=2,
    d_model=16,
    heads=2,
    d_head=8,
    d_ff=24,
    vocab_size=40,
    tied=True,
    d_state=4,
)
ARCHITECTURES = ("causal_decoder", "prefix_decoder", "encoder_decoder")
every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)


@pytest.mark.parametrize("length", [500, 514])
@every_architecture
def test_flops_are_what_torch_counts(architecture, length):
    model = replace(SMALL, architecture=architecture)
    built = build(model, dropout=0.0, seed=0)
    ones = np.full(length, 5, dtype=np.int32)
    objective = (
        SpanCorruption(raw_length=length, noise_density=0.15, mean_span=3.0)
        if architecture == "encoder_decoder"
        else PrefixLM(length=length)
    )
    if isinstance(objective, SpanCorruption):
        half, rest = objective.input_length, objective.target_length
        ones = np.full(half + rest, 5, dtype=np.int32)
    else:
        half = length // 2
    batch = layout(
        [(Segment(inputs=ones[:half], targets=ones[half:]),)] * 2, architecture=architecture
    )
    # Torch counts its fused CPU attention as nothing, and the unfused form as two products.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        logits = built.logits(built.hidden(batch)[batch.loss_mask])
        forward = counter.get_total_flops()
        logits.square().sum().backward()
    shape = cost.row_shape(model, objective)
    # The sums of decays are a product too, with a triangle of ones that takes no gradient.
    chunks = sum(-(-side // 64) for side in (shape.source, shape.target))
    sums = 2 * 2 * chunks * 64 * 64 * model.heads * model.layers
    counted = 2 * cost.forward_flops(model, shape)
    assert forward == counted + sums
    assert counter.get_total_flops() == 3 * counted + 2 * sums


def test_causal_and_prefix_decoders_are_the_same_tensors():
    causal = replace(SMALL, architecture="causal_decoder")
    state = build(causal, dropout=0.0, seed=0).state_dict()
    for target in ("prefix_decoder", "encoder_decoder"):
        adapted, accounts = adapt(
            state, source=causal, target=replace(SMALL, architecture=target), seed=1
        )
        actions = {account.action for account in accounts}
        assert actions == ({"copied"} if target == "prefix_decoder" else {"copied", "initialised"})
        assert all(torch.equal(adapted[name], values) for name, values in state.items())


def test_filters_and_vectors_neither_decay_nor_go_to_muon():
    roles = {
        name.rpartition("state_space.")[2]: role(name, each)
        for name, each in build(SMALL, dropout=0.0, seed=0).named_parameters()
        if "layers.0.state_space" in name
    }
    vectors = {"short", "step_bias", "log_decay", "skip", "state_norm"}
    assert {name for name, found in roles.items() if found == "norm"} == vectors
    assert {found for name, found in roles.items() if name not in vectors} == {"matrix"}


def test_shapes_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="d_state is 0 for the mixer 'ssd'; legal: at least 1"):
        replace(SMALL, d_state=0)
    with pytest.raises(ValueError, match="d_state is 4 for the mixer 'attention'; legal: 0"):
        replace(SMALL, mixer="attention")
    with pytest.raises(ValueError, match=r"positions is 'rope' for the mixer 'ssd'.*legal: 'none'"):
        replace(SMALL, positions="rope")
