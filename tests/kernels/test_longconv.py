"""The long convolution and the causal Monarch matrix against their equations in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kernels.longconv import causal_monarch, causal_monarch_matrix, longconv, longconv_reference
from kernels.visibility import Visibility, causal, full, packed

# rows of (length, prefix) documents, and the rows' length
ROWS = {
    "causal": ([[(37, 0)], [(37, 1)]], 37),
    "full": ([[(37, 37)], [(37, 37)]], 37),
    "prefix": ([[(50, 0)], [(50, 1)], [(50, 20)], [(50, 50)]], 50),
    "packed": ([[(3, 0), (17, 0), (1, 0), (20, 0)], [(41, 0)]], 44),
    "packed_prefix": ([[(3, 2), (17, 9), (1, 1), (20, 20)], [(16, 16), (16, 8), (5, 0)]], 44),
    "tiny": ([[(1, 0)], [(1, 1)]], 1),
    "padding": ([[], [(2, 2)]], 5),
}
CHANNELS = 3


def given(name: str, *, dtype: torch.dtype, taps: int = 0) -> tuple[list[Tensor], Visibility]:
    rows, length = ROWS[name]
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    inputs = draw(len(rows), length, CHANNELS)
    filters = [draw(CHANNELS, taps or length) for _ in range(2)]
    return [inputs, *filters], packed(rows, length=length)


def everything(function, name: str, dtype: torch.dtype, taps: int = 0) -> list[Tensor]:
    tensors, visibility = given(name, dtype=dtype, taps=taps)
    leaves = [each.requires_grad_() for each in tensors]
    out = function(*leaves, visibility)
    weight = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view(out.shape)
    loss = (out.double() * weight).sum()
    return [out.detach(), *torch.autograd.grad(loss, leaves, materialize_grads=True)]


@pytest.mark.parametrize("taps", [0, 100])
@pytest.mark.parametrize("name", ROWS)
def test_transforms_compute_the_equation(name: str, taps: int):
    wanted = everything(longconv_reference, name, torch.float64, taps)
    found = everything(longconv, name, torch.float64, taps)
    for each, exact in zip(found, wanted, strict=True):
        torch.testing.assert_close(each, exact, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("name", ROWS)
def test_float32_is_near_the_equation(name: str):
    wanted = everything(longconv_reference, name, torch.float64)
    found = everything(longconv, name, torch.float32)
    for each, exact in zip(found, wanted, strict=True):
        scale = float(exact.abs().max().clamp(min=1.0))
        torch.testing.assert_close(each.double(), exact, rtol=0, atol=2e-6 * scale)


def test_the_equation_by_loops():
    tensors, visibility = given("packed_prefix", dtype=torch.float64)
    inputs, after, before = tensors
    out = longconv_reference(inputs, after, before, visibility)
    for row in range(2):
        for i in range(44):
            low, high = int(visibility.start[row, i]), int(visibility.end[row, i])
            wanted = torch.zeros(CHANNELS, dtype=torch.float64)
            for j in range(low, high):
                tap = after[:, i - j] if j <= i else before[:, j - i - 1]
                wanted += tap * inputs[row, j]
            torch.testing.assert_close(out[row, i], wanted)


def test_prefixes_of_none_and_one_are_causal_to_the_bit():
    (inputs, after, before), _ = given("causal", dtype=torch.float32)
    wanted = longconv(inputs, after, None, causal(rows=2, length=37))
    for prefix in (0, 1):
        shape = packed([[(37, prefix)]] * 2, length=37)
        assert torch.equal(longconv(inputs, after, before, shape), wanted)


def test_documents_in_a_row_are_documents_alone():
    (inputs, after, before), visibility = given("packed_prefix", dtype=torch.float64)
    together = longconv(inputs, after, before, visibility)
    for row, documents in enumerate(ROWS["packed_prefix"][0]):
        place = 0
        for size, prefix in documents:
            alone = inputs[row : row + 1, place : place + size]
            wanted = longconv(alone, after, before, packed([[(size, prefix)]], length=size))
            found = together[row : row + 1, place : place + size]
            torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)
            place += size
        assert not together[row, place:].any()


def test_another_document_changes_no_bit_and_the_future_little():
    """The spectral bound: eps times the perturbation, times a small factor; 1e-12 in float64."""
    for dtype in (torch.float32, torch.float64):
        (inputs, after, before), visibility = given("packed_prefix", dtype=dtype)
        out = longconv(inputs, after, before, visibility)
        visible = visibility.dense()
        same = visibility.start[..., None] == visibility.start[:, None, :]
        for place in (1, 5, 19, 21, 40):
            other = inputs.clone()
            other[:, place] += 1.0
            moved = (longconv(other, after, before, visibility) - out).abs().amax(-1)
            assert not moved[~same[:, :, place]].any()
            reached = moved[~visible[:, :, place]].max()
            bound = 16 * torch.finfo(dtype).eps * float(after.abs().sum(1).max())
            assert reached <= bound, place
            assert dtype != torch.float64 or reached < 1e-12


def test_what_does_not_fit_is_refused():
    (inputs, after, before), visibility = given("prefix", dtype=torch.float32)
    with pytest.raises(ValueError, match=r"no filter for later keys; legal: before, \(3, 50\)"):
        longconv(inputs, after, None, visibility)
    with pytest.raises(ValueError, match=r"after is \(3, 49\); legal: 3 channels of at least 50"):
        longconv(inputs, after[:, :49], before, visibility)
    cross = full(rows=4, queries=50, num_keys=60)
    with pytest.raises(ValueError, match="50 queries over 60 keys; legal"):
        longconv(inputs, after, before, cross)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_causal_monarch_matrix_is_lower_triangular(size: int):
    generator = torch.Generator().manual_seed(0)
    shape = (size, size, size)
    first, second = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    matrix = causal_monarch_matrix(first, second)
    assert not matrix.triu(1).any()
    assert (matrix.diagonal() != 0).all()
    for length in {size * size, max(1, size * size - 2)}:
        inputs = torch.randn(2, length, 4, generator=generator, dtype=torch.float64)
        found = causal_monarch(inputs, first, second)
        torch.testing.assert_close(found, matrix[:length, :length] @ inputs)


def test_the_causal_monarch_matrix_sees_no_later_position():
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(4, 4, 4, generator=generator) for _ in range(2))
    inputs = torch.randn(1, 16, 2, generator=generator)
    before = causal_monarch(inputs, first, second)
    for place in range(16):
        other = inputs.clone()
        other[:, place] += 1.0
        after = causal_monarch(other, first, second)
        assert torch.equal(after[:, :place], before[:, :place])
        assert (after[:, place] != before[:, place]).all()
    with pytest.raises(ValueError, match=r"17 positions for blocks of 4; legal: up to 16, .* of 5"):
        causal_monarch(torch.zeros(1, 17, 2), first, second)
