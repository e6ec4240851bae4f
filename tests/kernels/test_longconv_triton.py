"""The long convolution's Triton kernels against its equation in float64, in Triton's interpreter
where there is no GPU. Its bfloat16 loads and products are wrong, so bfloat16 is left to a GPU.

Tiles are small here, and transforms of order 1 end at 128 places, so that short cases have several
tiles of everything and both orders.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from kernels.longconv import longconv_reference, op
from kernels.longconv.cases import CASES, Case
from kernels.longconv.operator import convolved, gradients
from kernels.longconv.segments import FIRST, HIGH, LIMIT, LOW, Segments, segments

FIRST_TILES = op.Tiles(rows=32, depth=32, channels=16, warps=4, stages=1)
HELD_TILES = op.Tiles(rows=16, depth=16, channels=16, warps=4, stages=1)
SMALL = op.engine(op.Sizes(whole=128, first=FIRST_TILES, held=HELD_TILES))
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# How far from float64, as a part of the largest number: float32, and the rounding to TF32.
NEAR = {torch.float32: 2e-6, torch.float16: 2e-3}
CHECKED = [case for case in CASES if case.role == "test"]
HALF = {"full", "prefix", "packed_prefix", "long_prefix"}


def named(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


@pytest.fixture(autouse=True)
def _poisoned_memory() -> Iterator[None]:
    """What is not written is not a number, so that a gap can't pass."""
    torch.use_deterministic_algorithms(True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.use_deterministic_algorithms(False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """One case's tensors in a dtype, and what the equation makes of the same numbers."""

    inputs: tuple[Tensor, Tensor, Tensor]
    segments: Segments
    grad: Tensor
    wanted: tuple[Tensor, ...]


def problem(case: Case, dtype: torch.dtype) -> Problem:
    inputs = case.inputs(seed=5, dtype=dtype)
    leaves = [each.double().requires_grad_() for each in inputs]
    out = longconv_reference(*leaves, case.visibility)
    generator = torch.Generator().manual_seed(6)
    grad = torch.randn(out.shape, generator=generator, dtype=torch.float64).to(dtype)
    wanted = torch.autograd.grad(out, leaves, grad.double())
    return Problem(
        inputs=tuple(each.to(DEVICE) for each in inputs),
        segments=segments(case.visibility.to(DEVICE)),
        grad=grad.to(DEVICE),
        wanted=(out.detach(), *wanted),
    )


def everything(given: Problem, table: Tensor) -> tuple[Tensor, ...]:
    """Outputs, and the gradients of inputs, after and before."""
    groups = given.segments.groups
    return (
        convolved(SMALL, *given.inputs, table, groups),
        *gradients(SMALL, given.grad, *given.inputs, table, groups),
    )


def apart(found: Tensor, wanted: Tensor) -> float:
    """The largest difference, as a part of the largest number (at least 1)."""
    difference = (found.cpu().double() - wanted).abs().max()
    return float(difference / wanted.abs().max().clamp(min=1.0))


@pytest.mark.parametrize(
    ("case", "dtype"),
    [(case, torch.float32) for case in CHECKED]
    + [(case, torch.float16) for case in CHECKED if case.name in HALF],
    ids=lambda value: value.name if isinstance(value, Case) else str(value),
)
def test_values_and_gradients_are_the_equations(case: Case, dtype: torch.dtype):
    given = problem(case, dtype)
    found = everything(given, given.segments.table)
    assert len(found) == len(given.wanted)
    for each, wanted in zip(found, given.wanted, strict=True):
        # NaN fails every comparison
        assert apart(each, wanted) <= NEAR[dtype]


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("prefix", torch.float32), ("prefix", torch.float16), ("long_prefix", torch.float32)],
    ids=str,
)
@pytest.mark.parametrize("shift", ["first", "limit", "low", "high"])
def test_one_place_more_or_less_is_seen(shift: str, name: str, dtype: torch.dtype):
    """The tolerance is no hiding place: each end of a segment's intervals, off by one, fails it in
    every result that depends on it, at both orders.
    """
    given = problem(named(name), dtype)
    wrong = given.segments.table.clone()
    wrong[{"first": FIRST, "limit": LIMIT, "low": LOW, "high": HIGH}[shift]] += (
        1 if shift in ("first", "low") else -1
    )
    differences = [
        apart(each, wanted)
        for each, wanted in zip(everything(given, wrong), given.wanted, strict=True)
    ]
    if shift == "high":
        # the last place of a prefix has no later key, so `before` has no part in it
        assert differences.pop() <= NEAR[dtype]
    assert min(differences) > 5 * NEAR[dtype]
