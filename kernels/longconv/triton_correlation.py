"""What filters' gradients need, as Triton kernels: the spectrum of output gradients times the
conjugate spectrum of the values, summed over a group's segments.

One program owns some frequencies and channels of one share of the segments, which it adds up in
their order; the shares are added by `op.py`. Nothing is added atomically. Names and transform as in
`triton.py`.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.longconv.triton import UNSPECIALISED, interval_of, narrowed, places_of, times


@triton.jit
def store_planes(out, share, k, channel, width, re, im, SIZE: tl.constexpr):
    """Into (shares, 2, SIZE, D)."""
    row = tl.cast(share, tl.int64) * (2 * SIZE) + k
    at = out + row[:, None] * width + channel[None, :]
    real = (channel < width)[None, :]
    tl.store(at, re, mask=real)
    tl.store(at + tl.cast(SIZE, tl.int64) * width, im, mask=real)


@triton.jit(do_not_specialize=UNSPECIALISED)
def whole_correlation_kernel(
    grad, values, out, table, matrix, grad_row, value_row, width, places, segments, begin,
    members, shares,
    SIZE: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Transforms of order 1, from the packed rows, BLOCK_N places at a time."""
    channel = tl.program_id(0) * BLOCK_D + tl.arange(0, BLOCK_D)
    k = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)
    sum_re = tl.zeros((BLOCK_K, BLOCK_D), tl.float32)
    sum_im = tl.zeros((BLOCK_K, BLOCK_D), tl.float32)
    for member in range(tl.program_id(2), members, shares):
        first, low, high = interval_of(table, segments, begin + member, places, False)
        _, kept_low, kept_high = interval_of(table, segments, begin + member, places, True)
        x_re = tl.zeros((BLOCK_K, BLOCK_D), tl.float32)
        x_im = tl.zeros((BLOCK_K, BLOCK_D), tl.float32)
        g_re = tl.zeros((BLOCK_K, BLOCK_D), tl.float32)
        g_im = tl.zeros((BLOCK_K, BLOCK_D), tl.float32)
        for start in range(0, tl.minimum(high, SIZE).to(tl.int32), BLOCK_N):
            n = start + tl.arange(0, BLOCK_N)
            x = places_of(values, value_row, first, low, high, n, channel, width)
            g = places_of(grad, grad_row, first, kept_low, kept_high, n, channel, width)
            w = matrix + k[:, None] * SIZE + n[None, :]
            w_re, w_im = tl.load(w), tl.load(w + SIZE * SIZE)
            x_re = times(w_re, x, x_re, PRECISION)
            x_im = times(w_im, x, x_im, PRECISION)
            g_re = times(w_re, g, g_re, PRECISION)
            g_im = times(w_im, g, g_im, PRECISION)
        sum_re += g_re * x_re + g_im * x_im
        sum_im += g_im * x_re - g_re * x_im
    store_planes(out, tl.program_id(2), k, channel, width, sum_re, sum_im, SIZE)


@triton.jit
def second_factor(
    scratch, row, matrix, k2, channel, width,
    INNER: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Some frequencies of the transform whose first factor is in the scratch from `row` on."""
    re = tl.zeros((BLOCK_K, BLOCK_D), tl.float32)
    im = tl.zeros((BLOCK_K, BLOCK_D), tl.float32)
    real = (channel < width)[None, :]
    for start in range(0, INNER, BLOCK_N):
        n2 = start + tl.arange(0, BLOCK_N)
        at = scratch + (row + n2)[:, None] * (2 * width) + channel[None, :]
        z_re = narrowed(tl.load(at, mask=real, other=0.0), PRECISION)
        z_im = narrowed(tl.load(at + width, mask=real, other=0.0), PRECISION)
        f = matrix + k2[:, None] * INNER + n2[None, :]
        f_re, f_im = tl.load(f), tl.load(f + INNER * INNER)
        re = times(f_re, z_re, times(-f_im, z_im, re, PRECISION), PRECISION)
        im = times(f_re, z_im, times(f_im, z_re, im, PRECISION), PRECISION)
    return re, im


@triton.jit
def inner_correlation_kernel(
    grad_scratch, value_scratch, out, matrix, width, members, shares,
    OUTER: tl.constexpr, INNER: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Transforms of order 2 for one k1 and BLOCK_K of k2, from their first factors."""
    channel = tl.program_id(0) * BLOCK_D + tl.arange(0, BLOCK_D)
    k1 = tl.program_id(1) % OUTER
    k2 = (tl.program_id(1) // OUTER) * BLOCK_K + tl.arange(0, BLOCK_K)
    sum_re = tl.zeros((BLOCK_K, BLOCK_D), tl.float32)
    sum_im = tl.zeros((BLOCK_K, BLOCK_D), tl.float32)
    for member in range(tl.program_id(2), members, shares):
        row = (tl.cast(member, tl.int64) * OUTER + k1) * INNER
        x_re, x_im = second_factor(
            value_scratch, row, matrix, k2, channel, width, INNER, BLOCK_K, BLOCK_N, BLOCK_D,
            PRECISION,
        )  # fmt: skip
        g_re, g_im = second_factor(
            grad_scratch, row, matrix, k2, channel, width, INNER, BLOCK_K, BLOCK_N, BLOCK_D,
            PRECISION,
        )  # fmt: skip
        sum_re += g_re * x_re + g_im * x_im
        sum_im += g_im * x_re - g_re * x_im
    store_planes(
        out, tl.program_id(2), k1 + OUTER * k2, channel, width, sum_re, sum_im, OUTER * INNER
    )
