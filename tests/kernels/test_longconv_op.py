"""The long convolution as torch operators, and the way there from `longconv`."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from kernels import backend
from kernels.longconv import longconv, longconv_reference, op, prepare, spectral
from kernels.longconv.cases import CASES, Case
from kernels.longconv.operator import convolved
from kernels.longconv.segments import segments
from kernels.visibility import Visibility, packed

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
OPERATORS = {
    "torch": (spectral.forward, spectral.backward),
    "triton": (op.forward, op.backward),
}
SMALL = Case(
    name="small",
    documents=(((3, 0), (4, 3)), ((6, 6),)),
    length=8,
    channels=2,
    role="test",
)


@pytest.fixture(params=["torch", "triton"])
def implementation(request):
    backend.use(request.param)
    yield request.param
    backend.use("auto")


def moved(case: Case, dtype: torch.dtype = torch.float32) -> tuple[list[Tensor], Visibility]:
    inputs = [each.to(DEVICE) for each in case.inputs(seed=2, dtype=dtype)]
    return inputs, case.visibility.to(DEVICE)


def test_the_operators_pass_torchs_own_check(implementation: str):
    forward, backward = OPERATORS[implementation]
    tensors, visibility = moved(SMALL)
    known = segments(visibility)
    leaves = [each.requires_grad_() for each in tensors]
    torch.library.opcheck(forward, (*leaves, known.table, known.groups))
    plain = [each.detach() for each in leaves]
    grad = torch.ones_like(plain[0])
    torch.library.opcheck(backward, (grad, *plain, known.table, known.groups))


def test_compiled_without_a_break_and_not_anew_for_every_batch(implementation: str):
    """Values and gradients of a compiled graph, with other documents in every batch."""
    torch.compiler.reset()
    tensors, _ = moved(SMALL)
    leaves = [each.requires_grad_() for each in tensors]
    counter = CompileCounterWithBackend("aot_eager")

    def loss(inputs: Tensor, after: Tensor, before: Tensor, visibility: Visibility) -> Tensor:
        return longconv(inputs, after, before, visibility).square().sum()

    whole = torch.compile(loss, fullgraph=True, backend=counter)
    for documents in (
        SMALL.documents,
        (((5, 4),), ((2, 0), (3, 2), (1, 0))),
        (((1, 0), (7, 4)), ((4, 4), (2, 2))),
        (((8, 5),), ((1, 0), (6, 2), (1, 1))),
        (((2, 2),) * 4, ((6, 3),)),
    ):
        visibility = packed(documents, length=SMALL.length).to(DEVICE)
        prepare(visibility)
        wanted = torch.autograd.grad(loss(*leaves, visibility), leaves)
        found = torch.autograd.grad(whole(*leaves, visibility), leaves)
        assert all(torch.equal(one, two) for one, two in zip(found, wanted, strict=True))
    # once, and again when the numbers of segments and of groups are found to vary
    assert counter.frame_count <= 3


@pytest.mark.usefixtures("implementation")
def test_longconv_leads_there():
    """Through the public function, on strided views as the models make them."""
    case = next(case for case in CASES if case.name == "packed_prefix")
    (inputs, after, before), visibility = moved(case)
    beside = torch.cat([inputs, torch.full_like(inputs, torch.nan)], -1)
    view = beside[..., : case.channels].requires_grad_()
    assert not view.is_contiguous()
    leaves = [view, after.requires_grad_(), before.requires_grad_()]
    out = longconv(*leaves, visibility)
    found = [out, *torch.autograd.grad(out.square().sum(), leaves)]
    wide = [each.detach().cpu().double().requires_grad_() for each in leaves]
    exact = longconv_reference(*wide, case.visibility)
    wanted = [exact, *torch.autograd.grad(exact.square().sum(), wide)]
    for one, two in zip(found, wanted, strict=True):
        scale = float(two.detach().abs().max())
        torch.testing.assert_close(
            one.detach().cpu().double(), two.detach(), rtol=0, atol=2e-6 * scale
        )


def test_the_shipped_sizes_compute_a_transform_of_order_2():
    """As many places as take one with the sizes that are shipped, on one channel."""
    assert op.SIZES.whole == 256
    assert [op.factors(size) for size in (512, 2048, 8192, 32768, 131072)] == [
        (32, 16), (64, 32), (128, 64), (256, 128), (1024, 128)
    ]  # fmt: skip
    case = Case(name="one", documents=(((300, 0),),), length=300, channels=1, role="test")
    (inputs, after, before), visibility = moved(case)
    known = segments(visibility)
    found = convolved(op.engine(op.SIZES), inputs, after, before, known.table, known.groups).cpu()
    wanted = longconv_reference(
        *(each.cpu().double() for each in (inputs, after)), None, case.visibility
    )
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 2e-6


@pytest.mark.usefixtures("implementation")
def test_autocast_casts_inputs_and_not_filters():
    (inputs, after, before), visibility = moved(SMALL)
    leaves = [each.requires_grad_() for each in (inputs, after, before)]
    with torch.autocast(DEVICE, dtype=torch.float16):
        out = longconv(*leaves, visibility)
    assert out.dtype == torch.float16
    gradients = torch.autograd.grad(out.float().sum(), leaves)
    assert all(each.dtype == torch.float32 for each in gradients)
    # a filter that was cast would differ by 5e-4
    exact = longconv(inputs.half().float(), after, before, visibility)
    assert float((out.float() - exact).detach().abs().max()) < 2e-3 * float(
        exact.detach().abs().max()
    )


@pytest.mark.usefixtures("implementation")
def test_a_causal_batch_needs_no_filter_for_later_keys():
    (inputs, after, _), _ = moved(SMALL)
    visibility = packed([[(8, 0)], [(5, 1)]], length=8).to(DEVICE)
    after.requires_grad_()
    out = longconv(inputs, after, None, visibility)
    assert not out[1, 5:].any()
    (grad,) = torch.autograd.grad(out.sum(), after)
    assert grad.shape == after.shape


def test_what_the_kernels_do_not_compute_is_refused():
    (inputs, after, before), visibility = moved(SMALL)
    backend.use("triton")
    try:
        with pytest.raises(ValueError, match=r"inputs is torch\.float64; legal .*float16, bfloat"):
            longconv(inputs.double(), after, before, visibility)
        with pytest.raises(ValueError, match=r"after is torch\.float64; legal for the Triton"):
            longconv(inputs, after.double(), before.double(), visibility)
    finally:
        backend.use("auto")
    with pytest.raises(ValueError, match=r"before is torch\.float64; legal: torch\.float32, as"):
        longconv(inputs, after, before.double(), visibility)
    with pytest.raises(ValueError, match=r"after is on meta; legal: .*, the inputs'"):
        longconv(inputs, after.to("meta"), before, visibility)
    with pytest.raises(ValueError, match=r"visibility of \(2, 8\) queries; legal .* \(1, 8\)"):
        longconv(inputs[:1], after, before, visibility)
    window = Visibility.build(
        (torch.arange(8, dtype=torch.int32) - 2).clamp(min=0).repeat(2, 1),
        torch.arange(1, 9, dtype=torch.int32).repeat(2, 1),
        num_keys=8,
    )
    with pytest.raises(ValueError, match="no window"):
        longconv(inputs, after, before, window.to(DEVICE))
