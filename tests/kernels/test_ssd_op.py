"""The Triton kernels as torch operators, and the way there from `ssd`."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kernels import backend
from kernels.ssd import op, ssd, ssd_reference
from kernels.ssd.cases import Case
from kernels.visibility import packed

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SMALL = Case(
    name="small",
    documents=(((3, 2), (4, 0)),),
    length=7,
    heads=2,
    width=5,
    state=3,
    role="test",
)


@pytest.fixture(autouse=True)
def _triton():
    backend.use("triton")
    yield
    backend.use("auto")


def small(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """inputs, decay, write, read and an initial state."""
    inputs, decay, write, read = SMALL.inputs(seed=1, dtype=dtype)
    state = torch.linspace(-1, 1, 30).view(1, 2, 5, 3)
    return [each.to(DEVICE) for each in (inputs, decay.float(), write, read, state)]


@pytest.mark.parametrize("initial", [False, True])
def test_the_operators_pass_torchs_own_check(initial: bool):
    *leaves, state = (each.requires_grad_() for each in small())
    given = SMALL.visibility.to(DEVICE)
    rest = (given.start, given.end, state if initial else None, initial)
    torch.library.opcheck(op.forward, (*leaves, *rest))
    plain = [None if each is None else each.detach() for each in (*leaves, *rest[:3])]
    out, final = op.forward(*plain, initial)
    grads = (torch.ones_like(out), torch.ones_like(final))
    torch.library.opcheck(op.backward, (*grads, *plain, initial))


def test_compiled_without_a_break():
    """For causal and prefixed batches in turn: one compilation does not stand for the other."""
    inputs, *others, state = small()
    inputs.requires_grad_()

    def loss(inputs: Tensor, visibility) -> Tensor:
        out, final = ssd(inputs, *others, visibility, initial_state=state)
        return out.square().sum() + final.sum()

    whole = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for prefix in (0, 6, 1):
        visibility = packed([[(7, prefix)]], length=7).to(DEVICE)
        (wanted,) = torch.autograd.grad(loss(inputs, visibility), inputs)
        (found,) = torch.autograd.grad(whole(inputs, visibility), inputs)
        assert torch.equal(found, wanted)


def gradients(result: Tensor, leaves) -> tuple[Tensor, ...]:
    return torch.autograd.grad(result.square().sum(), leaves, materialize_grads=True)


@pytest.mark.parametrize("used", ["out", "final"])
def test_ssd_leads_there(used: str):
    """Through the public function, on strided views, with one result used alone."""
    *drawn, state = small()
    leaves = [each.transpose(1, 2).contiguous().transpose(1, 2).requires_grad_() for each in drawn]
    assert not leaves[0].is_contiguous()
    state.requires_grad_()
    out, final = ssd(*leaves, SMALL.visibility.to(DEVICE), initial_state=state)
    found = gradients(out if used == "out" else final, (*leaves, state))
    wide = [each.detach().cpu().double().requires_grad_() for each in (*drawn, state)]
    wanted = ssd_reference(*wide[:4], SMALL.visibility, initial_state=wide[4])
    exact = gradients(wanted[used == "final"], wide)
    for one, two in zip((out, final, *found), (*wanted, *exact), strict=True):
        torch.testing.assert_close(one.cpu().double(), two, rtol=1e-5, atol=1e-5)


def test_autocast_reaches_the_kernels_but_not_sums_and_states():
    *drawn, state = small()
    with torch.autocast(DEVICE, dtype=torch.float16):
        out, final = ssd(*drawn, SMALL.visibility.to(DEVICE), initial_state=state)
    assert (out.dtype, final.dtype) == (torch.float16, torch.float32)


def test_what_the_kernels_do_not_compute_is_refused():
    inputs, decay, write, read, state = small()
    visibility = SMALL.visibility.to(DEVICE)
    with pytest.raises(ValueError, match=r"inputs is torch\.float64.*legal.*float16, bfloat16"):
        ssd(inputs.double(), decay, write, read, visibility)
    with pytest.raises(ValueError, match=r"read is torch\.float16, inputs torch\.float32"):
        ssd(inputs, decay, write, read.half(), visibility)
    with pytest.raises(ValueError, match=r"decay is torch\.float16; legal .*float32"):
        ssd(inputs, decay.half(), write, read, visibility)
    with pytest.raises(ValueError, match=r"initial_state is torch\.float64; legal .*float32"):
        ssd(inputs, decay, write, read, visibility, initial_state=state.double())
    wide = torch.zeros(1, 7, 2, 257, device=DEVICE)
    with pytest.raises(ValueError, match=r"width 257; legal .* 1 to 256"):
        ssd(wide, decay, write, read, visibility)
    with pytest.raises(ValueError, match=r"initial_state is on meta; legal: .*, the inputs'"):
        ssd(inputs, decay, write, read, visibility, initial_state=state.to("meta"))
    with pytest.raises(ValueError, match=r"inputs are \(1, 0, 2, 5\); legal: .* T at least 1"):
        ssd(inputs[:, :0], decay, write, read, visibility)
