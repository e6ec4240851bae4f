"""The state-space dual over intervals as Triton kernels: the forward pass, and what the backward
shares. `op.py` launches them; README.md derives them.

`decays_kernel` sums the decays of each chunk, `states_kernel` walks over chunks with a state in
registers, `outputs_kernel` owns one chunk of one head. No kernel computes an address from an
interval's values, so nothing is read out of bounds whatever they are.

Two states pass over the chunks, and every per-direction array has them as its first axis: 0 goes to
the right and decays, 1 goes to the left through what is left of a prefix and does not (absent
without prefixes). For each, `enters` weights what a position adds to the state that its chunk
passes on, `reads` what a query takes from the state that its chunk is given, and `keeps` what of a
given state is passed on.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def tile_of(
    pointer, step, rows, limit, column, WIDTH: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """The (rows, BLOCK) tile from `column` on of a matrix with unit column stride; 0 from `limit`
    rows and WIDTH columns on.
    """
    columns = column + tl.arange(0, BLOCK)
    mask = (rows < limit)[:, None]
    if WIDTH % BLOCK != 0:
        mask = mask & (columns < WIDTH)[None, :]
    return tl.load(pointer + rows[:, None] * step + columns[None, :], mask=mask, other=0.0)


@triton.jit
def store_tile(
    pointer, step, rows, limit, column, tile, WIDTH: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    columns = column + tl.arange(0, BLOCK)
    mask = (rows < limit)[:, None]
    if WIDTH % BLOCK != 0:
        mask = mask & (columns < WIDTH)[None, :]
    tile = tile.to(pointer.dtype.element_ty)
    tl.store(pointer + rows[:, None] * step + columns[None, :], tile, mask=mask)


@triton.jit
def interval_of(start, end, places, length):
    """Each place's interval, kept inside the row whatever the tensors hold; [0, 0) beyond it."""
    valid = (places >= 0) & (places < length)
    first = tl.maximum(tl.load(start + places, mask=valid, other=0), 0)
    last = tl.minimum(tl.load(end + places, mask=valid, other=0), length)
    return first, last


@triton.jit
def summed_over(first, last, places):
    """(query, key): whether a key's decay is in the query's sum, which begins at the chunk or at
    the document in it. A sum that ran on through another document would round with its numbers.
    """
    inside = (places[None, :] <= places[:, None]) & (places[None, :] >= first[:, None])
    return inside & (last > first)[:, None]


@triton.jit
def decays_anyway(start, end, places, length):
    """Whether a place's decay counts: not where the query before already sees the key."""
    first, last = interval_of(start, end, places - 1, length)
    return (last <= places) | (first > places)


@triton.jit
def pair_weights(total, first, last, places):
    """(query, key) of exp(total_query - total_key) where the query sees the key, else 0."""
    seen = (places[None, :] >= first[:, None]) & (places[None, :] < last[:, None])
    # -inf before exp: between documents the difference is anything.
    return tl.exp(tl.where(seen, total[:, None] - total[None, :], float("-inf")))


@triton.jit
def inner_products(
    left, right, left_step, right_step, rows, limit,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """(query, key) of <left_query, right_key>."""
    acc = tl.zeros((CHUNK, CHUNK), tl.float32)
    for column in range(0, WIDTH, BLOCK):
        one = tile_of(left, left_step, rows, limit, column, WIDTH, BLOCK)
        two = tile_of(right, right_step, rows, limit, column, WIDTH, BLOCK)
        acc = tl.dot(one, tl.trans(two), acc, input_precision="ieee")
    return acc


@triton.jit
def state_of(
    states, p, n,
    WIDTH: tl.constexpr, STATE: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """The tile of one state (P, N) that begins at (p, n)."""
    return tile_of(states, STATE, p + tl.arange(0, BLOCK_P), WIDTH, n, STATE, BLOCK_N)


@triton.jit
def read_states(
    vectors, states, step, rows, limit, p,
    WIDTH: tl.constexpr, STATE: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """(position, P) from p on: the state times each position's vector of N."""
    acc = tl.zeros((CHUNK, BLOCK_P), tl.float32)
    for n in range(0, STATE, BLOCK_N):
        vector = tile_of(vectors, step, rows, limit, n, STATE, BLOCK_N)
        state = state_of(states, p, n, WIDTH, STATE, BLOCK_P, BLOCK_N)
        acc = tl.dot(vector, tl.trans(state), acc, input_precision="ieee")
    return acc


@triton.jit
def decays_kernel(
    decay, start, end, total, enters, reads, keeps,
    decay_row, decay_step, decay_head, num_heads, length, chunks,
    CHUNK: tl.constexpr, INITIAL: tl.constexpr, PREFIXED: tl.constexpr,
):  # fmt: skip
    """What one chunk of one head weighs by. total: the decays summed to each position."""
    place = tl.program_id(1).to(tl.int64)
    row, head = place // num_heads, place % num_heads
    begin = tl.program_id(0) * CHUNK
    inner = tl.arange(0, CHUNK)
    places = begin + inner
    start += row * length
    end += row * length
    first, last = interval_of(start, end, places, length)
    decay += row * decay_row + head * decay_head + begin.to(tl.int64) * decay_step
    a = tl.load(decay + inner * decay_step, mask=places < length, other=0.0).to(tl.float32)
    a = tl.where(decays_anyway(start, end, places, length), a, 0.0)
    sums = tl.sum(tl.where(summed_over(first, last, places), a[None, :], 0.0), 1)
    # The document that reaches the chunk's last position goes on; in the last chunk it is final.
    final = tl.minimum(begin + CHUNK, length) - 1
    at_end = places == final
    final_first = tl.sum(tl.where(at_end, first, 0), 0)
    final_seeing = tl.sum(tl.where(at_end & (last > first), 1, 0), 0) > 0
    final_sum = tl.sum(tl.where(at_end, sums, 0.0), 0)
    going_on = (last > first) & (places >= final_first) & final_seeing
    came = (last > first) & (first < begin)
    spans = final_seeing & (final_first < begin)
    if INITIAL:
        came = came | ((last > first) & (first == 0))
        spans = spans | (final_seeing & (final_first == 0))
    chunk = place * chunks + tl.program_id(0)
    at = chunk * CHUNK + inner
    tl.store(total + at, sums)
    tl.store(enters + at, tl.exp(tl.where(going_on, final_sum - sums, float("-inf"))))
    tl.store(reads + at, tl.exp(tl.where(came, sums, float("-inf"))))
    tl.store(keeps + chunk, tl.exp(tl.where(spans, final_sum, float("-inf"))))
    if PREFIXED:
        heads = tl.num_programs(1)
        before_first, before_last = interval_of(start, end, begin - 1 + inner * 0, length)
        # Up to where the last query of the chunk before sees.
        reached = tl.max(tl.where(before_last > before_first, before_last, 0), 0)
        beyond = (last > first) & (last > begin + CHUNK)
        at += (heads * chunks * CHUNK).to(tl.int64)
        tl.store(enters + at, tl.where(places < reached, 1.0, 0.0))
        tl.store(reads + at, tl.where(beyond, 1.0, 0.0))
        tl.store(
            keeps + (heads * chunks).to(tl.int64) + chunk,
            tl.where(reached > begin + CHUNK, 1.0, 0.0),
        )


@triton.jit
def states_kernel(
    left, right, weights, keeps, states, given, passed,
    left_row, left_step, left_head, right_row, right_step, right_head,
    num_heads, length, chunks,
    WIDTH: tl.constexpr, STATE: tl.constexpr, CHUNK: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr, GIVEN: tl.constexpr, BACKWARD: tl.constexpr,
):  # fmt: skip
    """The state that each chunk is given, one tile of it over all chunks of one head:

        state <- keep state + sum over the chunk of weight left (outer) right.

    It is carried in float32; what is kept of it is rounded as the products that read it would round
    it. given, passed: the decaying state before the first chunk and after the last.
    BACKWARD: against the state's direction, which is how its gradient goes.
    """
    place = tl.program_id(1).to(tl.int64)
    direction = tl.program_id(2)
    row, head = place // num_heads, place % num_heads
    across = (STATE + BLOCK_N - 1) // BLOCK_N
    p, n = tl.program_id(0) // across * BLOCK_P, tl.program_id(0) % across * BLOCK_N
    left += row * left_row + head * left_head
    right += row * right_row + head * right_head
    lane = (direction * tl.num_programs(1) + place) * chunks
    inner = tl.arange(0, CHUNK)
    line = p + tl.arange(0, BLOCK_P)
    state = tl.zeros((BLOCK_P, BLOCK_N), tl.float32)
    if GIVEN:
        decaying = tl.where(direction == 0, WIDTH, 0)
        state = tile_of(given + place * WIDTH * STATE, STATE, line, decaying, n, STATE, BLOCK_N)
    rightwards = (direction == 0) != BACKWARD
    for step in range(0, chunks):
        chunk = tl.cast(tl.where(rightwards, step, chunks - 1 - step), tl.int64)
        store_tile(
            states + (lane + chunk) * WIDTH * STATE, STATE, line, WIDTH, n, state, STATE, BLOCK_N
        )
        limit = length - chunk * CHUNK
        one = tile_of(left + chunk * CHUNK * left_step, left_step, inner, limit, p, WIDTH, BLOCK_P)
        two = tile_of(
            right + chunk * CHUNK * right_step, right_step, inner, limit, n, STATE, BLOCK_N
        )
        weight = tl.load(weights + (lane + chunk) * CHUNK + inner)
        one = (one * weight[:, None]).to(two.dtype)
        state = state * tl.load(keeps + lane + chunk)
        state = tl.dot(tl.trans(one), two, state, input_precision="ieee")
    if direction == 0:
        store_tile(passed + place * WIDTH * STATE, STATE, line, WIDTH, n, state, STATE, BLOCK_N)


@triton.jit
def outputs_kernel(
    inputs, write, read, start, end, total, reads, states, out,
    inputs_row, inputs_step, inputs_head, write_row, write_step, write_head,
    read_row, read_step, read_head, num_heads, length, chunks,
    WIDTH: tl.constexpr, STATE: tl.constexpr, CHUNK: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_N: tl.constexpr, DIRECTIONS: tl.constexpr,
):  # fmt: skip
    """The outputs of one chunk of one head: its own pairs, and the states it is given. `out` is
    contiguous.
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
    out_step = num_heads * WIDTH
    out += (row * length + wide) * out_step + head * WIDTH
    first, last = interval_of(start + row * length, end + row * length, places, length)
    chunk = place * chunks + tl.program_id(0)
    sums = tl.load(total + chunk * CHUNK + inner)
    scores = inner_products(read, write, read_step, write_step, inner, limit, STATE, BLOCK_N, CHUNK)
    scores *= pair_weights(sums, first, last, places)
    scores = scores.to(inputs.dtype.element_ty)
    for p in range(0, WIDTH, BLOCK_P):
        acc = tl.zeros((CHUNK, BLOCK_P), tl.float32)
        for direction in tl.static_range(DIRECTIONS):
            lane = direction * tl.num_programs(1).to(tl.int64) * chunks + chunk
            taken = read_states(
                read, states + lane * WIDTH * STATE, read_step, inner, limit, p,
                WIDTH, STATE, BLOCK_P, BLOCK_N, CHUNK,
            )  # fmt: skip
            acc += taken * tl.load(reads + lane * CHUNK + inner)[:, None]
        x = tile_of(inputs, inputs_step, inner, limit, p, WIDTH, BLOCK_P)
        acc = tl.dot(scores, x, acc, input_precision="ieee")
        store_tile(out, out_step, inner, limit, p, acc, WIDTH, BLOCK_P)
