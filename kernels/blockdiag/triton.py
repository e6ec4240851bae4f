"""One batched matrix product with any strides: every block-diagonal product and its gradients."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def product_kernel(
    left, right, out,
    left_block, left_row, left_inner, right_block, right_inner, right_column,
    out_block, out_row, out_column, rows, columns, inner,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One tile of out[b] = left[b] @ right[b], summed in float32 in the order of the inner axis."""
    block = tl.program_id(2).to(tl.int64)
    m = tl.program_id(0).to(tl.int64) * BLOCK_M
    n = tl.program_id(1).to(tl.int64) * BLOCK_N
    row, column, deep = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_K)
    real_row, real_column = m + row < rows, n + column < columns
    left += block * left_block + m * left_row
    right += block * right_block + n * right_column
    acc = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for k in range(0, inner, BLOCK_K):
        real = deep < inner - k
        at = tl.cast(k, tl.int64)
        a = tl.load(
            left + at * left_inner + row[:, None] * left_row + deep[None, :] * left_inner,
            mask=real_row[:, None] & real[None, :], other=0.0,
        )  # fmt: skip
        b = tl.load(
            right + at * right_inner + deep[:, None] * right_inner + column[None, :] * right_column,
            mask=real[:, None] & real_column[None, :], other=0.0,
        )  # fmt: skip
        acc += tl.dot(a, b, input_precision="ieee")
    out += block * out_block + m * out_row + n * out_column
    tl.store(
        out + row[:, None] * out_row + column[None, :] * out_column,
        acc.to(out.dtype.element_ty),
        mask=real_row[:, None] & real_column[None, :],
    )
