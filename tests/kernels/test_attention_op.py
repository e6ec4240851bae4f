"""The Triton kernels as torch operators, and the way there from `attention`."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kernels import backend
from kernels.attention import RelativeBias, attention, attention_reference, op
from kernels.attention.cases import CASES, Case
from kernels.visibility import causal

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SMALL = Case(
    name="small",
    rows=2,
    heads=2,
    d_head=8,
    queries=5,
    keys=5,
    intervals=lambda case: causal(rows=case.rows, length=case.queries),
    biased=True,
    role="test",
)


@pytest.fixture(autouse=True)
def _triton():
    backend.use("triton")
    yield
    backend.use("auto")


def small(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor, RelativeBias]:
    query, key, value, bias = SMALL.inputs(seed=1, dtype=dtype)
    assert bias is not None
    return query.to(DEVICE), key.to(DEVICE), value.to(DEVICE), bias


def test_the_operators_pass_torchs_own_check():
    query, key, value, bias = small()
    visibility = SMALL.intervals(SMALL).to(DEVICE)
    leaves = [each.requires_grad_() for each in (query, key, value, bias.values.to(DEVICE))]
    arguments = (*leaves[:3], visibility.start, visibility.end, leaves[3], 0.5)
    torch.library.opcheck(op.forward, arguments)
    plain = [each.detach() for each in arguments[:6]]
    out, log_sum = op.forward(*plain, 0.5)
    torch.library.opcheck(op.backward, (torch.ones_like(out), *plain, out, log_sum, 0.5))


def test_compiled_without_a_break():
    query, key, value, _ = small()
    visibility = SMALL.intervals(SMALL).to(DEVICE)
    query.requires_grad_()

    def loss(query: Tensor) -> Tensor:
        return attention(query, key, value, visibility, bias=None, scale=0.5).square().sum()

    (wanted,) = torch.autograd.grad(loss(query), query)
    whole = torch.compile(loss, fullgraph=True, backend="aot_eager")
    (found,) = torch.autograd.grad(whole(query), query)
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("name", ["packed_biased", "cross"])
def test_attention_leads_there(name: str):
    """Through the public function, on strided views as the models make them."""
    case = next(case for case in CASES if case.name == name)
    *inputs, bias = case.inputs(seed=2, dtype=torch.float32)
    visibility = case.intervals(case)
    leaves = [
        each.transpose(1, 2).contiguous().to(DEVICE).transpose(1, 2).requires_grad_()
        for each in inputs
    ]
    assert not leaves[0].is_contiguous()
    moved = None if bias is None else RelativeBias(bias.values.to(DEVICE), bias.queries)
    out = attention(*leaves, visibility.to(DEVICE), bias=moved, scale=0.5)
    out.square().sum().backward()
    wide = [each.double().requires_grad_() for each in inputs]
    exact = None if bias is None else RelativeBias(bias.values.double(), bias.queries)
    wanted = attention_reference(*wide, visibility, bias=exact, scale=0.5)
    wanted.square().sum().backward()
    torch.testing.assert_close(out.cpu().double(), wanted, rtol=1e-5, atol=1e-5)
    for one, two in zip(leaves, wide, strict=True):
        torch.testing.assert_close(one.grad.cpu().double(), two.grad, rtol=1e-5, atol=1e-5)


def test_autocast_reaches_the_kernels():
    query, key, value, _ = small()
    visibility = SMALL.intervals(SMALL).to(DEVICE)
    with torch.autocast(DEVICE, dtype=torch.float16):
        out = attention(query, key, value, visibility, bias=None, scale=0.5)
    assert out.dtype == torch.float16


def test_what_the_kernels_do_not_compute_is_refused():
    query, key, value, _ = small()
    visibility = SMALL.intervals(SMALL).to(DEVICE)
    ask = {"bias": None, "scale": 1.0}
    with pytest.raises(ValueError, match=r"query is torch\.float64.*legal.*float16, bfloat16"):
        attention(query.double(), key.double(), value.double(), visibility, **ask)
    with pytest.raises(ValueError, match=r"value is torch\.float16, query torch\.float32"):
        attention(query, key, value.half(), visibility, **ask)
    wide = torch.zeros(2, 2, 5, 257, device=DEVICE)
    with pytest.raises(ValueError, match=r"head width 257; legal .* up to 256"):
        attention(query, key, wide, visibility, **ask)
    with pytest.raises(ValueError, match=r"key is on meta; legal: .*, the query's"):
        attention(query, key.to("meta"), value, visibility, **ask)


def test_auto_is_triton_on_a_gpu_and_torch_elsewhere():
    backend.use("auto")
    assert backend.backend(torch.device("cuda"), torch.bfloat16) == "triton"
    assert backend.backend(torch.device("cuda"), torch.float64) == "torch"
    assert backend.backend(torch.device("cpu"), torch.float32) == "torch"
    with pytest.raises(ValueError, match="'cuda'; legal: auto, torch, triton"):
        backend.use("cuda")  # type: ignore[arg-type]
