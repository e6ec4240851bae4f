"""Attention over intervals against its equation in float64, and the promises of its README."""

import pytest
import torch

from kernels import backend
from kernels.attention import RelativeBias, attention, attention_reference, prepare
from kernels.attention.cases import CASES, Case
from kernels.visibility import Visibility, causal


@pytest.fixture(params=["torch", "triton"])
def _each_backend(request):
    """The promises hold whichever implementation answers."""
    backend.use(request.param)
    yield
    backend.use("auto")


def outputs_and_gradients(function, case: Case, dtype: torch.dtype) -> list[torch.Tensor]:
    query, key, value, bias = case.inputs(seed=1, dtype=dtype)
    leaves = [query, key, value] + ([bias.values] if bias is not None else [])
    for leaf in leaves:
        leaf.requires_grad_()
    out = function(query, key, value, case.intervals(case), bias=bias, scale=0.4)
    weight = torch.linspace(-1.0, 1.0, out.numel(), dtype=torch.float64).view(out.shape)
    gradients = torch.autograd.grad((out.double() * weight).sum(), leaves, allow_unused=True)
    gradients = [
        torch.zeros_like(leaf) if gradient is None else gradient
        for leaf, gradient in zip(leaves, gradients, strict=True)
    ]
    return [out.detach(), *gradients]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_equals_the_equation_in_float64(case: Case):
    expected = outputs_and_gradients(attention_reference, case, torch.float64)
    for found, wanted in zip(
        outputs_and_gradients(attention, case, torch.float64), expected, strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_float32_is_near_the_equation(case: Case):
    expected = outputs_and_gradients(attention_reference, case, torch.float64)
    for found, wanted in zip(
        outputs_and_gradients(attention, case, torch.float32), expected, strict=True
    ):
        torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("biased", [False, True])
def test_reference_is_a_softmax_over_the_visible_keys(biased: bool):
    """The reference itself, against loops."""
    case = next(c for c in CASES if c.name == ("arbitrary_biased" if biased else "arbitrary"))
    query, key, value, bias = case.inputs(seed=2, dtype=torch.float64)
    visibility = case.intervals(case)
    out = attention_reference(query, key, value, visibility, bias=bias, scale=0.3)
    for row in range(case.rows):
        for index in range(case.queries):
            low, high = int(visibility.start[row, index]), int(visibility.end[row, index])
            for head in range(case.heads):
                scores = 0.3 * key[row, head, low:high] @ query[row, head, index]
                if bias is not None:
                    columns = torch.arange(low, high) - index + case.queries - 1
                    scores = scores + bias.values[head, columns]
                wanted = scores.softmax(0) @ value[row, head, low:high]
                torch.testing.assert_close(out[row, head, index], wanted)


@pytest.mark.usefixtures("_each_backend")
@pytest.mark.parametrize("biased", [False, True])
def test_equal_intervals_give_equal_bits(biased: bool):
    """A prefix decoder with empty prefixes is the causal decoder, outputs and gradients."""
    case = next(c for c in CASES if c.name == ("causal_biased" if biased else "causal"))
    end = torch.zeros(case.rows, 1, dtype=torch.int32)
    end = torch.maximum(end, torch.arange(1, case.queries + 1, dtype=torch.int32)[None])
    by_hand = Visibility(torch.zeros_like(end), end, case.keys)  # unchecked, never classified
    results = []
    for visibility in (causal(rows=case.rows, length=case.queries), by_hand):
        query, key, value, bias = case.inputs(seed=3, dtype=torch.float32)
        for leaf in (query, key, value):
            leaf.requires_grad_()
        out = attention(query, key, value, visibility, bias=bias, scale=1.0)
        out.square().sum().backward()
        results.append([out, query.grad, key.grad, value.grad])
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))


@pytest.mark.usefixtures("_each_backend")
@pytest.mark.parametrize("name", ["causal", "causal_biased", "packed", "prefix", "packed_biased"])
def test_invisible_keys_never_reach_an_output(name: str):
    case = next(c for c in CASES if c.name == name)
    query, key, value, bias = case.inputs(seed=4, dtype=torch.float32)
    visibility = case.intervals(case)
    before = attention(query, key, value, visibility, bias=bias, scale=0.1)
    for place in (0, case.keys // 2, case.keys - 1):
        key_two, value_two = key.clone(), value.clone()
        key_two[:, :, place] += 0.5
        value_two[:, :, place] -= 1.0
        after = attention(query, key_two, value_two, visibility, bias=bias, scale=0.1)
        sees = visibility.dense()[:, None, :, place].expand(-1, case.heads, -1)
        assert torch.equal(after[~sees], before[~sees])
        assert (after[sees] != before[sees]).any(-1).all()


@pytest.mark.usefixtures("_each_backend")
@pytest.mark.parametrize("biased", [False, True])
def test_empty_intervals_give_zeros_and_no_gradient(biased: bool):
    case = next(c for c in CASES if c.name == ("arbitrary_biased" if biased else "arbitrary"))
    query, key, value, bias = case.inputs(seed=5, dtype=torch.float32)
    visibility = case.intervals(case)
    empty = (visibility.start == visibility.end)[:, None].expand(-1, case.heads, -1)
    assert empty.any()
    for leaf in (query, key, value):
        leaf.requires_grad_()
    out = attention(query, key, value, visibility, bias=bias, scale=1.0)
    assert (out[empty] == 0).all()
    out[empty].sum().backward()
    assert all(not leaf.grad.any() for leaf in (query, key, value))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_preparing_ahead_changes_no_bit(case: Case):
    query, key, value, bias = case.inputs(seed=6, dtype=torch.float32)
    visibility, other = case.intervals(case), case.intervals(case)
    before = attention(query, key, value, visibility, bias=bias, scale=1.0)
    prepare(visibility, bias)
    assert torch.equal(attention(query, key, value, visibility, bias=bias, scale=1.0), before)
    # What was prepared for one visibility is not used for another.
    shut = Visibility(other.start, other.start.clone(), other.num_keys)
    assert not attention(query, key, value, shut, bias=bias, scale=1.0).any()


def test_the_route_follows_the_values():
    assert causal(rows=2, length=5).pattern == "causal"
    end = torch.arange(1, 6, dtype=torch.int32)[None]
    start = torch.zeros_like(end)
    assert Visibility(start, end, 5).pattern == "causal"
    assert Visibility(start, end, 6).pattern == "intervals"
    assert Visibility(start, torch.full_like(end, 6), 6).pattern == "full"
    shifted = start.clone()
    shifted[0, 4] = 1
    assert Visibility(shifted, end, 5).pattern == "intervals"
    assert Visibility(shifted, end, 5).to("cpu").pattern == "intervals"
    assert not Visibility(start, end, 5).has_empty
    assert Visibility(start, start, 5).to("cpu").has_empty


def test_shapes_that_do_not_belong_together_are_refused():
    tensor = torch.zeros(2, 3, 5, 4)
    visibility = causal(rows=2, length=5)
    with pytest.raises(ValueError, match="query"):
        attention(tensor, tensor[:, :2], tensor, visibility, bias=None, scale=1.0)
    with pytest.raises(ValueError, match="visibility"):
        attention(tensor, tensor, tensor, causal(rows=2, length=6), bias=None, scale=1.0)
    bias = RelativeBias(torch.zeros(3, 9), 4)
    with pytest.raises(ValueError, match="bias of 3 heads, 4 queries"):
        attention(tensor, tensor, tensor, visibility, bias=bias, scale=1.0)
