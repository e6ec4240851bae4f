"""The long convolution as Triton kernels: transforms of order 1 and 2 as products with matrices.

A transform of M = OUTER x INNER places (`transform.py`) with n = INNER n1 + n2, k = k1 + OUTER k2:

    X[k] = sum_n2 exp(-2 pi i n2 k2 / INNER) exp(-2 pi i n2 (k1 + 1/4) / M)
           sum_n1 exp(-2 pi i n1 (k1 + 1/4) / OUTER) x[n],

a Monarch product: OUTER x OUTER matrices (the same for every n2), an elementwise twiddle, and
INNER x INNER ones (the same for every k1). Each factor multiplies tiles of places by channels, so
channels stay side by side in memory from the first load to the last store, and every program reads
its document from the packed rows: nothing is copied, transposed or padded for it.

`whole_kernel` is a convolution of order 1 in one program, for short documents. Longer ones take
three: `outer_kernel` (into a scratch of (segments, OUTER, INNER, 2, D) float32 numbers),
`inner_kernel` (second factor, filter, its inverse, in place) and `outer_inverse_kernel`. Complex
numbers are two planes, complex products real ones. `op.py` launches this; README.md derives it.

PRECISION "tf32" is for half-precision inputs: operands are rounded to TF32 here, to nearest, since
the hardware cuts them off; so Triton's interpreter computes what a tensor core does.
"""

from __future__ import annotations

import triton
import triton.language as tl

UNSPECIALISED = ["segments", "begin", "places"]


@triton.jit
def narrowed(x, PRECISION: tl.constexpr):
    """x with TF32's 11 bits (Dekker's splitting: exact with and without a fused multiply-add)."""
    if PRECISION == "tf32":
        large = x * 8193.0
        return large - (large - x)
    return x


@triton.jit
def interval_of(table, segments, segment, places, KEPT: tl.constexpr):
    """(first place, low, high) of a segment: what is convolved of it, or what is kept of it. Inside
    the rows whatever the table holds.
    """
    at = table + tl.cast(segment, tl.int64)
    row = 3 if KEPT else 1
    first = tl.load(at)
    low = tl.load(at + row * tl.cast(segments, tl.int64))
    high = tl.load(at + (row + 1) * tl.cast(segments, tl.int64))
    return first, tl.maximum(low, tl.maximum(-first, 0)), tl.minimum(high, places - first)


@triton.jit
def places_of(values, value_row, first, low, high, n, channel, width):
    """A (places, channels) tile of a segment in float32, 0 outside [low, high)."""
    n = tl.cast(n, tl.int64)
    return tl.load(
        values + (first + n)[:, None] * value_row + channel[None, :],
        mask=((n >= low) & (n < high))[:, None] & (channel < width)[None, :],
        other=0.0,
    ).to(tl.float32)


@triton.jit
def keep(out, out_row, first, low, high, n, channel, width, found, ADD: tl.constexpr):
    """Store such a tile at the places in [low, high), or add it there."""
    n = tl.cast(n, tl.int64)
    at = out + (first + n)[:, None] * out_row + channel[None, :]
    real = ((n >= low) & (n < high))[:, None] & (channel < width)[None, :]
    if ADD:
        found += tl.load(at, mask=real, other=0.0)
    tl.store(at, found.to(out.dtype.element_ty), mask=real)


@triton.jit
def filtered(re, im, spectrum, k, channel, width, SIZE: tl.constexpr, ADJOINT: tl.constexpr):
    """The product with the filter's spectrum (2, SIZE, D) at k, or with its conjugate."""
    at = spectrum + tl.cast(k, tl.int64)[:, None] * width + channel[None, :]
    real = (channel < width)[None, :]
    h_re = tl.load(at, mask=real, other=0.0)
    h_im = tl.load(at + tl.cast(SIZE, tl.int64) * width, mask=real, other=0.0)
    if ADJOINT:
        h_im = -h_im
    return re * h_re - im * h_im, re * h_im + im * h_re


@triton.jit
def member_of(width, BLOCK_D: tl.constexpr):
    """(segment of the group, channels) of this program."""
    tiles = tl.cdiv(width, BLOCK_D)
    tile = tl.program_id(0)
    return tile // tiles, (tile % tiles) * BLOCK_D + tl.arange(0, BLOCK_D)


@triton.jit
def frequencies_of(
    values, value_row, first, low, high, matrix, k, channel, width,
    SIZE: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """BLOCK_M frequencies of a segment's transform of order 1, BLOCK_K places at a time; those
    behind its end are not visited.
    """
    re = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    im = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    for start in range(0, tl.minimum(high, SIZE).to(tl.int32), BLOCK_K):
        n = start + tl.arange(0, BLOCK_K)
        v = places_of(values, value_row, first, low, high, n, channel, width)
        w = matrix + k[:, None] * SIZE + n[None, :]
        re = tl.dot(tl.load(w), v, re, input_precision=PRECISION)
        im = tl.dot(tl.load(w + SIZE * SIZE), v, im, input_precision=PRECISION)
    return re, im


@triton.jit
def second_factor(
    scratch, row, matrix, k2, channel, width,
    INNER: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """BLOCK_M frequencies k2 of what is in the scratch from `row` on, BLOCK_K of n2 at a time."""
    re = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    im = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    real = (channel < width)[None, :]
    for start in range(0, INNER, BLOCK_K):
        n2 = start + tl.arange(0, BLOCK_K)
        at = scratch + (row + n2)[:, None] * (2 * width) + channel[None, :]
        z_re = narrowed(tl.load(at, mask=real, other=0.0), PRECISION)
        z_im = narrowed(tl.load(at + width, mask=real, other=0.0), PRECISION)
        f = matrix + k2[:, None] * INNER + n2[None, :]
        f_re, f_im = tl.load(f), tl.load(f + INNER * INNER)
        re = tl.dot(f_re, z_re, re, input_precision=PRECISION)
        re = tl.dot(-f_im, z_im, re, input_precision=PRECISION)
        im = tl.dot(f_re, z_im, im, input_precision=PRECISION)
        im = tl.dot(f_im, z_re, im, input_precision=PRECISION)
    return re, im


@triton.jit(do_not_specialize=UNSPECIALISED)
def whole_kernel(
    values, out, table, matrix, spectrum, value_row, out_row, width, places, segments, begin,
    ADJOINT: tl.constexpr, ADD: tl.constexpr, SIZE: tl.constexpr, BLOCK_M: tl.constexpr,
    BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """A segment's convolution, BLOCK_M frequencies at a time. ADJOINT: gradients, from kept places
    to convolved ones.
    """
    member, channel = member_of(width, BLOCK_D)
    first, low, high = interval_of(table, segments, begin + member, places, ADJOINT)
    n = tl.arange(0, SIZE)
    acc = tl.zeros((SIZE, BLOCK_D), tl.float32)
    for start in range(0, SIZE, BLOCK_M):
        k = start + tl.arange(0, BLOCK_M)
        re, im = frequencies_of(
            values, value_row, first, low, high, matrix, k, channel, width, SIZE, BLOCK_M, BLOCK_K,
            BLOCK_D, PRECISION,
        )  # fmt: skip
        re, im = filtered(re, im, spectrum, k, channel, width, SIZE, ADJOINT)
        # the real part of the inverse: Re(conj(w) y) = w_re y_re + w_im y_im
        back = matrix + k[None, :] * SIZE + n[:, None]
        re, im = narrowed(re, PRECISION), narrowed(im, PRECISION)
        acc = tl.dot(tl.load(back), re, acc, input_precision=PRECISION)
        acc = tl.dot(tl.load(back + SIZE * SIZE), im, acc, input_precision=PRECISION)
    first, low, high = interval_of(table, segments, begin + member, places, not ADJOINT)
    keep(out, out_row, first, low, high, n, channel, width, acc, ADD)


@triton.jit(do_not_specialize=UNSPECIALISED)
def outer_kernel(
    values, scratch, table, matrix, twiddle, value_row, width, places, segments, begin,
    KEPT: tl.constexpr, OUTER: tl.constexpr, INNER: tl.constexpr, BLOCK_M: tl.constexpr,
    BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The first factor and the twiddle for one n2, from the packed rows. BLOCK_M of k1, BLOCK_K of
    n1; those behind the segment's end are not visited.
    """
    member, channel = member_of(width, BLOCK_D)
    n2 = tl.program_id(1) % INNER
    k1 = (tl.program_id(1) // INNER) * BLOCK_M + tl.arange(0, BLOCK_M)
    first, low, high = interval_of(table, segments, begin + member, places, KEPT)
    re = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    im = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    stop = tl.minimum((high - n2 + INNER - 1) // INNER, OUTER).to(tl.int32)
    for start in range(0, stop, BLOCK_K):
        n1 = start + tl.arange(0, BLOCK_K)
        v = places_of(values, value_row, first, low, high, n1 * INNER + n2, channel, width)
        w = matrix + k1[:, None] * OUTER + n1[None, :]
        re = tl.dot(tl.load(w), v, re, input_precision=PRECISION)
        im = tl.dot(tl.load(w + OUTER * OUTER), v, im, input_precision=PRECISION)
    t_re = tl.load(twiddle + k1 * INNER + n2)[:, None]
    t_im = tl.load(twiddle + OUTER * INNER + k1 * INNER + n2)[:, None]
    row = (tl.cast(member, tl.int64) * OUTER + k1) * INNER + n2
    at = scratch + row[:, None] * (2 * width) + channel[None, :]
    real = (channel < width)[None, :]
    tl.store(at, re * t_re - im * t_im, mask=real)
    tl.store(at + width, re * t_im + im * t_re, mask=real)


@triton.jit
def inner_kernel(
    scratch, matrix, twiddle, spectrum, width,
    ADJOINT: tl.constexpr, OUTER: tl.constexpr, INNER: tl.constexpr, BLOCK_M: tl.constexpr,
    BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """For one k1: the second factor, the filter, the second factor's inverse and the twiddle's, in
    place, BLOCK_M of k2 at a time.
    """
    member, channel = member_of(width, BLOCK_D)
    k1 = tl.program_id(1)
    n2 = tl.arange(0, INNER)
    row = (tl.cast(member, tl.int64) * OUTER + k1) * INNER
    acc_re = tl.zeros((INNER, BLOCK_D), tl.float32)
    acc_im = tl.zeros((INNER, BLOCK_D), tl.float32)
    for start in range(0, INNER, BLOCK_M):
        k2 = start + tl.arange(0, BLOCK_M)
        re, im = second_factor(
            scratch, row, matrix, k2, channel, width, INNER, BLOCK_M, BLOCK_K, BLOCK_D, PRECISION
        )
        re, im = filtered(re, im, spectrum, k1 + OUTER * k2, channel, width, OUTER * INNER, ADJOINT)
        re, im = narrowed(re, PRECISION), narrowed(im, PRECISION)
        # the matrix is symmetric: a tile of its columns is one of its rows, seen from the side
        b = matrix + k2[None, :] + n2[:, None] * INNER
        b_re, b_im = tl.load(b), tl.load(b + INNER * INNER)
        acc_re = tl.dot(b_re, re, acc_re, input_precision=PRECISION)
        acc_re = tl.dot(b_im, im, acc_re, input_precision=PRECISION)
        acc_im = tl.dot(b_re, im, acc_im, input_precision=PRECISION)
        acc_im = tl.dot(-b_im, re, acc_im, input_precision=PRECISION)
    t_re = tl.load(twiddle + k1 * INNER + n2)[:, None]
    t_im = tl.load(twiddle + OUTER * INNER + k1 * INNER + n2)[:, None]
    at = scratch + (row + n2)[:, None] * (2 * width) + channel[None, :]
    real = (channel < width)[None, :]
    # every warp has read the whole of what is now overwritten
    tl.debug_barrier()
    tl.store(at, acc_re * t_re + acc_im * t_im, mask=real)
    tl.store(at + width, acc_im * t_re - acc_re * t_im, mask=real)


@triton.jit(do_not_specialize=UNSPECIALISED)
def outer_inverse_kernel(
    scratch, out, table, matrix, out_row, width, places, segments, begin,
    KEPT: tl.constexpr, ADD: tl.constexpr, OUTER: tl.constexpr, INNER: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The first factor's inverse for one n2: its real part, into the packed rows. BLOCK_M of n1,
    BLOCK_K of k1.
    """
    member, channel = member_of(width, BLOCK_D)
    n2 = tl.program_id(1) % INNER
    n1 = (tl.program_id(1) // INNER) * BLOCK_M + tl.arange(0, BLOCK_M)
    first, low, high = interval_of(table, segments, begin + member, places, KEPT)
    acc = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    real = (channel < width)[None, :]
    for start in range(0, OUTER, BLOCK_K):
        k1 = start + tl.arange(0, BLOCK_K)
        row = (tl.cast(member, tl.int64) * OUTER + k1) * INNER + n2
        at = scratch + row[:, None] * (2 * width) + channel[None, :]
        re = narrowed(tl.load(at, mask=real, other=0.0), PRECISION)
        im = narrowed(tl.load(at + width, mask=real, other=0.0), PRECISION)
        back = matrix + k1[None, :] * OUTER + n1[:, None]
        acc = tl.dot(tl.load(back), re, acc, input_precision=PRECISION)
        acc = tl.dot(tl.load(back + OUTER * OUTER), im, acc, input_precision=PRECISION)
    keep(out, out_row, first, low, high, n1 * INNER + n2, channel, width, acc, ADD)
