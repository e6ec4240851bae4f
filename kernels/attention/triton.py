"""Attention over intervals as a Triton kernel: the forward pass, and what the backward shares.

A program owns one tile of queries. Tiles of keys outside the hull of its intervals are not visited;
tiles that every one of its intervals covers are computed without a mask. Nothing of size T x S
exists. `op.py` launches this; README.md derives it.

Names: rows of a tile are queries, columns are keys; `peak` is the running maximum, `total` the
running sum, `log_sum` log2 of the softmax's denominator (+inf where a query sees nothing, which
makes every later weight 0). All exponentials are base 2.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
FAR = tl.constexpr(2147483647)


@triton.jit
def widened(index):
    """An index that may be multiplied by a stride: the product can pass 2^31."""
    return tl.cast(index, tl.int64)


@triton.jit
def rows_of(
    pointer, step, row_offsets, limit,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, BOUNDED: tl.constexpr,
):  # fmt: skip
    """A (rows, BLOCK) tile of a matrix with unit column stride; 0 beyond `limit` rows and WIDTH.

    BOUNDED: whether rows can lie beyond the limit.
    """
    columns = tl.arange(0, BLOCK)
    pointers = pointer + row_offsets[:, None] * step + columns[None, :]
    if BOUNDED and WIDTH < BLOCK:
        return tl.load(
            pointers, mask=(row_offsets < limit)[:, None] & (columns < WIDTH)[None, :], other=0.0
        )
    if BOUNDED:
        return tl.load(pointers, mask=(row_offsets < limit)[:, None], other=0.0)
    if WIDTH < BLOCK:
        return tl.load(pointers, mask=(columns < WIDTH)[None, :], other=0.0)
    return tl.load(pointers)


@triton.jit
def _bias_of(bias, rows, columns, num_queries, num_keys):
    """(rows, columns) of the relative bias, in base 2: it depends on column minus row alone."""
    place = columns[None, :] - rows[:, None] + (num_queries - 1)
    inside = (place >= 0) & (place < num_queries + num_keys - 1)
    return tl.load(bias + place, mask=inside, other=0.0).to(tl.float32) * LOG2_E


@triton.jit
def interval_of(start, end, rows, num_queries, num_keys):
    """Each row's interval, kept inside the keys whatever the tensors hold; [0, 0) beyond them."""
    valid = rows < num_queries
    first = tl.maximum(tl.load(start + rows, mask=valid, other=0), 0)
    last = tl.minimum(tl.load(end + rows, mask=valid, other=0), num_keys)
    return first, last


@triton.jit
def key_spans(first, last, rows, num_queries, BLOCK_N: tl.constexpr):
    """(low, inner low, inner high, high): tiles of [low, high) hold every visible key, those of
    [inner low, inner high) are seen whole by every row. All are multiples of BLOCK_N but `high`.
    """
    seeing = last > first
    low = tl.min(tl.where(seeing, first, FAR), 0)
    high = tl.max(tl.where(seeing, last, 0), 0)
    low = tl.minimum(low, high) // BLOCK_N * BLOCK_N
    valid = rows < num_queries
    inner_low = tl.cdiv(tl.max(tl.where(valid, first, 0), 0), BLOCK_N) * BLOCK_N
    inner_high = tl.min(tl.where(valid, last, FAR), 0) // BLOCK_N * BLOCK_N
    inner_high = tl.minimum(inner_high, high // BLOCK_N * BLOCK_N)
    inner_low = tl.minimum(tl.maximum(inner_low, low), high)
    inner_high = tl.maximum(inner_high, inner_low)
    # Without an inner tile the first masked span is everything.
    none = inner_high == inner_low
    inner_low = tl.where(none, high, inner_low)
    inner_high = tl.where(none, high, inner_high)
    return low, inner_low, inner_high, high


@triton.jit
def query_tile(
    start, end, num_heads, num_queries, num_keys, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr
):
    """(place, row, head, first query, the tile's interval starts and ends, its key spans) of the
    program that owns a tile of queries.
    """
    place = tl.program_id(1).to(tl.int64)
    row, head = place // num_heads, place % num_heads
    begin = tl.program_id(0) * BLOCK_M
    rows = begin + tl.arange(0, BLOCK_M)
    first, last = interval_of(
        start + row * num_queries, end + row * num_queries, rows, num_queries, num_keys
    )
    low, inner_low, inner_high, high = key_spans(first, last, rows, num_queries, BLOCK_N)
    return place, row, head, begin, first, last, low, inner_low, inner_high, high


@triton.jit
def scores_of(
    q, k, bias, rows, columns, first, last, scale, num_queries, num_keys,
    BIASED: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """(rows, columns) of scale <q, k> + bias in base 2; -inf where a row does not see a column."""
    scores = tl.dot(q, tl.trans(k), input_precision="ieee") * (scale * LOG2_E)
    if BIASED:
        scores += _bias_of(bias, rows, columns, num_queries, num_keys)
    if MASKED:
        seen = (columns[None, :] >= first[:, None]) & (columns[None, :] < last[:, None])
        scores = tl.where(seen, scores, float("-inf"))
    return scores


@triton.jit
def _attend(
    acc, total, peak, q, key, value, bias, rows, first, last, low, high,
    key_step, value_step, scale, num_queries, num_keys,
    WIDTH: tl.constexpr, VALUE_WIDTH: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_E: tl.constexpr,
    BIASED: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """Online softmax over the tiles of [low, high) (Milakov and Gimelshein 2018)."""
    for n in range(low, high, BLOCK_N):
        inner = tl.arange(0, BLOCK_N)
        k = rows_of(
            key + widened(n) * key_step,
            key_step,
            inner,
            num_keys - n,
            WIDTH,
            BLOCK_D,
            MASKED,
        )
        scores = scores_of(
            q, k, bias, rows, n + inner, first, last, scale, num_queries, num_keys, BIASED, MASKED
        )
        raised = tl.maximum(peak, tl.max(scores, 1))
        # A row that has seen nothing yet keeps -inf, and inf - inf is not a number.
        taken = tl.where(raised == float("-inf"), 0.0, raised) if MASKED else raised
        weights = tl.exp2(scores - taken[:, None])
        shrink = tl.exp2(peak - taken)
        total = total * shrink + tl.sum(weights, 1)
        v = rows_of(
            value + widened(n) * value_step, value_step, inner, num_keys - n,
            VALUE_WIDTH, BLOCK_E, MASKED,
        )  # fmt: skip
        acc = acc * shrink[:, None]
        acc += tl.dot(weights.to(v.dtype), v, input_precision="ieee")
        peak = raised
    return acc, total, peak


@triton.jit
def forward_kernel(
    query, key, value, start, end, bias, out, log_sum,
    query_row, query_head, query_step, key_row, key_head, key_step,
    value_row, value_head, value_step, out_row, out_head, out_step,
    scale, num_heads, num_queries, num_keys,
    WIDTH: tl.constexpr, VALUE_WIDTH: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_E: tl.constexpr,
    BIASED: tl.constexpr,
):  # fmt: skip
    """One tile of queries of one head: its outputs, and log2 of each softmax's denominator."""
    place, row, head, begin, first, last, low, inner_low, inner_high, high = query_tile(
        start, end, num_heads, num_queries, num_keys, BLOCK_M, BLOCK_N
    )
    inner = tl.arange(0, BLOCK_M)
    rows = begin + inner
    left = num_queries - begin
    query += row * query_row + head * query_head + begin.to(tl.int64) * query_step
    key += row * key_row + head * key_head
    value += row * value_row + head * value_head
    bias += head * (num_queries + num_keys - 1)
    q = rows_of(query, query_step, inner, left, WIDTH, BLOCK_D, True)
    acc = tl.zeros((BLOCK_M, BLOCK_E), tl.float32)
    total = tl.zeros((BLOCK_M,), tl.float32)
    peak = tl.full((BLOCK_M,), float("-inf"), tl.float32)
    acc, total, peak = _attend(
        acc, total, peak, q, key, value, bias, rows, first, last, low, inner_low,
        key_step, value_step, scale, num_queries, num_keys, WIDTH, VALUE_WIDTH,
        BLOCK_N, BLOCK_D, BLOCK_E, BIASED, True,
    )  # fmt: skip
    acc, total, peak = _attend(
        acc, total, peak, q, key, value, bias, rows, first, last, inner_low, inner_high,
        key_step, value_step, scale, num_queries, num_keys, WIDTH, VALUE_WIDTH,
        BLOCK_N, BLOCK_D, BLOCK_E, BIASED, False,
    )  # fmt: skip
    acc, total, peak = _attend(
        acc, total, peak, q, key, value, bias, rows, first, last, inner_high, high,
        key_step, value_step, scale, num_queries, num_keys, WIDTH, VALUE_WIDTH,
        BLOCK_N, BLOCK_D, BLOCK_E, BIASED, True,
    )  # fmt: skip
    empty = total == 0.0
    acc = acc / tl.where(empty, 1.0, total)[:, None]
    valid = rows < num_queries
    columns = tl.arange(0, BLOCK_E)
    out += row * out_row + head * out_head + begin.to(tl.int64) * out_step
    tl.store(
        out + inner[:, None] * out_step + columns[None, :],
        acc.to(out.dtype.element_ty),
        mask=valid[:, None] & (columns < VALUE_WIDTH)[None, :],
    )
    known = tl.where(empty, float("inf"), peak + tl.log2(tl.where(empty, 1.0, total)))
    tl.store(log_sum + place * num_queries + rows, known, mask=valid)
