"""What the benchmark times, against the ops' equations in float64: outputs and every gradient.

Equations have matrices of length x length, so of the longest problems a part is compared that says
all: attention on some queries (with every key, and gradients that come from them alone), the long
convolution on some channels. The state-space dual beyond `LARGEST` positions is compared with its
own chunked form in float64, which is compared with the equation at the shorter ones.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench import attention as attention_problems
from bench import linear
from kernels import full_size
from kernels.attention import attention_reference
from kernels.blockdiag import blockdiag_reference
from kernels.longconv import longconv, longconv_reference
from kernels.ssd import ssd, ssd_reference
from kernels.visibility import Visibility

NEAR = {torch.float32: 2e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2}
"""Legal distance, as a part of the largest number of the tensor: a few roundings of the inputs of
the products. An interval that is off by one is beyond it (tested).
"""
LARGEST = 2048
QUERIES, CHANNELS = 256, 8

Distances = dict[str, float]


def distances(
    op: str,
    pattern: full_size.Pattern,
    *,
    rows: int,
    length: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Distances:
    """How far outputs and gradients are from the equation, by name."""
    make = {"attention": _attention, "ssd": _state_space, "longconv": _convolution}
    return make[op](pattern, rows, length, dtype, device)


def block_diagonal(*, tokens: int, dtype: torch.dtype, device: torch.device) -> Distances:
    ours = linear.block_diagonal(tokens=tokens, dtype=dtype, device=device).ours
    wide, grad = _wide(ours.leaves), ours.gradient()
    wanted = blockdiag_reference(*wide)
    exact = [wanted, *torch.autograd.grad(wanted, wide, grad.double())]
    return _apart(["output", "inputs", "weight"], ours.both_ways(grad), exact)


def _attention(pattern, rows, length, dtype, device) -> Distances:
    ours = attention_problems.problem(
        pattern, rows=rows, length=length, dtype=dtype, device=device
    ).ours
    known = full_size.visibility(pattern, rows=rows, length=length)
    places = _some_queries(known)
    grad = torch.zeros_like(ours.gradient())
    grad[:, :, places] = ours.gradient()[:, :, places]
    out, *found = ours.both_ways(grad)
    query, key, value = wide = _wide(ours.leaves)
    seen = Visibility.build(known.start[:, places], known.end[:, places], num_keys=length)
    wanted = attention_reference(
        query[:, :, places], key, value, seen.to(device), bias=None, scale=query.shape[-1] ** -0.5
    )
    exact = torch.autograd.grad(wanted, wide, grad[:, :, places].double())
    return _apart(
        ["output", "query", "key", "value"], [out[:, :, places], *found], [wanted, *exact]
    )


def _some_queries(known: Visibility) -> Tensor:
    """All of them in short rows; else those around the first row's borders, where an interval that
    is off by one shows most, and some everywhere.
    """
    length = known.start.shape[1]
    if length <= QUERIES:
        return torch.arange(length)
    near = known.start[0].unique().long()[:, None] + torch.arange(-2, 3)
    near = near.flatten().clamp(0, length - 1)[: QUERIES // 2]
    spread = torch.linspace(0, length - 1, QUERIES // 2).long()
    return torch.cat([near, spread, torch.arange(QUERIES // 4)]).unique()


def _state_space(pattern, rows, length, dtype, device) -> Distances:
    ours = linear.state_space(pattern, rows=rows, length=length, dtype=dtype, device=device).ours
    seen = full_size.visibility(pattern, rows=rows, length=length).to(device)
    x, dt, rate, write, read = wide = _wide(ours.leaves)
    writes, reads = (each[:, :, None].expand(-1, -1, x.shape[2], -1) for each in (write, read))
    equation = ssd_reference if length <= LARGEST else ssd
    wanted, _ = equation(x * dt[..., None], dt * rate, writes, reads, seen)
    grad = ours.gradient()
    exact = [wanted, *torch.autograd.grad(wanted, wide, grad.double())]
    return _apart(["output", "x", "dt", "A", "B", "C"], ours.both_ways(grad), exact)


def _convolution(pattern, rows, length, dtype, device) -> Distances:
    ours = linear.convolution(pattern, rows=rows, length=length, dtype=dtype, device=device).ours
    seen = full_size.visibility(pattern, rows=rows, length=length).to(device)
    grad = ours.gradient()
    out, inputs, *taps = ours.both_ways(grad)
    found = [out[..., :CHANNELS], inputs[..., :CHANNELS], *(each[:CHANNELS] for each in taps)]
    first, *others = ours.leaves
    wide = _wide((first[..., :CHANNELS], *(each[:CHANNELS] for each in others)))
    before = wide[2] if len(wide) == 3 else None
    equation = longconv_reference if length <= LARGEST else longconv
    wanted = equation(wide[0], wide[1], before, seen)
    exact = [wanted, *torch.autograd.grad(wanted, wide, grad[..., :CHANNELS].double())]
    return _apart(["output", "inputs", "after", "before"][: len(exact)], found, exact)


def _wide(leaves: tuple[Tensor, ...]) -> list[Tensor]:
    return [each.detach().double().requires_grad_() for each in leaves]


def _apart(names: list[str], found: list[Tensor], exact: list[Tensor]) -> Distances:
    return {
        name: float((one.double() - two).abs().max() / two.abs().max().clamp(min=1e-12))
        for name, one, two in zip(names, found, (each.detach() for each in exact), strict=True)
    }
