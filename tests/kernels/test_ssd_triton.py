"""The Triton kernels against the state-space dual's equation in float64, in Triton's interpreter
where there is no GPU. Its bfloat16 products are wrong, so bfloat16 is left to a GPU.

Chunks and tiles are small here, so that short cases have documents and prefixes that end inside,
at and beyond a chunk's end, and widths of several tiles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from kernels.ssd import op, ssd_reference
from kernels.ssd.cases import CASES, Case
from kernels.visibility import Visibility, causal, full, packed

TILES = op.Tiles(chunk=16, columns=16, warps=4, stages=1)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# How far from float64, as a part of the largest number: the rounding of the products' inputs.
NEAR = {torch.float32: 5e-6, torch.float16: 2e-3}
CHECKED = [case for case in CASES if case.role == "test"]
HALF = {"causal", "full", "packed_prefix", "between", "wide"}
NAMES = ("out", "final", "inputs", "decay", "write", "read", "initial_state")


@pytest.fixture(autouse=True)
def _poisoned_memory() -> Iterator[None]:
    """What is not written is not a number, so that a gap can't pass."""
    torch.use_deterministic_algorithms(True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.use_deterministic_algorithms(False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """One case's inputs in a dtype, and what the equation makes of the same numbers: outputs, final
    state, and the gradients of both together.
    """

    inputs: tuple[Tensor, Tensor, Tensor, Tensor]
    initial: Tensor | None
    visibility: Visibility
    grad_out: Tensor
    grad_final: Tensor
    wanted: tuple[Tensor, ...]


def problem(case: Case, dtype: torch.dtype, *, initial: bool = True, seed: int = 5) -> Problem:
    inputs, decay, write, read = case.inputs(seed=seed, dtype=dtype)
    given = [inputs, decay.float(), write, read]
    generator = torch.Generator().manual_seed(seed + 1)
    shape = (inputs.shape[0], case.heads, case.width, case.state)
    if initial:
        given.append(torch.randn(shape, generator=generator))
    leaves = [each.double().requires_grad_() for each in given]
    out, final = ssd_reference(
        *leaves[:4], case.visibility, initial_state=leaves[4] if initial else None
    )
    grad_out = torch.randn(out.shape, generator=generator).to(dtype)
    grad_final = torch.randn(shape, generator=generator)
    gradients = torch.autograd.grad(
        (out, final), leaves, (grad_out.double(), grad_final.double()), materialize_grads=True
    )
    moved = [each.to(DEVICE) for each in given]
    return Problem(
        inputs=(moved[0], moved[1], moved[2], moved[3]),
        initial=moved[4] if initial else None,
        visibility=case.visibility,
        grad_out=grad_out.to(DEVICE),
        grad_final=grad_final.to(DEVICE),
        wanted=(out.detach(), final.detach(), *gradients),
    )


def forward(given: Problem, visibility: Visibility) -> tuple[Tensor, Tensor]:
    """prefixed is the problem's own: an interval that lies does not change it."""
    return op.launch_forward(
        *given.inputs, visibility.start.to(DEVICE), visibility.end.to(DEVICE), given.initial,
        given.visibility.documents.any_prefix, TILES,
    )  # fmt: skip


def backward(given: Problem, visibility: Visibility) -> tuple[Tensor, ...]:
    found = op.launch_backward(
        given.grad_out, given.grad_final, *given.inputs, visibility.start.to(DEVICE),
        visibility.end.to(DEVICE), given.initial, given.visibility.documents.any_prefix, TILES,
        TILES,
    )  # fmt: skip
    return found if given.initial is not None else found[:4]


def apart(found: Tensor, wanted: Tensor) -> float:
    """The largest difference, as a part of the largest number (at least 1)."""
    difference = (found.cpu().double() - wanted).abs().max()
    return float(difference / wanted.abs().max().clamp(min=1.0))


@pytest.mark.parametrize(
    ("case", "dtype", "initial"),
    [(case, torch.float32, True) for case in CHECKED]
    + [(case, torch.float32, False) for case in CHECKED if case.name in ("causal", "wide")]
    + [(case, torch.float16, True) for case in CHECKED if case.name in HALF],
    ids=lambda value: value.name if isinstance(value, Case) else str(value),
)
def test_values_and_gradients_are_the_equations(case: Case, dtype: torch.dtype, initial: bool):
    given = problem(case, dtype, initial=initial)
    found = (*forward(given, given.visibility), *backward(given, given.visibility))
    assert len(found) == len(given.wanted)
    differences = {
        # NaN fails every comparison
        name: apart(each, wanted)
        for name, each, wanted in zip(NAMES, found, given.wanted, strict=False)
    }
    assert all(difference <= NEAR[dtype] for difference in differences.values()), differences


def test_queries_that_see_nothing_give_zeros_and_take_none():
    case = next(case for case in CASES if case.name == "between")
    given = problem(case, torch.float32)
    empty = given.visibility.start == given.visibility.end
    assert empty.any()
    out, _ = forward(given, given.visibility)
    gradients = backward(given, given.visibility)
    for each in (out, *gradients[:4]):
        assert not each.cpu()[empty].any()
