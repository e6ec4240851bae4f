"""The 16-bit backward pass on a CPU, eager and as it is traced, against the equation in float64."""

import pytest
import torch

from kernels.attention import attention, cpu_half
from kernels.attention.cpu_half import attention_half
from kernels.visibility import Visibility

SIZES = {"one tile": (40, 40), "several, the last short": (300, 300), "cross": (150, 70)}
PROBLEMS = [
    (pattern, size)
    for pattern in ("causal", "full", "mask")
    for size in SIZES
    # a causal row has as many keys as queries
    if (pattern, size) != ("causal", "cross")
]


def _problem(pattern, size):
    queries, keys = SIZES[size]
    torch.manual_seed(0)
    shapes = [(2, 3, queries, 16), (2, 3, keys, 16), (2, 3, keys, 16), (2, 3, queries, 16)]
    query, key, value, grad = (torch.randn(shape).bfloat16() for shape in shapes)
    mask = None
    if pattern == "mask":
        mask = torch.rand(2, 1, queries, keys) >= 0.3
        mask[..., 0] = True
    return query, key, value, grad, mask


def _equation(query, key, value, grad, mask, *, causal, scale):
    leaves = [each.double().requires_grad_() for each in (query, key, value)]
    scores = leaves[0] @ leaves[1].transpose(-1, -2) * scale
    if causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return torch.autograd.grad(scores.softmax(-1) @ leaves[2], leaves, grad.double())


@pytest.mark.parametrize("traced", [False, True], ids=["eager", "traced"])
@pytest.mark.parametrize(("pattern", "size"), PROBLEMS)
def test_gradients_are_the_equations(pattern, size, traced, monkeypatch):
    *problem, mask = _problem(pattern, size)
    query, key, value, grad = problem
    causal, scale = pattern == "causal", 0.3
    monkeypatch.setattr(cpu_half.torch.compiler, "is_compiling", lambda: traced)
    leaves = [each.clone().requires_grad_() for each in (query, key, value)]
    out = attention_half(*leaves, mask, causal=causal, scale=scale)
    found = torch.autograd.grad(out, leaves, grad)
    exact = _equation(*problem, mask, causal=causal, scale=scale)
    for one, other in zip(found, exact, strict=True):
        assert one.dtype == torch.bfloat16
        assert (one.double() - other).norm() < 1e-2 * other.norm()


def test_what_is_not_seen_has_no_gradient():
    """To the bit: a later key's gradient comes from the queries that see it alone."""
    query, key, value, grad, _ = _problem("causal", "several, the last short")
    grad[:, :, 200:] = 0
    key_, value_ = key.clone().requires_grad_(), value.clone().requires_grad_()
    out = attention_half(query, key_, value_, None, causal=True, scale=0.3)
    by_key, by_value = torch.autograd.grad(out, (key_, value_), grad)
    assert not by_key[:, :, 200:].any()
    assert not by_value[:, :, 200:].any()
    assert by_value[:, :, 199].any()


def _intervals(pattern, length):
    place = torch.arange(length, dtype=torch.int32)
    start, end = torch.zeros_like(place), place + 1
    if pattern == "prefix":
        end = end.clamp(min=length // 3)
    if pattern == "documents":
        start = place // 7 * 7
    if pattern == "padding":
        end = torch.where(place < length - 5, end, start)
    return Visibility(start=start[None], end=end[None], num_keys=length)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("pattern", ["prefix", "documents", "padding"])
def test_what_is_seen_is_the_same_with_a_backward_pass_and_without(pattern, dtype):
    """Only where a gradient will be asked for does this module compute the values."""
    torch.manual_seed(1)
    problem = [torch.randn(1, 2, 40, 16).to(dtype) for _ in range(3)]
    visibility = _intervals(pattern, 40)
    without = attention(*problem, visibility, bias=None, scale=0.3)
    leaves = [each.clone().requires_grad_() for each in problem]
    found = attention(*leaves, visibility, bias=None, scale=0.3)
    assert found.requires_grad
    torch.testing.assert_close(found.detach(), without, rtol=0, atol=4 * torch.finfo(dtype).eps)
    hidden = ~visibility.dense()[0]
    assert hidden.any()
    by_value = torch.autograd.grad(found[..., 11, :].sum(), leaves[2])[0]
    assert not by_value[:, :, hidden[11]].any()
