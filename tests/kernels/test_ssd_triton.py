"""The Triton kernels against the state-space dual's equation in float64, in Triton's interpreter
where there is no GPU. Its bfloat16 products are wrong, so bfloat16 is left to a GPU.

Chunks and tiles are small here, so that short cases have documents and prefixes that end inside,
at and beyond a chunk's end, and widths of several tiles.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from functools import cache

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
pytestmark = pytest.mark.usefixtures("poisoned_memory")
CHECKED = [case for case in CASES if case.role == "test"]
HALF = {"causal", "full", "between", "wide"}
SMALL = Case(
    name="small",
    documents=(((10, 8), (1, None), (19, 14), (5, 0)),),
    length=35,
    heads=1,
    width=5,
    state=3,
    role="test",
)
NAMES = ("out", "final", "inputs", "decay", "write", "read", "initial_state")


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


@cache
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
    + [(case, torch.float32, False) for case in CHECKED if case.name == "causal"]
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


def results(given: Problem, visibility: Visibility) -> dict[str, Tensor]:
    found = (*forward(given, visibility), *backward(given, visibility))
    return dict(zip(NAMES, found, strict=False))


def test_queries_that_see_nothing_give_zeros_and_take_none():
    case = next(case for case in CASES if case.name == "between")
    given = problem(case, torch.float32)
    empty = given.visibility.start == given.visibility.end
    assert empty.any()
    found = results(given, given.visibility)
    for name in ("out", "inputs", "decay", "write", "read"):
        assert not found[name].cpu()[empty].any()


class Shifted:
    """A kernel that is launched with one of its arguments off by `by`, and otherwise as asked."""

    def __init__(self, kernel, argument: str, by: int) -> None:
        self.kernel, self.by = kernel, by
        self.index = list(inspect.signature(kernel.fn).parameters).index(argument)

    def __getitem__(self, grid):
        def launch(*arguments, **options):
            changed = list(arguments)
            changed[self.index] = changed[self.index] + self.by
            self.kernel[grid](*changed, **options)

        return launch


GRADIENTS = {"inputs", "decay", "write", "read"}
PLANTED = [
    # the kernel, what is off by how much in it, and what must be seen to be wrong
    ("forward_pass", "decays_kernel", "start", 1, set(NAMES)),
    ("forward_pass", "decays_kernel", "end", -1, {"out", *NAMES[2:]}),
    ("forward_pass", "states_kernel", "length", -1, {"final", "inputs", "write"}),
    ("forward_pass", "outputs_kernel", "start", 1, {"out"}),
    ("forward_pass", "outputs_kernel", "end", -1, {"out"}),
    ("backward_pass", "gradients_kernel", "start", 1, GRADIENTS),
    ("backward_pass", "gradients_kernel", "end", -1, GRADIENTS),
]


@pytest.mark.parametrize(
    ("module", "kernel", "argument", "by", "wrong"),
    PLANTED,
    ids=[f"{kernel}-{argument}" for _, kernel, argument, _, _ in PLANTED],
)
def test_one_position_more_or_less_is_seen(monkeypatch, module, kernel, argument, by, wrong):
    """The tolerance is no hiding place: an interval that is off by one in one kernel fails it."""
    given = problem(SMALL, torch.float32)
    passes = getattr(op, module)
    monkeypatch.setattr(passes, kernel, Shifted(getattr(passes, kernel), argument, by))
    found = results(given, given.visibility)
    for name, wanted in zip(NAMES, given.wanted, strict=True):
        if name in wrong:
            # the coarser tolerance, so that float16 would show it as well
            assert not apart(found[name], wanted) <= 2 * NEAR[torch.float16], name


def test_prefixes_of_none_and_one_are_causal_to_the_bit():
    given = problem(replace(SMALL, documents=(((35, 0),),)), torch.float32)
    wanted = results(given, causal(rows=1, length=35))
    found = results(given, packed([[(35, 1)]], length=35))
    assert all(torch.equal(found[name], wanted[name]) for name in NAMES)


def test_full_intervals_read_one_global_state():
    given = problem(replace(SMALL, documents=(((35, 35),),)), torch.float32, initial=False)
    inputs, _, write, read = (each.cpu().double() for each in given.inputs)
    state = torch.einsum("bthp,bthn->bhpn", inputs, write)
    everywhere = full(rows=1, queries=35, num_keys=35)
    out, final = forward(given, everywhere)
    assert apart(out, torch.einsum("bthn,bhpn->bthp", read, state)) <= NEAR[torch.float32]
    assert apart(final, state) <= NEAR[torch.float32]


def test_another_document_changes_no_bit():
    """Neither of outputs nor of gradients, wherever it lies."""
    given = problem(SMALL, torch.float32)
    before = results(given, given.visibility)
    for begin, end in ((0, 10), (10, 11), (11, 30), (30, 35)):
        inside = slice(begin, end)
        changed = [each.clone() for each in (*given.inputs, given.grad_out)]
        for each, by in zip(changed, (0.7, -0.2, -0.3, 0.4, 0.9), strict=True):
            each[:, inside] += by
        other = replace(given, inputs=tuple(changed[:4]), grad_out=changed[4])
        after = results(other, given.visibility)
        for name in ("out", *GRADIENTS):
            same = after[name] == before[name]
            if end - begin > 1:  # not padding
                assert not same[:, inside].all()
            same[:, inside] = True
            assert same.all(), (name, begin)


def test_the_backward_is_deterministic():
    given = problem(SMALL, torch.float32)
    first, second = (results(given, given.visibility) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in NAMES)


def test_intervals_that_lie_never_read_out_of_bounds():
    """Values are checked where a `Visibility` is built; kernels clamp all the same. The inputs are
    views into memory that is not a number elsewhere.
    """
    given = problem(replace(SMALL, documents=(((35, 35),),)), torch.float32)
    views = []
    for each in (*given.inputs, given.grad_out):
        memory = torch.full((1, 35 + 64, *each.shape[2:]), torch.nan)
        memory[:, 32:-32] = each.cpu()
        views.append(memory.to(DEVICE)[:, 32:-32])
    wild = replace(given, inputs=tuple(views[:4]), grad_out=views[4])
    start = torch.full_like(given.visibility.start, -20)
    end = torch.full_like(given.visibility.end, 35 + 20)
    found = results(wild, Visibility(start, end, 35))
    for name, wanted in zip(NAMES, given.wanted, strict=True):
        assert apart(found[name], wanted) <= NEAR[torch.float32]
