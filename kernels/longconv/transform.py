"""The transform of the long convolution, and what filters and their gradients are in it.

A convolution of M places must not wrap around. Instead of padding to 2 M places, polynomials are
multiplied modulo t^M + i: in

    sum_n x_n t^n  at  t_k = exp(-2 pi i (k + 1/4) / M),  k = 0 .. M - 1,    t_k^M = -i,

whatever passes M places comes back with a factor -i, and what falls below 0 with i. Data and
filters are real, so the real part of the result is the convolution and the imaginary part what
wrapped around (Nussbaumer 1982; known as the right-angle convolution). It is
a discrete Fourier transform of M places whose frequencies lie a quarter of a step higher, complex
for real data: as much work as the real transform of 2 M places that it stands for, without a place
that is known to be zero.

Trap: `conj()` is lazy, and inside an operator that a compiled graph calls, torch 2.13 forgets it
without a word (in a backward graph, measured). So conjugates are physical here.

Axes: D channels, L taps, M places of a transform.
"""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.nn import functional

WIDE = {torch.float32: torch.complex64, torch.float64: torch.complex128}


def quarter(size: int, *, dtype: torch.dtype, device: torch.device) -> Complex[Tensor, " M"]:
    """exp(-i pi n / (2 M)): before an ordinary transform it shifts the frequencies by 1/4."""
    angle = torch.arange(size, dtype=torch.float64, device=device) * (-torch.pi / (2 * size))
    return torch.polar(torch.ones_like(angle), angle).to(dtype)


def spectrum(
    after: Float[Tensor, "D L"], before: Float[Tensor, "D L"] | None, size: int
) -> Complex[Tensor, "M D"]:
    """Both filters' transform of `size` places, in float32 at least. before[j - i - 1] is a filter
    one place late that runs backwards: |t| = 1, so its transform is that one's conjugate.
    """
    wide = torch.promote_types(after.dtype, torch.float32)
    shift = quarter(size, dtype=WIDE[wide], device=after.device)
    found = torch.fft.fft(after[:, :size].to(wide) * shift[: after.shape[1]], n=size)
    if before is not None:
        late = functional.pad(before[:, : size - 1].to(wide), (1, 0))
        found = found + torch.fft.fft(late * shift[: late.shape[1]], n=size).conj_physical()
    return found.t().contiguous()


def add_filter_gradients(
    correlation: Complex[Tensor, "M D"],
    after: Float[Tensor, "D L"],
    before: Float[Tensor, "D L"] | None,
) -> None:
    """Add to the gradients `after` and `before` what the spectrum of output gradients times the
    conjugate spectrum of inputs, summed over segments, says: its real part at n is the correlation
    at i - j = n, its imaginary part that at i - j = n - M.
    """
    size = correlation.shape[0]
    shift = quarter(size, dtype=correlation.dtype, device=correlation.device)
    lags = torch.fft.ifft(correlation.t()) * shift.conj_physical()
    taps = min(size, after.shape[1])
    after[:, :taps] += lags.real[:, :taps]
    if before is not None:
        taps = min(size - 1, before.shape[1])
        before[:, :taps] += lags.imag.flip(1)[:, :taps]
