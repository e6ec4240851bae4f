"""The state-space mixer in all three architectures: what holds for attention holds for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from study import cost
from study.adapt import adapt
from study.isolation import IsolationError, check_isolation
from study.layout import Batch, Row, Segment, layout
from study.model import build
from study.optimizers import role
from study.run import Model, PrefixLM, SpanCorruption
from study.state_space import short_filter

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
SIZES = (((5, 3), (0, 4), (7, 2)), ((2, 6), (1, 1)))


def lively(architecture: str):
    """A model in which every parameter matters."""
    built = build(replace(SMALL, architecture=architecture), dropout=0.0, seed=0)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return built


def rows() -> list[Row]:
    rng = np.random.default_rng(0)

    def draw(length: int) -> np.ndarray:
        return rng.integers(2, SMALL.vocab_size, length, dtype=np.int32)

    return [tuple(Segment(inputs=draw(n), targets=draw(m)) for n, m in row) for row in SIZES]


@pytest.mark.parametrize("precision", ["float32", "bfloat16_autocast"])
@every_architecture
def test_it_is_isolated(architecture, precision):
    check_isolation(
        lively(architecture), architecture=architecture, vocab_size=40, precision=precision
    )


@every_architecture
def test_a_short_filter_that_leaks_is_caught(architecture, monkeypatch):
    """The filter of a packed row without its documents' borders."""
    from study import state_space

    def leaking(states, taps, visibility):
        return short_filter(states, taps, visibility=_one_document(visibility))

    monkeypatch.setattr(state_space, "short_filter", leaking)
    with pytest.raises(IsolationError, match="leak"):
        check_isolation(
            lively(architecture), architecture=architecture, vocab_size=40, precision="float32"
        )


def _one_document(visibility):
    return type(visibility)(torch.zeros_like(visibility.start), visibility.end, visibility.num_keys)


def gradients(model, batches: list[Batch]) -> dict[str, torch.Tensor]:
    model.zero_grad()
    for batch in batches:
        logits = model.logits(model.hidden(batch)[batch.loss_mask])
        labels = batch.labels[batch.loss_mask]
        torch.nn.functional.cross_entropy(logits, labels, reduction="sum").backward()
    return {name: each.grad.clone() for name, each in model.named_parameters()}


@every_architecture
def test_packed_gradients_equal_unpacked_ones(architecture):
    model = lively(architecture).double()
    packed = layout(rows(), architecture=architecture)
    alone = [layout([(one,)], architecture=architecture) for row in rows() for one in row]
    wanted = gradients(model, alone)
    found = gradients(model, [packed])
    assert all(wanted[name].any() for name in wanted)
    for name, gradient in found.items():
        assert torch.allclose(gradient, wanted[name], rtol=1e-9, atol=1e-12), name


def test_a_prefix_decoder_without_a_prefix_is_the_causal_one():
    causal, prefix = lively("causal_decoder"), lively("prefix_decoder")
    without = [tuple(Segment(inputs=one.inputs[:0], targets=one.targets) for one in rows()[0])]
    found = prefix.hidden(layout(without, architecture="prefix_decoder"))
    assert torch.equal(found, causal.hidden(layout(without, architecture="causal_decoder")))
    with_one = prefix.hidden(layout(rows(), architecture="prefix_decoder"))
    seen_causally = causal.hidden(layout(rows(), architecture="causal_decoder"))
    assert not torch.allclose(with_one, seen_causally)


@every_architecture
@pytest.mark.parametrize("tied", [True, False])
def test_parameters_are_those_of_the_built_model(architecture, tied):
    model = replace(SMALL, architecture=architecture, tied=tied)
    built = build(model, dropout=0.0, seed=0)
    assert cost.parameters(model) == sum(each.numel() for each in built.parameters())


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
    state = lively("causal_decoder").state_dict()
    for target in ("prefix_decoder", "encoder_decoder"):
        adapted, accounts = adapt(
            state, source=causal, target=replace(SMALL, architecture=target), seed=1
        )
        actions = {account.action for account in accounts}
        assert actions == ({"copied"} if target == "prefix_decoder" else {"copied", "initialised"})
        assert all(torch.equal(adapted[name], values) for name, values in state.items())


@every_architecture
@torch.no_grad()
def test_generate_recomputes_and_answers_as_the_layout_does(architecture):
    model = lively(architecture).eval()
    assert not model.config.use_cache
    prompt = [7, 8, 9, 10, 11]
    answer: list[int] = []
    for _ in range(6):
        example = Segment(
            inputs=np.array(prompt, dtype=np.int32), targets=np.array([*answer, 2], dtype=np.int32)
        )
        batch = layout([(example,)], architecture=architecture)
        answer.append(int(model.logits(model.hidden(batch)[batch.loss_mask])[-1].argmax()))
    options = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None}
    found = model.generate(torch.tensor([prompt]), **options)
    assert found[0, -6:].tolist() == answer
    with pytest.raises(ValueError, match="legal: use_cache=False"):
        model.generate(torch.tensor([prompt]), use_cache=True, **options)


def test_it_is_saved_and_loaded(tmp_path):
    model = lively("causal_decoder")
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert again.config.model == model.config.model
    assert all(
        torch.equal(again.state_dict()[name], values) for name, values in model.state_dict().items()
    )


def test_filters_and_vectors_neither_decay_nor_go_to_muon():
    roles = {
        name.rpartition("state_space.")[2]: role(name, each)
        for name, each in lively("causal_decoder").named_parameters()
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
