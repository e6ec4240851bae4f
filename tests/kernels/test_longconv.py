"""The long convolution and the causal Monarch matrix against their equations in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kernels.longconv import longconv, longconv_reference
from kernels.longconv.cases import CASES, Case
from kernels.visibility import causal, full, packed

CHECKED = [case for case in CASES if case.role == "test"]


def named(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


def everything(function, case: Case, dtype: torch.dtype, taps: int | None = None) -> list[Tensor]:
    leaves = [each.requires_grad_() for each in case.inputs(seed=1, dtype=dtype, taps=taps)]
    out = function(*leaves, case.visibility)
    weight = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view(out.shape)
    loss = (out.double() * weight).sum()
    return [out.detach(), *torch.autograd.grad(loss, leaves, materialize_grads=True)]


@pytest.mark.parametrize("more", [0, 100])
@pytest.mark.parametrize("case", CHECKED, ids=lambda case: case.name)
def test_transforms_compute_the_equation(case: Case, more: int):
    wanted = everything(longconv_reference, case, torch.float64, case.length + more)
    found = everything(longconv, case, torch.float64, case.length + more)
    for each, exact in zip(found, wanted, strict=True):
        torch.testing.assert_close(each, exact, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("case", CHECKED, ids=lambda case: case.name)
def test_float32_is_near_the_equation(case: Case):
    wanted = everything(longconv_reference, case, torch.float64)
    found = everything(longconv, case, torch.float32)
    for each, exact in zip(found, wanted, strict=True):
        scale = float(exact.abs().max().clamp(min=1.0))
        torch.testing.assert_close(each.double(), exact, rtol=0, atol=2e-6 * scale)


def test_the_equation_by_loops():
    case = named("packed_prefix")
    inputs, after, before = case.inputs(seed=1, dtype=torch.float64)
    visibility = case.visibility
    out = longconv_reference(inputs, after, before, visibility)
    for row in range(2):
        for i in range(44):
            low, high = int(visibility.start[row, i]), int(visibility.end[row, i])
            wanted = torch.zeros(case.channels, dtype=torch.float64)
            for j in range(low, high):
                tap = after[:, i - j] if j <= i else before[:, j - i - 1]
                wanted += tap * inputs[row, j]
            torch.testing.assert_close(out[row, i], wanted)


def test_prefixes_of_none_and_one_are_causal_to_the_bit():
    inputs, after, before = named("causal").inputs(seed=1, dtype=torch.float32)
    wanted = longconv(inputs, after, None, causal(rows=2, length=37))
    for prefix in (0, 1):
        shape = packed([[(37, prefix)]] * 2, length=37)
        assert torch.equal(longconv(inputs, after, before, shape), wanted)


def test_documents_in_a_row_are_documents_alone():
    case = named("packed_prefix")
    inputs, after, before = case.inputs(seed=1, dtype=torch.float64)
    together = longconv(inputs, after, before, case.visibility)
    for row, documents in enumerate(case.documents):
        place = 0
        for size, prefix in documents:
            alone = inputs[row : row + 1, place : place + size]
            wanted = longconv(alone, after, before, packed([[(size, prefix)]], length=size))
            found = together[row : row + 1, place : place + size]
            torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)
            place += size
        assert not together[row, place:].any()


def test_another_document_changes_no_bit_and_the_future_little():
    """README.md's bound; 1e-12 in float64. The change may be small beside the inputs: what rounds
    is their sum.
    """
    case = named("packed_prefix")
    visibility = case.visibility
    for dtype in (torch.float32, torch.float64):
        inputs, after, before = case.inputs(seed=1, dtype=dtype)
        out = longconv(inputs, after, before, visibility)
        visible = visibility.dense()
        same = visibility.start[..., None] == visibility.start[:, None, :]
        # what a query of a prefix does not see lies in another document or behind that prefix
        in_prefix = visibility.end > torch.arange(1, case.length + 1)
        for place, change in ((1, 1.0), (5, 1e-3), (19, 1.0), (21, 30.0), (40, 1e-3)):
            other = inputs.clone()
            other[:, place] += change
            moved = (longconv(other, after, before, visibility) - out).abs().amax(-1)
            assert not moved[~same[:, :, place]].any()
            assert not moved[in_prefix & ~visible[:, :, place]].any()
            reached = moved[~visible[:, :, place]].max()
            largest = float(other.abs().max()) * float(after.abs().sum(1).max())
            bound = torch.finfo(dtype).eps * (0.5 * largest + float(out.abs().max()))
            assert reached <= bound, place
            assert dtype != torch.float64 or reached < 1e-12


def test_what_does_not_fit_is_refused():
    case = named("prefix")
    inputs, after, before = case.inputs(seed=1, dtype=torch.float32)
    visibility = case.visibility
    with pytest.raises(ValueError, match=r"no filter for later keys; legal: before, \(3, 50\)"):
        longconv(inputs, after, None, visibility)
    with pytest.raises(ValueError, match=r"after is \(3, 49\); legal: 3 channels of at least 50"):
        longconv(inputs, after[:, :49], before, visibility)
    cross = full(rows=4, queries=50, num_keys=60)
    with pytest.raises(ValueError, match="50 queries over 60 keys; legal"):
        longconv(inputs, after, before, cross)
