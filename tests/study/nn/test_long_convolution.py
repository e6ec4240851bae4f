"""The mixer `monarch` in the models: rounding, cost, adaptation, parameters' roles, refusals."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from kernels.longconv import longconv
from study.language import cost
from study.language.layout import Segment, layout
from study.language.model.adapt import adapt, table
from study.language.model.build import build
from study.language.model.check import MIXERS
from study.language.model.isolation import IsolationError, check_isolation
from study.language.values.model import Model
from study.language.values.objective import PrefixLM, SpanCorruption
from study.nn import long_convolution
from study.nn.block_diagonal import BlockDiagonal, shuffled
from study.nn.cost import filter_flops, mixer_flops
from study.nn.filters import ImplicitFilter
from study.runs.training import AdamW, Muon
from study.train.optimizers import Optimizer, role

SMALL = Model(
    architecture="causal_decoder",
    mixer="monarch",
    positions="none",
    layers=2,
    d_model=16,
    heads=2,
    d_head=8,
    d_ff=24,
    vocab_size=40,
    tied=True,
    **MIXERS["monarch"],
)
ARCHITECTURES = ("causal_decoder", "prefix_decoder", "encoder_decoder")
every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)


def logits_of(model, tokens: list[int], architecture: str) -> torch.Tensor:
    half = len(tokens) // 2
    both = np.array(tokens, dtype=np.int32)
    row = (Segment(inputs=both[:half], targets=both[half:]),)
    return model.logits(model.hidden(layout([row], architecture=architecture)))


@every_architecture
@torch.no_grad()
def test_in_float64_unseen_keys_pass_by_less_than_1e_12(architecture):
    model = build(replace(SMALL, architecture=architecture), dropout=0.0, seed=0).double().eval()
    tokens = list(range(2, 38))
    before = logits_of(model, tokens, architecture)
    tokens[30] += 1
    change = (logits_of(model, tokens, architecture) - before).abs().amax(-1)[0]
    last_unseen = 12 if architecture == "encoder_decoder" else 30
    assert float(change[: last_unseen + 1].max()) < 1e-12
    assert float(change[last_unseen + 1 :].max()) > 1e-3
    check_isolation(model, architecture=architecture, vocab_size=40, precision="float32")


@pytest.mark.parametrize("precision", ["float32", "bfloat16_autocast"])
@every_architecture
def test_a_convolution_that_sees_one_key_more_is_caught(architecture, precision, monkeypatch):
    """The bound on rounding is far below what a wrong filter lets through."""

    def leaking(inputs, after, before, visibility):
        mixed = longconv(inputs, after, before, visibility)
        ahead = torch.nn.functional.pad(inputs, (0, 0, 0, 1))[:, 1:]
        inside = torch.arange(inputs.shape[1])[None] + 1 < visibility.end
        return mixed + 0.01 * torch.where(inside[..., None], 0.0, ahead)

    monkeypatch.setattr(long_convolution, "longconv", leaking)
    model = build(replace(SMALL, architecture=architecture), dropout=0.0, seed=0)
    with pytest.raises(IsolationError, match="leak"):
        check_isolation(model, architecture=architecture, vocab_size=40, precision=precision)


@pytest.mark.parametrize("length", [100, 129])
@every_architecture
def test_flops_are_what_torch_counts_and_the_transforms(architecture, length):
    model = replace(SMALL, architecture=architecture)
    built = build(model, dropout=0.0, seed=0)
    if architecture == "encoder_decoder":
        objective = SpanCorruption(raw_length=length, noise_density=0.15, mean_span=3.0)
        half, whole = objective.input_length, objective.input_length + objective.target_length
    else:
        objective, half, whole = PrefixLM(length=length), length // 2, length
    ones = np.full(whole, 5, dtype=np.int32)
    row = (Segment(inputs=ones[:half], targets=ones[half:]),)
    batch = layout([row] * 2, architecture=architecture)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        built.logits(built.hidden(batch)[batch.loss_mask])
    shape = cost.row_shape(model, objective)
    if not isinstance(objective, SpanCorruption):  # the expected split, where this one is known
        shape = replace(shape, loss=Fraction(whole - half))
    transforms = 0
    for side, reach in ((shape.target, cost.reach(model)), (shape.source, "full")):
        if not side:
            continue
        bare = replace(model, d_model=4, blocks=4, d_ff=4)  # projections of a known size
        products = 2 * side * 4 * bare.d_model * 16 // 4
        transforms += 2 * (mixer_flops(bare, side, reach) - products)
        filters = 1 if reach == "causal" else 2
        network = 2 * side * 8 * (5 + 2 * 8 + 16)
        transforms += filter_flops(model, side, reach) - filters * network
    transforms *= model.layers
    wanted = 2 * cost.forward_flops(model, shape) + cost.shared_flops(model, shape)
    assert counter.get_total_flops() == wanted - transforms


def test_changes_of_basis_cost_two_products_of_digits():
    """129 places are 11 high digits of 12: 11 blocks of 12 x 12, then 12 of 11 x 11, twice."""
    without, with_them = (
        mixer_flops(replace(SMALL, basis=basis), 129, "causal") for basis in (0, 12)
    )
    channels = SMALL.heads * SMALL.d_head
    assert with_them - without == 2 * channels * 2 * (11 * 12 * 12 + 12 * 11 * 11)


def test_a_run_pays_for_its_filters_once_a_step():
    shape = cost.row_shape(SMALL, PrefixLM(length=64))
    assert cost.shared_flops(SMALL, shape) > 0
    attention = replace(SMALL, mixer="attention", blocks=0, d_filter=0, span=0)
    assert cost.shared_flops(attention, shape) == 0


def state(architecture: str) -> dict[str, torch.Tensor]:
    return build(replace(SMALL, architecture=architecture), dropout=0.0, seed=0).state_dict()


def adapted(source: str, target: str):
    return adapt(
        state(source),
        source=replace(SMALL, architecture=source),
        target=replace(SMALL, architecture=target),
        seed=1,
    )


def test_the_filter_for_later_keys_is_new_in_a_prefix_decoder():
    values, accounts = adapted("causal_decoder", "prefix_decoder")
    for each in accounts:
        assert each.action == ("initialised" if ".before." in each.name else "copied"), each.name
    assert sum(".before." in each.name for each in accounts) == 2 * 8
    assert "the filter for later keys is new" in table(accounts)
    # Without a prefix the function is the same, to the bit.
    models = [build(replace(SMALL, architecture=each), dropout=0.0, seed=5) for each in
              ("causal_decoder", "prefix_decoder")]  # fmt: skip
    models[0].load_state_dict(state("causal_decoder"))
    models[1].load_state_dict(values)
    row = (Segment(inputs=np.array([], np.int32), targets=np.arange(2, 20, dtype=np.int32)),)
    causal, prefix = (
        model.hidden(layout([row], architecture=architecture))
        for model, architecture in zip(models, ARCHITECTURES[:2], strict=True)
    )
    assert torch.equal(causal, prefix)


def test_the_filter_for_later_keys_is_dropped_on_the_way_back():
    values, accounts = adapted("prefix_decoder", "causal_decoder")
    assert values.keys() == state("causal_decoder").keys()
    assert all(torch.equal(values[name], state("prefix_decoder")[name]) for name in values)
    dropped = {each.name for each in accounts if each.action == "dropped"}
    assert dropped == {name for name in state("prefix_decoder") if ".before." in name}
    assert "dropped" in table(accounts)


@pytest.mark.parametrize("source", ["causal_decoder", "prefix_decoder"])
def test_an_encoder_takes_the_filter_where_there_is_one(source):
    _, accounts = adapted(source, "encoder_decoder")
    later = [each for each in accounts if ".before." in each.name]
    assert all(each.name.startswith("encoder.") for each in later)
    wanted = "copied" if source == "prefix_decoder" else "initialised"
    assert {each.action for each in later} == {wanted}


def test_out_of_an_encoder_decoder_a_prefix_decoder_gets_a_new_filter():
    _, accounts = adapted("encoder_decoder", "prefix_decoder")
    new = [each for each in accounts if each.action == "initialised"]
    assert new
    assert all(".before." in each.name for each in new)


def test_networks_of_filters_do_not_decay_and_blocks_do():
    built = build(replace(SMALL, architecture="prefix_decoder"), dropout=0.0, seed=0)
    roles = {name: role(name, each) for name, each in built.named_parameters()}
    for name, found in roles.items():
        if ".before." in name or ".after." in name:
            assert found == ("positions" if name.endswith("weight") else "norm"), name
        elif name.endswith(("short", "skip")):
            assert found == "norm", name
        elif "long_convolution" in name or ".mlp." in name:
            assert found == "matrix", name


def test_muon_refuses_stacks_of_blocks():
    adamw = AdamW(learning_rate=1e-3, beta1=0.9, beta2=0.98, epsilon=1e-8, weight_decay=0.0)
    recipe = Muon(learning_rate=1e-3, momentum=0.9, weight_decay=0.0, adamw=adamw)
    with pytest.raises(ValueError, match="legal for the mixer 'monarch': AdamW, Adafactor"):
        Optimizer(build(SMALL, dropout=0.0, seed=0), recipe=recipe)


def test_filters_begin_with_unit_energy_and_fade():
    model = replace(SMALL, d_filter=32, heads=8, d_head=32, span=100)
    built = build(model, dropout=0.0, seed=0)
    taps = built.decoder.layers[0].long_convolution.after(400).detach()
    energy = taps.square().sum(-1)
    assert 0.3 < float(energy.mean()) < 3.0
    assert float(taps[:, 200:].abs().max()) < 0.05 * float(taps[:, :20].abs().max())
    # A filter does not depend on how much of it is asked for.
    assert torch.equal(built.decoder.layers[0].long_convolution.after(50), taps[:, :50])


def test_projections_with_a_shuffle_between_mix_all_channels():
    first, second = (BlockDiagonal(16, 16, blocks=4) for _ in range(2))
    for each in (first, second):
        torch.nn.init.ones_(each.weight)
    reached = second(shuffled(first(torch.eye(16)), blocks=4))
    assert bool((reached != 0).all())
    assert not bool((second(first(torch.eye(16))) != 0).all())


def test_a_filter_keeps_its_precision_under_autocast():
    torch.manual_seed(0)
    each = ImplicitFilter(4, width=8, span=64)
    torch.nn.init.constant_(each.frequency, 10.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = each(20)
    assert torch.equal(inside, each(20))


def test_shapes_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="blocks is 0 for the mixer 'monarch'; legal: at least 1"):
        replace(SMALL, blocks=0)
    with pytest.raises(ValueError, match="span is 0 for the mixer 'monarch'; legal: at least 1"):
        replace(SMALL, span=0)
    with pytest.raises(ValueError, match=r"basis is 9 for the mixer 'monarch'; legal: 0, .* 10"):
        replace(SMALL, basis=9)
    with pytest.raises(ValueError, match="d_state is 4 for the mixer 'monarch'; legal: 0"):
        replace(SMALL, d_state=4)
    with pytest.raises(ValueError, match="d_ff is 26 for 4 blocks; legal: a multiple"):
        replace(SMALL, d_ff=26)
    with pytest.raises(ValueError, match="positions is 'rope' for the mixer 'monarch'"):
        replace(SMALL, positions="rope")
