"""Problems of the ops that are linear or nearly so in length, and who else computes them: mamba_ssm
and flash-linear-attention (state-space dual), FlashFFTConv and torch's transforms (long
convolution), torch's batched and dense products (block-diagonal product).

Each peer gets its published call and its own layout. Axes: B rows, T positions, H heads, P head
width, N state width, D channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bench.contest import Problem, Side, Work
from kernels import full_size
from kernels.blockdiag import blockdiag
from kernels.longconv import longconv
from kernels.ssd import ssd
from kernels.visibility import Visibility

MISSING = "not installed"
NO_FORM = "no such form"


def installed(module: str, name: str) -> Callable[..., Any] | None:
    """What a peer publishes, or None where it is not installed."""
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError:
        return None


def draw(device: torch.device, seed: int) -> Callable[..., Tensor]:
    generator = torch.Generator(device).manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=generator, device=device)


def state_space(
    pattern: full_size.Pattern, *, rows: int, length: int, dtype: torch.dtype, device: torch.device
) -> Problem:
    """Mamba-2's form: one group of B and C for all heads, step sizes dt, a rate A for each head."""
    heads, width, state = full_size.HEADS, full_size.D_HEAD, full_size.STATE
    normal = draw(device, length)
    x = normal(rows, length, heads, width).to(dtype)
    # Steps of .01 to .1 and rates of 1 to 16, as Mamba-2 begins with.
    dt = functional.softplus(normal(rows, length, heads) - 3.0)
    rate = -torch.linspace(1.0, 16.0, heads, device=device)
    write, read = ((normal(rows, length, state) / state**0.5).to(dtype) for _ in range(2))
    leaves = tuple(each.requires_grad_() for each in (x, dt, rate, write, read))
    known = full_size.visibility(pattern, rows=rows, length=length)
    seen = known.to(device)

    def ours(x: Tensor, dt: Tensor, rate: Tensor, write: Tensor, read: Tensor) -> Tensor:
        inputs, decay = (x * dt[..., None]).to(x.dtype), dt * rate
        write, read = (each[:, :, None].expand(-1, -1, heads, -1) for each in (write, read))
        return ssd(inputs, decay, write, read, seen)[0]

    # A state of N P numbers is written and read once a position and head, by the recurrence.
    flops = 4.0 * rows * length * heads * width * state
    bytes_of = [each.numel() * each.element_size() for each in (x, dt, write, read)]
    once, out = float(sum(bytes_of)), float(bytes_of[0])
    return Problem(
        op="ssd",
        pattern=pattern,
        length=length,
        size=f"B {rows}, H {heads}, P {width}, N {state}",
        dtype=dtype,
        work={
            "forward": Work(flops=flops, moved=once + out),
            "forward and backward": Work(flops=3 * flops, moved=3 * once + 2 * out),
        },
        ours=Side(name="ours", leaves=leaves, run=ours),
        peers=(_mamba(leaves, known, pattern), _gated_linear(leaves, known, pattern)),
    )


def _mamba(leaves: tuple[Tensor, ...], known: Visibility, pattern: str) -> Side:
    name = "mamba_ssm"
    scan = installed("mamba_ssm.ops.triton.ssd_combined", "mamba_chunk_scan_combined")
    if scan is None:
        return Side(name=name, absent=MISSING)
    if pattern not in ("causal", "packed"):
        return Side(name=name, absent=NO_FORM)
    numbers = (known.start == torch.arange(known.start.shape[1])).cumsum(1) - 1
    index = numbers.to(leaves[0].device, torch.int32) if pattern == "packed" else None

    def run(x: Tensor, dt: Tensor, rate: Tensor, write: Tensor, read: Tensor) -> Tensor:
        return scan(x, dt, rate, write[:, :, None], read[:, :, None], chunk_size=256, seq_idx=index)

    return Side(name=name, leaves=leaves, run=run)


def _gated_linear(leaves: tuple[Tensor, ...], known: Visibility, pattern: str) -> Side:
    """Simple gated linear attention is the dual with dt multiplied in; rows in one line."""
    name = "flash-linear-attention"
    chunk = installed("fla.ops.simple_gla", "chunk_simple_gla")
    if chunk is None:
        return Side(name=name, absent=MISSING)
    if pattern not in ("causal", "packed"):
        return Side(name=name, absent=NO_FORM)
    documents = known.documents
    lengths = [0, *documents.length.cumsum(0).tolist()]
    borders = torch.tensor(lengths, device=leaves[0].device) if pattern == "packed" else None

    def run(x: Tensor, dt: Tensor, rate: Tensor, write: Tensor, read: Tensor) -> Tensor:
        heads = x.shape[2]
        every = [each[:, :, None].expand(-1, -1, heads, -1) for each in (read, write)]
        parts = (*every, (x * dt[..., None]).to(x.dtype), dt * rate)
        if borders is not None:
            parts = tuple(each.flatten(0, 1)[None] for each in parts)
        query, key, value, gate = (each.contiguous() for each in parts)
        return chunk(query, key, value, gate, scale=1.0, cu_seqlens=borders)[0].view_as(x)

    return Side(name=name, leaves=leaves, run=run)


def convolution(
    pattern: full_size.Pattern, *, rows: int, length: int, dtype: torch.dtype, device: torch.device
) -> Problem:
    """A filter of each channel as long as the row, fading; a second one where prefixes are."""
    width = full_size.WIDTH
    normal = draw(device, length)
    fade = torch.linspace(0.0, -8.0, length, device=device).exp()
    inputs = normal(rows, length, width).to(dtype).requires_grad_()
    prefixed = pattern in ("prefix", "packed_prefix")
    taps = [
        (normal(width, length) * fade / length**0.5).requires_grad_() for _ in range(1 + prefixed)
    ]
    seen = full_size.visibility(pattern, rows=rows, length=length).to(device)

    def ours(inputs: Tensor, after: Tensor, before: Tensor | None = None) -> Tensor:
        return longconv(inputs, after, before, seen)

    # Two real transforms of twice the length, and the product of spectra between them.
    around = 2 * length
    flops = rows * width * (2 * 2.5 * around * math.log2(around) + 3.0 * around)
    moved = 2.0 * inputs.numel() * inputs.element_size() + sum(4.0 * each.numel() for each in taps)
    leaves = (inputs, *taps)
    return Problem(
        op="longconv",
        pattern=pattern,
        length=length,
        size=f"B {rows}, D {width}",
        dtype=dtype,
        work={
            "forward": Work(flops=flops, moved=moved),
            "forward and backward": Work(flops=3 * flops, moved=3 * moved),
        },
        ours=Side(name="ours", leaves=leaves, run=ours),
        peers=(_flash_fft(leaves, pattern), _torch_fft(leaves, pattern)),
    )


def _flash_fft(leaves: tuple[Tensor, ...], pattern: str) -> Side:
    """Its transforms are twice as long as the row, so that nothing wraps around: causal."""
    name = "FlashFFTConv"
    build = installed("flashfftconv", "FlashFFTConv")
    if build is None:
        return Side(name=name, absent=MISSING)
    if pattern != "causal":
        return Side(name=name, absent=NO_FORM)
    inputs, after = leaves
    if inputs.dtype == torch.float32:
        return Side(name=name, absent="no float32")
    module = build(2 * inputs.shape[1], dtype=inputs.dtype).to(inputs.device)
    own = inputs.detach().transpose(1, 2).contiguous().requires_grad_()
    return Side(name=name, leaves=(own, after), run=module, swapped=True)


def _torch_fft(leaves: tuple[Tensor, ...], pattern: str) -> Side:
    name = "torch.fft"
    if pattern != "causal":
        return Side(name=name, absent=NO_FORM)
    inputs, after = leaves
    length = inputs.shape[1]

    def run(inputs: Tensor, after: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(inputs.float(), n=2 * length)
        mixed = spectrum * torch.fft.rfft(after, n=2 * length)
        return torch.fft.irfft(mixed, n=2 * length)[..., :length].to(inputs.dtype)

    own = inputs.detach().transpose(1, 2).contiguous().requires_grad_()
    return Side(name=name, leaves=(own, after), run=run, swapped=True)


def block_diagonal(*, tokens: int, dtype: torch.dtype, device: torch.device) -> Problem:
    """One square product with BLOCKS blocks; a row's length does not matter to it."""
    width, blocks = full_size.WIDTH, full_size.BLOCKS
    normal = draw(device, tokens)
    size = width // blocks
    inputs = normal(tokens, width).to(dtype)
    weight = (normal(blocks, size, size) / size**0.5).to(dtype)
    leaves = (inputs.requires_grad_(), weight.requires_grad_())
    flops = 2.0 * tokens * width * size
    element = inputs.element_size()
    moved = float(element * (2 * inputs.numel() + weight.numel()))

    def batched(inputs: Tensor, weight: Tensor) -> Tensor:
        parts = inputs.view(-1, blocks, size).transpose(0, 1)
        return torch.bmm(parts, weight.transpose(1, 2)).transpose(0, 1).flatten(1)

    return Problem(
        op="blockdiag",
        pattern="any",
        length=tokens,
        size=f"{blocks} blocks of {size}",
        dtype=dtype,
        work={
            "forward": Work(flops=flops, moved=moved),
            "forward and backward": Work(flops=3 * flops, moved=3 * moved),
        },
        ours=Side(name="ours", leaves=leaves, run=blockdiag),
        peers=(Side(name="torch.bmm", leaves=leaves, run=batched),),
    )
