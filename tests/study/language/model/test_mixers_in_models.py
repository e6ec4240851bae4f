"""State-space and long-convolution mixers in all architectures: what holds for attention holds
for them.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
from torch.nn import functional

from study.language import cost
from study.language.huggingface.auto import pretrained
from study.language.huggingface.opened import read_model, write_model
from study.language.layout import Batch, Row, Segment, layout
from study.language.model.build import build
from study.language.model.check import MIXERS
from study.language.model.isolation import IsolationError, check_isolation
from study.language.values.model import Model
from study.nn import stack
from study.nn.filters import short_filter
from study.nn.initial_values import seeded

ARCHITECTURES = ("causal_decoder", "prefix_decoder", "encoder_decoder")
KINDS = {each: {"mixer": each, **own} for each, own in MIXERS.items()}
KINDS["monarch in learned bases"] = {**KINDS["monarch"], "basis": 10}
EVERY = list(product(KINDS, ARCHITECTURES))
every_model = pytest.mark.parametrize(("kind", "architecture"), EVERY)
SIZES = (((5, 3), (0, 4), (7, 2)), ((2, 6), (1, 1)))


def small(kind: str, architecture: str) -> Model:
    return Model(
        architecture=architecture,
        positions="none",
        layers=2,
        d_model=16,
        heads=2,
        d_head=8,
        d_ff=24,
        vocab_size=40,
        tied=True,
        **KINDS[kind],
    )


def lively(kind: str, architecture: str):
    """A model in which every parameter matters; equally named ones are equal."""
    built = build(small(kind, architecture), dropout=0.0, seed=0)
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=seeded(name, 9)))
    return built


def rows() -> list[Row]:
    rng = np.random.default_rng(0)

    def draw(length: int) -> np.ndarray:
        return rng.integers(2, 40, length, dtype=np.int32)

    return [tuple(Segment(inputs=draw(n), targets=draw(m)) for n, m in row) for row in SIZES]


@pytest.mark.parametrize("precision", ["float32", "bfloat16_autocast"])
@every_model
def test_it_is_isolated(kind, architecture, precision):
    model = lively(kind, architecture)
    check_isolation(model, architecture=architecture, vocab_size=40, precision=precision)


@every_model
def test_a_short_filter_that_leaks_is_caught(kind, architecture, monkeypatch):
    """The filter of a packed row without its documents' borders."""
    from study.nn import long_convolution, state_space

    def leaking(states, taps, visibility, **before):
        return short_filter(states, taps, visibility=_one_document(visibility), **before)

    monkeypatch.setattr(state_space, "short_filter", leaking)
    monkeypatch.setattr(long_convolution, "short_filter", leaking)
    with pytest.raises(IsolationError, match="leak"):
        check_isolation(
            lively(kind, architecture),
            architecture=architecture,
            vocab_size=40,
            precision="float32",
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


@every_model
def test_packed_gradients_equal_unpacked_ones(kind, architecture):
    model = lively(kind, architecture).double()
    packed = layout(rows(), architecture=architecture)
    alone = [layout([(one,)], architecture=architecture) for row in rows() for one in row]
    wanted = gradients(model, alone)
    found = gradients(model, [packed])
    assert all(wanted[name].any() for name in wanted)
    for name, gradient in found.items():
        assert torch.allclose(gradient, wanted[name], rtol=1e-9, atol=1e-12), name


@pytest.mark.parametrize("kind", KINDS)
def test_a_prefix_decoder_without_a_prefix_is_the_causal_one(kind):
    causal, prefix = lively(kind, "causal_decoder"), lively(kind, "prefix_decoder")
    without = [tuple(Segment(inputs=one.inputs[:0], targets=one.targets) for one in rows()[0])]
    found = prefix.hidden(layout(without, architecture="prefix_decoder"))
    assert torch.equal(found, causal.hidden(layout(without, architecture="causal_decoder")))
    with_one = prefix.hidden(layout(rows(), architecture="prefix_decoder"))
    seen_causally = causal.hidden(layout(rows(), architecture="causal_decoder"))
    assert not torch.allclose(with_one, seen_causally)


@pytest.mark.parametrize("tied", [True, False])
@every_model
def test_parameters_are_those_of_the_built_model(kind, architecture, tied):
    model = replace(small(kind, architecture), tied=tied)
    built = build(model, dropout=0.0, seed=0)
    assert cost.parameter_count(model) == sum(each.numel() for each in built.parameters())


@every_model
@torch.no_grad()
def test_generate_recomputes_and_answers_as_the_layout_does(kind, architecture):
    model = pretrained(lively(kind, architecture).eval())
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


@every_model
def test_it_is_saved_and_loaded(kind, architecture, tmp_path):
    model = lively(kind, architecture)
    pretrained(model).save_pretrained(tmp_path / "theirs")
    write_model(tmp_path, model=model)
    for again in (read_model(tmp_path), read_model(tmp_path / "theirs")):
        assert again.shape == model.shape
        state = again.state_dict()
        assert all(torch.equal(state[name], each) for name, each in model.state_dict().items())
        # it generates as its mixer can: without a cache, which it has no use for
        prompt = torch.tensor([[7, 8, 9]])
        assert again.generate(prompt, max_new_tokens=2).shape[1] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_compiles_without_a_break(kind, monkeypatch):
    """What looks at interval values happens in `Stack.mixing`, before the compiled region."""
    # Compiled, gelu is written otherwise and rounds otherwise; all the rest keeps its bits.
    monkeypatch.setattr(stack, "_gelu", partial(functional.gelu, approximate="tanh"))
    model = lively(kind, "prefix_decoder")
    layer = model.decoder.layers[0]
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager", dynamic=False)
    batch = layout(rows(), architecture="prefix_decoder")
    mixing = model.decoder.mixing(batch.positions, batch.visibility)
    embedded = model.embedding(batch.tokens).detach().requires_grad_()
    both = []
    for form in (layer, compiled):
        mixed = form(embedded, mixing, crossing=None, memory=None, cache=None)
        both.append((mixed.detach(), *torch.autograd.grad(mixed.square().sum(), embedded)))
    assert all(torch.equal(plain, other) for plain, other in zip(*both, strict=True))


@pytest.mark.parametrize(("dtype", "near"), [(torch.float64, 1e-14), (torch.float32, 6e-7)])
def test_a_compiled_gelu_is_gelus_tanh_form(dtype, near):
    states = torch.linspace(-12.0, 12.0, 4001, dtype=torch.float64)
    exact = states.requires_grad_()
    wanted = functional.gelu(exact, approximate="tanh")
    (wanted_slope,) = torch.autograd.grad(wanted.sum(), exact)
    narrow = states.detach().to(dtype).requires_grad_()
    compiled = torch.compile(stack._gelu, fullgraph=True, backend="aot_eager")
    found = compiled(narrow)
    (slope,) = torch.autograd.grad(found.sum(), narrow)
    assert found.dtype == dtype
    scale = states.detach().abs().clamp(min=1.0)
    assert float(((found - wanted).detach().abs() / scale).max()) < near
    assert float(((slope - wanted_slope).abs() / scale).max()) < near
