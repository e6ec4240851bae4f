"""Counted costs against counts by hand and the language domain's formulas."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_runs
import torch
import toy_domain as toy
from torch import nn
from torch.utils import flop_counter

from study.costs.counted import Count, counted
from study.language import cost
from study.language.layout import Segment, layout
from study.language.model.build import empty
from study.language.model.check import MIXERS
from study.language.values.model import Model
from study.language.values.objective import FullLM, Prompted
from study.runs import domain

ROWS = 6


@pytest.fixture(autouse=True)
def _nothing_counted_before(monkeypatch):
    monkeypatch.setattr("study.costs.counted._counts", {})


def two_layers(inputs=4, width=8, outputs=3):
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, outputs))


def whole(model, device):
    return model(torch.zeros(ROWS, 4, device=device)).sum()


def count(model, *, name="made", loss=whole):
    return counted((name,), model=model, loss=loss)


def test_two_layers_by_hand():
    first, second = 2 * ROWS * 4 * 8, 2 * ROWS * 8 * 3
    # Each layer once forward and once for its weights; once more for what the second one reads.
    # Nobody asks for the gradient of the batch.
    flops = 2 * (first + second) + second
    assert count(two_layers) == Count(parameters=4 * 8 + 8 + 8 * 3 + 3, flops=flops)


def test_what_is_not_trained_is_no_parameter_and_has_no_gradient():
    def frozen():
        model = two_layers()
        model[2].requires_grad_(False)
        return model

    first, second = 2 * ROWS * 4 * 8, 2 * ROWS * 8 * 3
    assert count(frozen) == Count(parameters=4 * 8 + 8, flops=2 * (first + second))


MODEL = Model(
    architecture="causal_decoder",
    mixer="attention",
    positions="rope",
    layers=2,
    d_model=32,
    heads=3,
    d_head=8,
    d_ff=40,
    vocab_size=72,
    tied=True,
)


def language(shape, *, inputs, targets):
    """The count of a model over rows that its formulas know as well."""
    ones = np.full(inputs + targets, 5, dtype=np.int32)
    row = (Segment(inputs=ones[:inputs], targets=ones[inputs:]),)
    batch = layout([row] * ROWS, architecture=shape.architecture)

    def loss(model, device):
        return model.logits(model.hidden(batch.to(device))).sum()

    return counted((shape, ROWS), model=lambda: empty(shape, dropout=0.0), loss=loss)


@pytest.mark.parametrize("architecture", ["causal_decoder", "encoder_decoder"])
@pytest.mark.parametrize("positions", ["rope", "t5_bias"])
def test_a_language_model_takes_what_its_formulas_say(architecture, positions):
    shape = replace(MODEL, architecture=architecture, positions=positions)
    inputs = 20 if architecture == "encoder_decoder" else 0
    objective = Prompted(inputs=inputs, targets=10) if inputs else FullLM(length=10)
    forward = cost.forward_flops(shape, cost.row_shape(shape, objective))
    assert language(shape, inputs=inputs, targets=10) == Count(
        parameters=cost.parameter_count(shape), flops=3 * ROWS * forward
    )


def mixed(mixer):
    return replace(MODEL, mixer=mixer, positions="none", **MIXERS[mixer])


def test_a_state_space_runs_without_numbers():
    """Its backward pass is about twice its forward pass; the formula says twice."""
    shape = mixed("ssd")
    forward = cost.forward_flops(shape, cost.row_shape(shape, FullLM(length=100)))
    found = language(shape, inputs=0, targets=100)
    assert found.flops == pytest.approx(float(3 * ROWS * forward), rel=0.03)


def test_a_kernel_whose_flops_nobody_registered_is_refused():
    with pytest.raises(ValueError, match=r"FLOPs of archstudy\.longconv_spectral, .* not known"):
        language(mixed("monarch"), inputs=0, targets=30)


def test_a_value_is_counted_once():
    built = []

    def model():
        built.append(1)
        return two_layers()

    for value in (MODEL, replace(MODEL), replace(MODEL, layers=3)):
        count(model, name=value)
    assert len(built) == 2


def test_a_model_takes_no_memory_however_wide_it_is():
    wide = count(lambda: two_layers(width=10**10))
    assert wide.parameters == 10**10 * (4 + 1 + 3) + 3


def test_a_model_that_looks_at_numbers_is_refused():
    def loss(model, device):
        out = whole(model, device)
        return out if out > 0 else -out

    with pytest.raises(ValueError, match="does not run on the meta device"):
        count(two_layers, loss=loss)


@torch.library.custom_op("made_for_tests::doubled", mutates_args=())
def doubled(tensor: torch.Tensor) -> torch.Tensor:
    return tensor * 2


doubled.register_fake(torch.empty_like)
doubled.register_autograd(lambda ctx, gradient: gradient * 2)


def test_an_operator_of_unknown_flops_is_refused_until_it_registers_them(monkeypatch):
    def loss(model, device):
        return doubled(whole(model, device))

    plain = count(two_layers, name="plain")
    with pytest.raises(ValueError, match=r"FLOPs of made_for_tests\.doubled are not known"):
        count(two_layers, loss=loss)
    monkeypatch.setitem(
        flop_counter.flop_registry,
        torch.ops.made_for_tests.doubled,
        flop_counter.shape_wrapper(lambda shape, out_shape: 7),
    )
    assert count(two_layers, loss=loss).flops == plain.flops + 7


def test_a_domain_hands_over_its_model_in_place_of_a_formula():
    with toy.registered():
        run = toy.train(training=tiny_runs.training(5, batch_size=ROWS), width=8)
        found = domain.cost(run)
    first, second = 2 * ROWS * 4 * 8, 2 * ROWS * 8
    assert found.parameters == 4 * 8 + 8 + 8 + 1
    assert found.flops == 5 * (2 * (first + second) + second)
