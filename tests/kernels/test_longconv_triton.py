"""The long convolution's Triton kernels against its equation in float64, in Triton's interpreter
where there is no GPU. Its bfloat16 loads and products are wrong, so bfloat16 is left to a GPU.

Tiles are small here, and transforms of order 1 end at 128 places, so that short cases have several
tiles of everything and both orders.
"""

from __future__ import annotations

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
pytestmark = pytest.mark.usefixtures("poisoned_memory")
CHECKED = [case for case in CASES if case.role == "test"]
HALF = {"full", "prefix", "packed_prefix", "long_prefix"}


def named(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


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


# The unit of what rounding lets through: of float32, and of TF32, in which half-precision inputs
# are multiplied.
EPS = {torch.float32: 2.0**-23, torch.float16: 2.0**-10}


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("packed_prefix", torch.float32),
        ("packed_prefix", torch.float16),
        ("long", torch.float32),
        ("long", torch.float16),
    ],
    ids=str,
)
def test_another_document_changes_no_bit_and_the_future_little(name: str, dtype: torch.dtype):
    """README.md's bound, and a rounding of both outputs."""
    case = named(name)
    inputs, after, before = case.inputs(seed=1, dtype=dtype)
    visibility = case.visibility
    moved_to = segments(visibility.to(DEVICE))

    def outputs(values: Tensor) -> Tensor:
        known = (after.to(DEVICE), before.to(DEVICE), moved_to.table, moved_to.groups)
        return convolved(SMALL, values.to(DEVICE), *known).cpu().float()

    out, visible = outputs(inputs), visibility.dense()
    same = visibility.start[..., None] == visibility.start[:, None, :]
    in_prefix = visibility.end > torch.arange(1, case.length + 1)
    taps = float(after.abs().sum(1).max())
    for place in (19, case.length * 3 // 4):
        other = inputs.clone()
        other[:, place] += 1.0
        moved = (outputs(other) - out).abs().amax(-1)
        assert (moved[visible[:, :, place]] > 0).any()
        assert not moved[~same[:, :, place]].any()
        assert not moved[in_prefix & ~visible[:, :, place]].any()
        largest = float(other.abs().max())
        rounding = float(out.abs().max()) * torch.finfo(dtype).eps
        reached = moved[~visible[:, :, place]].max()
        assert reached <= 0.5 * EPS[dtype] * taps * largest + rounding


def test_twice_the_same_is_the_same_to_the_bit():
    given = problem(named("long_prefix"), torch.float32)
    first, second = (everything(given, given.segments.table) for _ in range(2))
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))


def test_segments_that_lie_never_read_out_of_bounds():
    """Intervals are checked where a `Visibility` is built; kernels clamp all the same. The inputs
    are a view into memory that is not a number elsewhere.
    """
    case = named("full")
    given = problem(case, torch.float32)
    inputs, after, before = (each.cpu() for each in given.inputs)
    rows, length, width = inputs.shape
    memory = torch.full((rows + 2, length, width), torch.nan)
    memory[1:-1] = inputs
    wild = given.segments.table.clone()
    wild[LIMIT, -1] += 20  # the last row's document ends where the inputs do
    wild[LOW] -= 20
    wild[HIGH, -1] += 20
    lying = Problem(
        inputs=(memory.to(DEVICE)[1:-1], after.to(DEVICE), before.to(DEVICE)),
        segments=given.segments,
        grad=given.grad,
        wanted=given.wanted,
    )
    for each, wanted in zip(everything(lying, wild), given.wanted, strict=True):
        assert apart(each, wanted) <= NEAR[torch.float32]
