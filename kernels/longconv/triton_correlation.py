"""What filters' gradients need, as Triton kernels: the spectrum of output gradients times the
conjugate spectrum of the values, summed over a group's segments.

One program owns some frequencies and channels of one share of the segments, which it adds up in
their order; the shares are added by `op.py`. Nothing is added atomically. Names and transform as in
`triton.py`.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.longconv.triton import UNSPECIALISED, frequencies_of, interval_of, second_factor


@triton.jit
def store_planes(out, share, k, channel, width, re, im, SIZE: tl.constexpr):
    """Into (shares, 2, SIZE, D)."""
    row = tl.cast(share, tl.int64) * (2 * SIZE) + k
    at = out + row[:, None] * width + channel[None, :]
    real = (channel < width)[None, :]
    tl.store(at, re, mask=real)
    tl.store(at + tl.cast(SIZE, tl.int64) * width, im, mask=real)


@triton.jit(do_not_specialize=[*UNSPECIALISED, "members", "shares"])
def whole_correlation_kernel(
    grad, values, out, table, matrix, grad_row, value_row, width, places, segments, begin,
    members, shares,
    SIZE: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Transforms of order 1, from the packed rows, for BLOCK_M frequencies."""
    channel = tl.program_id(0) * BLOCK_D + tl.arange(0, BLOCK_D)
    k = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    sum_re = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    sum_im = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    for member in range(tl.program_id(2), members, shares):
        first, low, high = interval_of(table, segments, begin + member, places, False)
        x_re, x_im = frequencies_of(
            values, value_row, first, low, high, matrix, k, channel, width, SIZE, BLOCK_M, BLOCK_K,
            BLOCK_D, PRECISION,
        )  # fmt: skip
        first, low, high = interval_of(table, segments, begin + member, places, True)
        g_re, g_im = frequencies_of(
            grad, grad_row, first, low, high, matrix, k, channel, width, SIZE, BLOCK_M, BLOCK_K,
            BLOCK_D, PRECISION,
        )  # fmt: skip
        sum_re += g_re * x_re + g_im * x_im
        sum_im += g_im * x_re - g_re * x_im
    store_planes(out, tl.program_id(2), k, channel, width, sum_re, sum_im, SIZE)


@triton.jit(do_not_specialize=["members", "shares"])
def inner_correlation_kernel(
    grad_scratch, value_scratch, out, matrix, width, members, shares,
    OUTER: tl.constexpr, INNER: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Transforms of order 2, from their first factors, for one k1 and BLOCK_M of k2."""
    channel = tl.program_id(0) * BLOCK_D + tl.arange(0, BLOCK_D)
    k1 = tl.program_id(1) % OUTER
    k2 = (tl.program_id(1) // OUTER) * BLOCK_M + tl.arange(0, BLOCK_M)
    sum_re = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    sum_im = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    for member in range(tl.program_id(2), members, shares):
        row = (tl.cast(member, tl.int64) * OUTER + k1) * INNER
        x_re, x_im = second_factor(
            value_scratch, row, matrix, k2, channel, width, INNER, BLOCK_M, BLOCK_K, BLOCK_D,
            PRECISION,
        )  # fmt: skip
        g_re, g_im = second_factor(
            grad_scratch, row, matrix, k2, channel, width, INNER, BLOCK_M, BLOCK_K, BLOCK_D,
            PRECISION,
        )  # fmt: skip
        sum_re += g_re * x_re + g_im * x_im
        sum_im += g_im * x_re - g_re * x_im
    store_planes(
        out, tl.program_id(2), k1 + OUTER * k2, channel, width, sum_re, sum_im, OUTER * INNER
    )
