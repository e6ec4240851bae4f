"""The backward of the state-space dual as a Triton kernel, in one fixed order of sums.

The gradients of the states come from the forward's `states_kernel`, run backward: what a chunk is
given back is a decayed sum of what later chunks read. A program then owns one chunk of one head,
computes its pairs anew and writes all four gradients, so nothing is added atomically and equal
inputs give equal bits.

A sum of decays total_i enters as exp(total_i) where i is a query and as exp(-total_i) where it is a
key. So its gradient is what query i's products weigh minus what key i's do: rows minus columns of
one matrix of pairs, which cancel exactly where they must.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.ssd.triton import (
    decays_anyway,
    inner_products,
    interval_of,
    pair_weights,
    read_states,
    state_of,
    store_tile,
    summed_over,
    tile_of,
)


@triton.jit
def _read_transposed(
    vectors, states, step, rows, limit, n,
    WIDTH: tl.constexpr, STATE: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """(position, N) from n on: the transposed state times each position's vector of P."""
    acc = tl.zeros((CHUNK, BLOCK_N), tl.float32)
    for p in range(0, WIDTH, BLOCK_P):
        vector = tile_of(vectors, step, rows, limit, p, WIDTH, BLOCK_P)
        state = state_of(states, p, n, WIDTH, STATE, BLOCK_P, BLOCK_N)
        acc = tl.dot(vector, state, acc, input_precision="ieee")
    return acc


@triton.jit
def _overlap(
    states, grad_states, WIDTH: tl.constexpr, STATE: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """<state, its gradient>, rows of it: (BLOCK_P,)."""
    acc = tl.zeros((BLOCK_P,), tl.float32)
    for p in range(0, WIDTH, BLOCK_P):
        for n in range(0, STATE, BLOCK_N):
            one = state_of(states, p, n, WIDTH, STATE, BLOCK_P, BLOCK_N).to(tl.float32)
            two = state_of(grad_states, p, n, WIDTH, STATE, BLOCK_P, BLOCK_N).to(tl.float32)
            acc += tl.sum(one * two, 1)
    return acc


@triton.jit
def gradients_kernel(
    inputs, write, read, grad_out, start, end, total, enters, reads, keeps, states, grad_states,
    grad_inputs, grad_decay, grad_write, grad_read,
    inputs_row, inputs_step, inputs_head, write_row, write_step, write_head,
    read_row, read_step, read_head, grad_row, grad_step, grad_head, num_heads, length, chunks,
    WIDTH: tl.constexpr, STATE: tl.constexpr, CHUNK: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr, DIRECTIONS: tl.constexpr,
):  # fmt: skip
    """The gradients of one chunk of one head. Those it writes are contiguous, (B, T, H, ...);
    `grad_decay` is (B, H, chunks, CHUNK).
    """
    place = tl.program_id(1).to(tl.int64)
    row, head = place // num_heads, place % num_heads
    begin = tl.program_id(0) * CHUNK
    inner = tl.arange(0, CHUNK)
    places = begin + inner
    limit = length - begin
    wide = begin.to(tl.int64)
    inputs += row * inputs_row + head * inputs_head + wide * inputs_step
    write += row * write_row + head * write_head + wide * write_step
    read += row * read_row + head * read_head + wide * read_step
    grad_out += row * grad_row + head * grad_head + wide * grad_step
    at = (row * length + wide) * num_heads + head
    grad_inputs += at * WIDTH
    grad_write += at * STATE
    grad_read += at * STATE
    start += row * length
    end += row * length
    first, last = interval_of(start, end, places, length)
    chunk = place * chunks + tl.program_id(0)
    further = tl.num_programs(1).to(tl.int64) * chunks
    sums = tl.load(total + chunk * CHUNK + inner)
    enter = tl.load(enters + chunk * CHUNK + inner)
    taken = tl.load(reads + chunk * CHUNK + inner)
    weights = pair_weights(sums, first, last, places)
    scores = weights * inner_products(
        read, write, read_step, write_step, inner, limit, STATE, BLOCK_N, CHUNK
    )
    grad_scores = inner_products(
        grad_out, inputs, grad_step, inputs_step, inner, limit, WIDTH, BLOCK_P, CHUNK
    )
    pairs = scores * grad_scores
    grad_sums = tl.sum(pairs, 1) - tl.sum(pairs, 0)
    scores = tl.trans(scores.to(inputs.dtype.element_ty))
    grad_scores = (grad_scores * weights).to(inputs.dtype.element_ty)
    entered = tl.zeros((CHUNK,), tl.float32)
    for p in range(0, WIDTH, BLOCK_P):
        acc = read_states(
            write, grad_states + chunk * WIDTH * STATE, write_step, inner, limit, p,
            WIDTH, STATE, BLOCK_P, BLOCK_N, CHUNK,
        ) * enter[:, None]  # fmt: skip
        x = tile_of(inputs, inputs_step, inner, limit, p, WIDTH, BLOCK_P)
        entered += tl.sum(acc * x, 1)
        if DIRECTIONS == 2:
            lane = further + chunk
            acc += read_states(
                write, grad_states + lane * WIDTH * STATE, write_step, inner, limit, p,
                WIDTH, STATE, BLOCK_P, BLOCK_N, CHUNK,
            ) * tl.load(enters + lane * CHUNK + inner)[:, None]  # fmt: skip
        g = tile_of(grad_out, grad_step, inner, limit, p, WIDTH, BLOCK_P)
        acc = tl.dot(scores, g, acc, input_precision="ieee")
        store_tile(grad_inputs, num_heads * WIDTH, inner, limit, p, acc, WIDTH, BLOCK_P)
    for n in range(0, STATE, BLOCK_N):
        acc = _read_transposed(
            grad_out, states + chunk * WIDTH * STATE, grad_step, inner, limit, n,
            WIDTH, STATE, BLOCK_P, BLOCK_N, CHUNK,
        ) * taken[:, None]  # fmt: skip
        c = tile_of(read, read_step, inner, limit, n, STATE, BLOCK_N)
        grad_sums += tl.sum(acc * c, 1)
        if DIRECTIONS == 2:
            lane = further + chunk
            acc += _read_transposed(
                grad_out, states + lane * WIDTH * STATE, grad_step, inner, limit, n,
                WIDTH, STATE, BLOCK_P, BLOCK_N, CHUNK,
            ) * tl.load(reads + lane * CHUNK + inner)[:, None]  # fmt: skip
        b = tile_of(write, write_step, inner, limit, n, STATE, BLOCK_N)
        acc = tl.dot(grad_scores, b, acc, input_precision="ieee")
        store_tile(grad_read, num_heads * STATE, inner, limit, n, acc, STATE, BLOCK_N)
        acc = tl.zeros((CHUNK, BLOCK_N), tl.float32)
        for direction in tl.static_range(DIRECTIONS):
            lane = direction * further + chunk
            acc += _read_transposed(
                inputs, grad_states + lane * WIDTH * STATE, inputs_step, inner, limit, n,
                WIDTH, STATE, BLOCK_P, BLOCK_N, CHUNK,
            ) * tl.load(enters + lane * CHUNK + inner)[:, None]  # fmt: skip
        acc = tl.dot(tl.trans(grad_scores), c, acc, input_precision="ieee")
        store_tile(grad_write, num_heads * STATE, inner, limit, n, acc, STATE, BLOCK_N)
    # The sum at the chunk's end is in every weight with which its positions enter the state.
    grad_sums -= entered
    kept = tl.load(keeps + chunk) * tl.sum(
        _overlap(
            states + chunk * WIDTH * STATE, grad_states + chunk * WIDTH * STATE,
            WIDTH, STATE, BLOCK_P, BLOCK_N,
        ), 0,
    )  # fmt: skip
    final = tl.minimum(begin + CHUNK, length) - 1
    grad_sums += tl.where(places == final, tl.sum(entered, 0) + kept, 0.0)
    counted = tl.where(summed_over(first, last, places), grad_sums[:, None], 0.0)
    grad = tl.where(decays_anyway(start, end, places, length), tl.sum(counted, 0), 0.0)
    tl.store(grad_decay + chunk * CHUNK + inner, grad)
