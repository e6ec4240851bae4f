"""Block-diagonal and Monarch products against written-out matrices, on torch and in Triton."""

from __future__ import annotations

import cmath
import math

import pytest
import torch
from torch import Tensor

from kernels import backend
from kernels.blockdiag import (
    blockdiag,
    blockdiag_reference,
    gated_mlp,
    gated_mlp_reference,
    monarch,
    monarch_matrix,
    monarch_reference,
)
from kernels.blockdiag.cases import CASES, Case

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NEAR = {torch.float32: 2e-6, torch.float16: 2e-3}


@pytest.fixture(params=["torch", "triton"])
def implementation(request):
    torch.use_deterministic_algorithms(True)  # unwritten memory is then not a number
    backend.use(request.param)
    yield request.param
    backend.use("auto")
    torch.use_deterministic_algorithms(False)


def drawn(*shapes: tuple[int, ...], dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes
    ]


def apart(function, reference, inputs: list[Tensor]) -> list[float]:
    """Largest differences of value and gradients, as parts of the largest numbers."""
    narrow = [each.clone().to(DEVICE).requires_grad_() for each in inputs]
    wide = [each.double().requires_grad_() for each in inputs]
    out, wanted = function(*narrow), reference(*wide)
    grad = drawn(tuple(wanted.shape), dtype=inputs[0].dtype)[0]
    found = [out, *torch.autograd.grad(out, narrow, grad.to(DEVICE))]
    exact = [wanted, *torch.autograd.grad(wanted, wide, grad.double())]
    return [
        float(
            (one.detach().cpu().double() - two.detach()).abs().max()
            / two.detach().abs().max().clamp(min=1.0)
        )
        for one, two in zip(found, exact, strict=True)
        if two.numel()
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize(
    "case", [case for case in CASES if case.role == "test"], ids=lambda case: case.name
)
def test_block_diagonal_products(case: Case, dtype, implementation):
    given = list(case.tensors(seed=0, dtype=dtype))
    differences = apart(blockdiag, blockdiag_reference, given)
    assert max(differences) <= NEAR[dtype]


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize(
    ("first", "second"), [((4, 4, 4), (4, 4, 4)), ((3, 4, 5), (6, 7, 2)), ((2, 6, 3), (4, 1, 3))]
)
def test_monarch_products_square_and_rectangular(first, second):
    given = drawn((2, 3, first[0] * first[2]), first, second, dtype=torch.float32)
    assert max(apart(monarch, monarch_reference, given)) <= 1e-5


@pytest.mark.usefixtures("implementation")
def test_the_gated_mlp():
    given = drawn((5, 2, 12), (3, 7, 4), (3, 7, 4), (3, 4, 7), dtype=torch.float32)
    assert max(apart(gated_mlp, gated_mlp_reference, given)) <= 1e-5


@pytest.mark.parametrize("size", [2, 4, 8])
def test_the_fourier_transform_is_a_monarch_matrix(size: int):
    """Fu et al. 2023: twiddles folded into the first factor, inputs read in base-`size` digits."""
    length = size * size

    def root(order: int, power: int) -> complex:
        return cmath.exp(-2j * math.pi * power / order)

    places = range(size)
    first = torch.tensor(
        [
            [[root(size, n1 * k1) * root(length, n2 * k1) for n1 in places] for k1 in places]
            for n2 in places
        ],
        dtype=torch.complex128,
    )
    second = torch.tensor(
        [[[root(size, n2 * k2) for n2 in places] for k2 in places] for _ in places],
        dtype=torch.complex128,
    )
    signal = drawn((length,), dtype=torch.float64)[0].to(torch.complex128)
    digits = signal.view(size, size).t().flatten()  # place n2 * size + n1 holds x[size n1 + n2]
    wanted = torch.fft.fft(signal)
    torch.testing.assert_close(monarch(digits, first, second), wanted)
    torch.testing.assert_close(monarch_matrix(first, second) @ digits, wanted)


def test_the_operators_pass_torchs_own_check():
    from kernels.blockdiag import op

    inputs, weight = (
        each.to(DEVICE).requires_grad_() for each in drawn((5, 6), (2, 4, 3), dtype=torch.float32)
    )
    torch.library.opcheck(op.product, (inputs, weight))
    grad = torch.ones(5, 8, device=DEVICE)
    torch.library.opcheck(op.weight_gradient, (grad, inputs.detach(), 2))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"a last axis of 2 x 3 = 6"):
        blockdiag(torch.zeros(4, 5), torch.zeros(2, 4, 3))
    with pytest.raises(ValueError, match=r"weight is \(4, 3\); legal"):
        blockdiag(torch.zeros(4, 3), torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"gives 8 numbers and second .* reads 9; legal: as many"):
        monarch(torch.zeros(4), torch.zeros(2, 4, 2), torch.zeros(3, 3, 3))
    backend.use("triton")
    try:
        with pytest.raises(ValueError, match=r"inputs are torch\.float64.*legal"):
            blockdiag(torch.zeros(4, 6).double(), torch.zeros(2, 4, 3).double())
    finally:
        backend.use("auto")
