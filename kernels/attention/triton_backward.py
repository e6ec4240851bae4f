"""The backward of attention over intervals as Triton kernels, in one fixed order of sums.

A program owns one tile of queries (query gradient), one tile of keys (key and value gradients) or
one diagonal of tiles (bias gradient), so nothing is added atomically, and equal inputs give equal
bits. Each computes the weights anew from `log_sum`, as Dao et al. 2022 do.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.attention.triton import FAR, interval_of, query_tile, rows_of, scores_of, widened


@triton.jit
def delta_kernel(
    out, grad_out, delta, out_row, out_head, out_step, grad_row, grad_head, grad_step,
    num_heads, num_queries, VALUE_WIDTH: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_E: tl.constexpr,
):  # fmt: skip
    """delta_i = <out_i, grad_out_i>: what the softmax takes off every weight's gradient."""
    place = tl.program_id(1).to(tl.int64)
    row, head = place // num_heads, place % num_heads
    begin = tl.program_id(0) * BLOCK_M
    inner = tl.arange(0, BLOCK_M)
    left = num_queries - begin
    out += row * out_row + head * out_head + begin.to(tl.int64) * out_step
    grad_out += row * grad_row + head * grad_head + begin.to(tl.int64) * grad_step
    o = rows_of(out, out_step, inner, left, VALUE_WIDTH, BLOCK_E, True).to(tl.float32)
    g = rows_of(grad_out, grad_step, inner, left, VALUE_WIDTH, BLOCK_E, True).to(tl.float32)
    tl.store(delta + place * num_queries + begin + inner, tl.sum(o * g, 1), mask=inner < left)


@triton.jit
def hull_kernel(start, end, hulls, num_queries, num_keys, tiles, BLOCK_M: tl.constexpr):
    """(low, high, inner low, inner high) of each query tile's intervals, for the key side: a tile
    of keys is visited between low and high, and needs no mask between the inner two.
    """
    tile, row = tl.program_id(0), tl.program_id(1)
    rows = tile * BLOCK_M + tl.arange(0, BLOCK_M)
    first, last = interval_of(
        start + row.to(tl.int64) * num_queries, end + row.to(tl.int64) * num_queries, rows,
        num_queries, num_keys,
    )  # fmt: skip
    seeing = last > first
    whole = (tile + 1) * BLOCK_M <= num_queries
    hulls += row * 4 * tiles + tile
    tl.store(hulls, tl.min(tl.where(seeing, first, FAR), 0))
    tl.store(hulls + tiles, tl.max(tl.where(seeing, last, 0), 0))
    tl.store(hulls + 2 * tiles, tl.max(first, 0))
    tl.store(hulls + 3 * tiles, tl.where(whole, tl.min(last, 0), 0))


@triton.jit
def range_kernel(
    hulls, ranges, tiles, key_tiles, num_keys, BLOCK_N: tl.constexpr, CHUNK: tl.constexpr
):
    """(first, inner first, inner last, last) query tiles of each key tile, the last ones exclusive.

    Inner tiles are used where they are contiguous, as in monotone intervals; else there are none.
    """
    key_tile, row = tl.program_id(0), tl.program_id(1)
    low, high = key_tile * BLOCK_N, (key_tile + 1) * BLOCK_N
    hulls += row * 4 * tiles
    first, last, inner_first, inner_last, count = tiles, 0, tiles, 0, 0
    for t in range(0, tiles, CHUNK):
        index = t + tl.arange(0, CHUNK)
        valid = index < tiles
        tile_low = tl.load(hulls + index, mask=valid, other=FAR)
        tile_high = tl.load(hulls + tiles + index, mask=valid, other=0)
        inner_low = tl.load(hulls + 2 * tiles + index, mask=valid, other=FAR)
        inner_high = tl.load(hulls + 3 * tiles + index, mask=valid, other=0)
        met = (tile_low < high) & (tile_high > low)
        inner = (inner_low <= low) & (inner_high >= high)
        first = tl.minimum(first, tl.min(tl.where(met, index, FAR), 0))
        last = tl.maximum(last, tl.max(tl.where(met, index + 1, 0), 0))
        inner_first = tl.minimum(inner_first, tl.min(tl.where(inner, index, FAR), 0))
        inner_last = tl.maximum(inner_last, tl.max(tl.where(inner, index + 1, 0), 0))
        count += tl.sum(inner.to(tl.int32), 0)
    first = tl.minimum(first, last)
    apart = count != inner_last - inner_first
    inner_first = tl.where(apart, last, inner_first)
    inner_last = tl.where(apart, last, inner_last)
    ranges += row * 4 * key_tiles + key_tile
    tl.store(ranges, first)
    tl.store(ranges + key_tiles, inner_first)
    tl.store(ranges + 2 * key_tiles, inner_last)
    tl.store(ranges + 3 * key_tiles, last)


@triton.jit
def _query_gradient(
    acc, q, g, known, delta, key, value, bias, rows, first, last, low, high,
    key_step, value_step, scale, num_queries, num_keys,
    WIDTH: tl.constexpr, VALUE_WIDTH: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_E: tl.constexpr,
    BIASED: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
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
        v = rows_of(
            value + widened(n) * value_step, value_step, inner, num_keys - n,
            VALUE_WIDTH, BLOCK_E, MASKED,
        )  # fmt: skip
        scores = scores_of(
            q, k, bias, rows, n + inner, first, last, scale, num_queries, num_keys, BIASED, MASKED
        )
        weights = tl.exp2(scores - known[:, None])
        grad = weights * (tl.dot(g, tl.trans(v), input_precision="ieee") - delta[:, None])
        acc += tl.dot(grad.to(k.dtype), k, input_precision="ieee")
    return acc


@triton.jit
def query_gradient_kernel(
    query, key, value, start, end, bias, grad_out, log_sum, delta, grad_query,
    query_row, query_head, query_step, key_row, key_head, key_step,
    value_row, value_head, value_step, grad_row, grad_head, grad_step,
    scale, num_heads, num_queries, num_keys,
    WIDTH: tl.constexpr, VALUE_WIDTH: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_E: tl.constexpr,
    BIASED: tl.constexpr,
):  # fmt: skip
    """One tile of query gradients: the forward's walk again. `grad_query` is contiguous."""
    place, row, head, begin, first, last, low, inner_low, inner_high, high = query_tile(
        start, end, num_heads, num_queries, num_keys, BLOCK_M, BLOCK_N
    )
    inner = tl.arange(0, BLOCK_M)
    rows = begin + inner
    valid = rows < num_queries
    left = num_queries - begin
    query += row * query_row + head * query_head + begin.to(tl.int64) * query_step
    grad_out += row * grad_row + head * grad_head + begin.to(tl.int64) * grad_step
    key += row * key_row + head * key_head
    value += row * value_row + head * value_head
    bias += head * (num_queries + num_keys - 1)
    q = rows_of(query, query_step, inner, left, WIDTH, BLOCK_D, True)
    g = rows_of(grad_out, grad_step, inner, left, VALUE_WIDTH, BLOCK_E, True)
    known = tl.load(log_sum + place * num_queries + rows, mask=valid, other=float("inf"))
    taken = tl.load(delta + place * num_queries + rows, mask=valid, other=0.0)
    acc = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    acc = _query_gradient(
        acc, q, g, known, taken, key, value, bias, rows, first, last, low, inner_low,
        key_step, value_step, scale, num_queries, num_keys, WIDTH, VALUE_WIDTH,
        BLOCK_N, BLOCK_D, BLOCK_E, BIASED, True,
    )  # fmt: skip
    acc = _query_gradient(
        acc, q, g, known, taken, key, value, bias, rows, first, last, inner_low, inner_high,
        key_step, value_step, scale, num_queries, num_keys, WIDTH, VALUE_WIDTH,
        BLOCK_N, BLOCK_D, BLOCK_E, BIASED, False,
    )  # fmt: skip
    acc = _query_gradient(
        acc, q, g, known, taken, key, value, bias, rows, first, last, inner_high, high,
        key_step, value_step, scale, num_queries, num_keys, WIDTH, VALUE_WIDTH,
        BLOCK_N, BLOCK_D, BLOCK_E, BIASED, True,
    )  # fmt: skip
    columns = tl.arange(0, BLOCK_D)
    grad_query += (place * num_queries + begin) * WIDTH
    tl.store(
        grad_query + inner[:, None] * WIDTH + columns[None, :],
        (acc * scale).to(grad_query.dtype.element_ty),
        mask=valid[:, None] & (columns < WIDTH)[None, :],
    )


@triton.jit
def _key_gradient(
    grad_k, grad_v, k, v, query, grad_out, start, end, log_sum, delta, bias, columns, low, high,
    query_step, grad_step, scale, num_queries, num_keys,
    WIDTH: tl.constexpr, VALUE_WIDTH: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_E: tl.constexpr,
    BIASED: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    for tile in range(low, high):
        m = tile * BLOCK_M
        inner = tl.arange(0, BLOCK_M)
        rows = m + inner
        left = num_queries - m
        q = rows_of(
            query + widened(m) * query_step,
            query_step,
            inner,
            left,
            WIDTH,
            BLOCK_D,
            MASKED,
        )
        g = rows_of(
            grad_out + widened(m) * grad_step, grad_step, inner, left, VALUE_WIDTH, BLOCK_E,
            MASKED,
        )  # fmt: skip
        if MASKED:
            first, last = interval_of(start, end, rows, num_queries, num_keys)
            known = tl.load(log_sum + rows, mask=rows < num_queries, other=float("inf"))
            taken = tl.load(delta + rows, mask=rows < num_queries, other=0.0)
        else:
            first, last = rows, rows
            known = tl.load(log_sum + rows)
            taken = tl.load(delta + rows)
        scores = scores_of(
            q, k, bias, rows, columns, first, last, scale, num_queries, num_keys, BIASED, MASKED
        )
        weights = tl.exp2(scores - known[:, None])
        grad_v += tl.dot(tl.trans(weights).to(g.dtype), g, input_precision="ieee")
        grad = weights * (tl.dot(g, tl.trans(v), input_precision="ieee") - taken[:, None])
        grad_k += tl.dot(tl.trans(grad).to(q.dtype), q, input_precision="ieee")
    return grad_k, grad_v


@triton.jit
def key_gradient_kernel(
    query, key, value, start, end, bias, grad_out, log_sum, delta, ranges, grad_key, grad_value,
    query_row, query_head, query_step, key_row, key_head, key_step,
    value_row, value_head, value_step, grad_row, grad_head, grad_step,
    scale, num_heads, num_queries, num_keys,
    WIDTH: tl.constexpr, VALUE_WIDTH: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_E: tl.constexpr,
    BIASED: tl.constexpr,
):  # fmt: skip
    """One tile of key and value gradients, over the query tiles that `ranges` names. The gradients
    are contiguous.
    """
    tile, place = tl.program_id(0), tl.program_id(1).to(tl.int64)
    row, head = place // num_heads, place % num_heads
    begin = tile * BLOCK_N
    inner = tl.arange(0, BLOCK_N)
    left = num_keys - begin
    key_tiles = tl.num_programs(0)
    ranges += row * 4 * key_tiles + tile
    low, inner_low = tl.load(ranges), tl.load(ranges + key_tiles)
    inner_high, high = tl.load(ranges + 2 * key_tiles), tl.load(ranges + 3 * key_tiles)
    query += row * query_row + head * query_head
    grad_out += row * grad_row + head * grad_head
    key += row * key_row + head * key_head + begin.to(tl.int64) * key_step
    value += row * value_row + head * value_head + begin.to(tl.int64) * value_step
    start += row * num_queries
    end += row * num_queries
    log_sum += place * num_queries
    delta += place * num_queries
    bias += head * (num_queries + num_keys - 1)
    k = rows_of(key, key_step, inner, left, WIDTH, BLOCK_D, True)
    v = rows_of(value, value_step, inner, left, VALUE_WIDTH, BLOCK_E, True)
    grad_k = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    grad_v = tl.zeros((BLOCK_N, BLOCK_E), tl.float32)
    grad_k, grad_v = _key_gradient(
        grad_k, grad_v, k, v, query, grad_out, start, end, log_sum, delta, bias, begin + inner,
        low, inner_low, query_step, grad_step, scale, num_queries, num_keys, WIDTH, VALUE_WIDTH,
        BLOCK_M, BLOCK_D, BLOCK_E, BIASED, True,
    )  # fmt: skip
    grad_k, grad_v = _key_gradient(
        grad_k, grad_v, k, v, query, grad_out, start, end, log_sum, delta, bias, begin + inner,
        inner_low, inner_high, query_step, grad_step, scale, num_queries, num_keys, WIDTH,
        VALUE_WIDTH, BLOCK_M, BLOCK_D, BLOCK_E, BIASED, False,
    )  # fmt: skip
    grad_k, grad_v = _key_gradient(
        grad_k, grad_v, k, v, query, grad_out, start, end, log_sum, delta, bias, begin + inner,
        inner_high, high, query_step, grad_step, scale, num_queries, num_keys, WIDTH, VALUE_WIDTH,
        BLOCK_M, BLOCK_D, BLOCK_E, BIASED, True,
    )  # fmt: skip
    valid = (inner < left)[:, None]
    columns = tl.arange(0, BLOCK_D)
    grad_key += (place * num_keys + begin) * WIDTH
    tl.store(
        grad_key + inner[:, None] * WIDTH + columns[None, :],
        (grad_k * scale).to(grad_key.dtype.element_ty),
        mask=valid & (columns < WIDTH)[None, :],
    )
    columns = tl.arange(0, BLOCK_E)
    grad_value += (place * num_keys + begin) * VALUE_WIDTH
    tl.store(
        grad_value + inner[:, None] * VALUE_WIDTH + columns[None, :],
        grad_v.to(grad_value.dtype.element_ty),
        mask=valid & (columns < VALUE_WIDTH)[None, :],
    )


@triton.jit
def bias_gradient_kernel(
    query, key, value, start, end, bias, grad_out, log_sum, delta, hulls, partial,
    query_row, query_head, query_step, key_row, key_head, key_step,
    value_row, value_head, value_step, grad_row, grad_head, grad_step,
    scale, num_rows, num_heads, num_queries, num_keys, tiles, key_tiles,
    WIDTH: tl.constexpr, VALUE_WIDTH: tl.constexpr,
    BLOCK: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_E: tl.constexpr,
):  # fmt: skip
    """Weight gradients of one head, summed over batch rows and over one diagonal of square tiles:
    there a place in the tile is a distance, so one tile of sums says all. `op.py` adds up its
    diagonals.
    """
    diagonal, head = tl.program_id(0), tl.program_id(1).to(tl.int64)
    offset = diagonal - (tiles - 1)  # key tile minus query tile
    inner = tl.arange(0, BLOCK)
    bias += head * (num_queries + num_keys - 1)
    acc = tl.zeros((BLOCK, BLOCK), tl.float32)
    for row in range(num_rows):
        batch_row = widened(row)
        place = batch_row * num_heads + head
        for tile in range(tl.maximum(0, -offset), tl.minimum(tiles, key_tiles - offset)):
            m, n = tile * BLOCK, (tile + offset) * BLOCK
            low = tl.load(hulls + batch_row * 4 * tiles + tile)
            high = tl.load(hulls + batch_row * 4 * tiles + tiles + tile)
            if (low < n + BLOCK) & (high > n):
                rows, columns = m + inner, n + inner
                first, last = interval_of(
                    start + batch_row * num_queries, end + batch_row * num_queries, rows,
                    num_queries, num_keys,
                )  # fmt: skip
                q = rows_of(
                    query + batch_row * query_row + head * query_head + widened(m) * query_step,
                    query_step, inner, num_queries - m, WIDTH, BLOCK_D, True,
                )  # fmt: skip
                g = rows_of(
                    grad_out + batch_row * grad_row + head * grad_head + widened(m) * grad_step,
                    grad_step, inner, num_queries - m, VALUE_WIDTH, BLOCK_E, True,
                )  # fmt: skip
                k = rows_of(
                    key + batch_row * key_row + head * key_head + widened(n) * key_step,
                    key_step, inner, num_keys - n, WIDTH, BLOCK_D, True,
                )  # fmt: skip
                v = rows_of(
                    value + batch_row * value_row + head * value_head + widened(n) * value_step,
                    value_step, inner, num_keys - n, VALUE_WIDTH, BLOCK_E, True,
                )  # fmt: skip
                valid = rows < num_queries
                known = tl.load(
                    log_sum + place * num_queries + rows, mask=valid, other=float("inf")
                )
                taken = tl.load(delta + place * num_queries + rows, mask=valid, other=0.0)
                scores = scores_of(
                    q, k, bias, rows, columns, first, last, scale, num_queries, num_keys, True, True
                )
                weights = tl.exp2(scores - known[:, None])
                acc += weights * (tl.dot(g, tl.trans(v), input_precision="ieee") - taken[:, None])
    partial += (head * tl.num_programs(0) + diagonal) * BLOCK * BLOCK
    tl.store(partial + inner[:, None] * BLOCK + inner[None, :], acc)
