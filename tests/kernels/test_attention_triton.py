"""The Triton kernels against attention's equation in float64, in Triton's interpreter where there
is no GPU. Its bfloat16 products are wrong, so bfloat16 is left to a GPU.

Tiles are small here, so that short cases have tiles outside, inside and across the intervals.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from kernels.attention import attention_reference, op
from kernels.attention.arguments import RelativeBias
from kernels.attention.cases import CASES, Case
from kernels.visibility import Visibility

TILES: dict[op.Kernel, op.Tiles] = {
    "forward": op.Tiles(queries=16, keys=16, warps=4, stages=1),
    "query": op.Tiles(queries=32, keys=16, warps=4, stages=1),
    "key": op.Tiles(queries=16, keys=32, warps=4, stages=1),
    "bias": op.Tiles(queries=16, keys=16, warps=4, stages=1),
}
SCALE = 0.3
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# How far from float64, as a part of the largest number: the rounding of the products' inputs.
NEAR = {torch.float32: 2e-6, torch.float16: 2e-3}
pytestmark = pytest.mark.usefixtures("poisoned_memory")
CHECKED = [case for case in CASES if case.role == "test"]
HALF = {"causal", "full_biased", "cross", "prefix_biased", "packed", "arbitrary_biased"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """One case's inputs in a dtype, and what the equation makes of the same numbers."""

    inputs: tuple[Tensor, Tensor, Tensor]
    bias: Tensor | None
    visibility: Visibility
    grad_out: Tensor
    wanted: tuple[Tensor, ...]


def problem(case: Case, dtype: torch.dtype, seed: int = 5) -> Problem:
    query, key, value, bias = case.inputs(seed=seed, dtype=dtype)
    leaves = [each.double().requires_grad_() for each in (query, key, value)]
    wide = None
    if bias is not None:
        leaves.append(bias.values.double().requires_grad_())
        wide = RelativeBias(leaves[3], bias.queries)
    visibility = case.intervals(case)
    out = attention_reference(*leaves[:3], visibility, bias=wide, scale=SCALE)
    generator = torch.Generator().manual_seed(seed + 1)
    grad_out = torch.randn(out.shape, generator=generator, dtype=torch.float64).to(dtype)
    gradients = torch.autograd.grad(out, leaves, grad_out.double(), materialize_grads=True)
    return Problem(
        inputs=(query.to(DEVICE), key.to(DEVICE), value.to(DEVICE)),
        bias=None if bias is None else bias.values.to(DEVICE),
        visibility=visibility,
        grad_out=grad_out.to(DEVICE),
        wanted=(out.detach(), *gradients),
    )


def forward(given: Problem, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    return op.launch_forward(
        *given.inputs, start.to(DEVICE), end.to(DEVICE), given.bias, SCALE, TILES
    )


def backward(given: Problem, start: Tensor, end: Tensor, known) -> tuple[Tensor, ...]:
    found = op.launch_backward(
        given.grad_out, *given.inputs, start.to(DEVICE), end.to(DEVICE), given.bias, *known, SCALE,
        TILES,
    )  # fmt: skip
    return found if given.bias is not None else found[:3]


def apart(found: Tensor, wanted: Tensor) -> float:
    """The largest difference, as a part of the largest number (at least 1)."""
    if not wanted.numel():
        return 0.0
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
    start, end = given.visibility.start, given.visibility.end
    known = forward(given, start, end)
    found = (known[0], *backward(given, start, end, known))
    assert len(found) == len(given.wanted)
    for each, wanted in zip(found, given.wanted, strict=True):
        # NaN fails every comparison
        assert apart(each, wanted) <= NEAR[dtype]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("shift", ["start", "end"])
def test_one_key_more_or_less_is_seen_in_every_result(shift: str, dtype: torch.dtype):
    """The tolerance is no hiding place: each pass on intervals that are off by one fails it."""
    case = next(case for case in CASES if case.name == "prefix_biased")
    given = problem(case, dtype)
    start, end = given.visibility.start, given.visibility.end
    known = forward(given, start, end)
    wrong_start = (start + 1).minimum(end) if shift == "start" else start
    wrong_end = (end - 1).maximum(start) if shift == "end" else end
    found = (
        forward(given, wrong_start, wrong_end)[0],
        *backward(given, wrong_start, wrong_end, known),
    )
    for each, wanted in zip(found, given.wanted, strict=True):
        assert apart(each, wanted) > 5 * NEAR[dtype]


def test_the_backward_is_deterministic():
    case = next(case for case in CASES if case.name == "arbitrary_biased")
    given = problem(case, torch.float32)
    start, end = given.visibility.start, given.visibility.end
    known = forward(given, start, end)
    first, second = (backward(given, start, end, known) for _ in range(2))
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))


def test_intervals_that_lie_never_read_out_of_bounds():
    """Values are checked where a `Visibility` is built; kernels clamp all the same. The keys are a
    view into memory that is not a number elsewhere.
    """
    case = next(case for case in CASES if case.name == "cross")
    given = problem(case, torch.float32)
    query, key, value = given.inputs
    around = [torch.full((*each.shape[:2], case.keys + 64, 8), torch.nan) for each in (key, value)]
    views = []
    for memory, each in zip(around, (key, value), strict=True):
        memory[:, :, 32:-32] = each.cpu()
        views.append(memory.to(DEVICE)[:, :, 32:-32])
    wild = Problem(
        inputs=(query, *views), bias=None, visibility=given.visibility, grad_out=given.grad_out,
        wanted=given.wanted,
    )  # fmt: skip
    start = torch.full_like(given.visibility.start, -20)
    end = torch.full_like(given.visibility.end, case.keys + 20)
    known = forward(wild, start, end)
    found = (known[0], *backward(wild, start, end, known))
    for each, wanted in zip(found, given.wanted, strict=True):
        assert apart(each, wanted) <= NEAR[torch.float32]
