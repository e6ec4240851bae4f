"""Shapes by formula against the built model's own tensors and the optimiser's roles."""

from collections import Counter
from dataclasses import replace

import pytest

from study.language import cost
from study.language.cost import shapes
from study.language.model.build import empty
from study.language.values.model import Model
from study.train.optimizers import role

BASE = Model(
    architecture="causal_decoder",
    mixer="attention",
    positions="t5_bias",
    layers=2,
    d_model=24,
    heads=3,
    d_head=8,
    d_ff=36,
    vocab_size=72,
    tied=True,
)
MODELS = {
    "t5_bias": BASE,
    "t5_bias_paper": replace(BASE, positions="t5_bias_paper", tied=False),
    "rope": replace(BASE, positions="rope"),
    "ssd": replace(BASE, mixer="ssd", positions="none", d_state=5),
    "monarch": replace(
        BASE, mixer="monarch", positions="none", blocks=4, d_filter=6, span=50, basis=10
    ),
}


@pytest.mark.parametrize("architecture", ["causal_decoder", "prefix_decoder", "encoder_decoder"])
@pytest.mark.parametrize("name", MODELS)
def test_every_tensor_of_the_built_model_is_listed_with_its_role(name, architecture):
    model = replace(MODELS[name], architecture=architecture)
    listed = Counter()
    for each in shapes(model):
        listed[each.role, each.shape] += each.count
    built = Counter(
        (role(called, tensor), tuple(tensor.shape))
        for called, tensor in empty(model, dropout=0.0).named_parameters()
    )
    assert listed == built
    assert sum(each.numel for each in shapes(model)) == cost.parameter_count(model)
