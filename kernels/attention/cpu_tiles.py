"""Which keys each tile of queries has to look at on a CPU, and which tiles share a call.

Queries next to each other mostly see much the same. A row is cut into tiles of queries, anew where
a query shares no key with the one before. A tile's keys fall into those that all its queries see
(*inner*: a rectangle) and the rest of its hull (*edge*: a mask of one tile). A document whose
queries each see its keys up to their own place is one tile, which needs no mask (*causal*). Tiles
of like shape, rounded up, are computed in one call, so short documents do not cost a call each.

Owns the cutting and the grouping, by interval values alone; `cpu.py` computes. Places count
queries and keys through all rows: row * T + query, row * S + key.

Axes: B rows, T queries, S keys; N tiles; of a group: G tiles of M queries and K keys.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int64
from numpy.typing import NDArray
from torch import Tensor

from kernels.visibility import Visibility

LARGEST = 128
"""Queries of a tile: more waste keys on a causal edge, fewer make small matrix products. Queries of
one interval waste nothing and are one tile however many.
"""
STEP = 16
"""What sizes are rounded up to."""
LEAST_INNER = 64
"""Keys from which a rectangle of its own is cheaper than a wider mask."""
GATHER, CALL = 64, 5000
"""What one query's gathering and one call cost, in pairs of a query and a key. Measured on one
thread with four heads of 32: (pairs + 64 queries + 5,000 calls) foretells the cost beside a masked
call to 5 percentage points on rows of 256 to 2,048.
"""
WORTHWHILE = 0.75
"""Share of the masked call's pairs up to which tiles are taken: finding them costs, too."""
INNER, EDGE, CAUSAL = 0, 1, 2
_PLAN = "_plan_of_tiles"


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """Every call that a batch needs, one after the other, on the CPU.

    groups: (tiles G, queries M, keys K, rows of its mask, whether its queries have been in an
    earlier group) of each call. Its mask has one row or M; a causal one has none, and its keys are
    its queries' places. queries: places of G x M queries, B T where a tile has fewer. keys: places
    of G x K keys. seen: its masks; a padded key is seen by none.
    """

    groups: Int64[Tensor, "R 5"]
    queries: Int64[Tensor, " Q"]
    keys: Int64[Tensor, " P"]
    seen: Bool[Tensor, " W"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Tiles:
    """first: place of each tile's first query. size: its queries. The tile's hull is [low, high),
    its inner keys [inner_low, inner_high), empty where a rectangle of its own is not worth a call.
    causal: the tile is a causal document of self-attention, and has no inner keys.
    """

    first: NDArray[np.int64]
    size: NDArray[np.int64]
    low: NDArray[np.int64]
    inner_low: NDArray[np.int64]
    inner_high: NDArray[np.int64]
    high: NDArray[np.int64]
    causal: NDArray[np.bool_]

    @property
    def inner(self) -> NDArray[np.int64]:
        """Number of inner keys."""
        return self.inner_high - self.inner_low

    @property
    def edge(self) -> NDArray[np.int64]:
        """Number of keys of the hull that are not inner."""
        return self.high - self.low - self.inner

    @property
    def pairs(self) -> int:
        """Pairs of queries and keys that are computed."""
        each = _rounded(self.size) * (_rounded(self.inner) + _rounded(self.edge))
        return int(np.where(self.causal, _document(self.size) ** 2 // 2, each).sum())


def plan_of(visibility: Visibility) -> Plan | None:
    """The calls, or None where one masked call is likely faster. Found once per `Visibility`."""
    known = vars(visibility)
    if _PLAN not in known:
        known[_PLAN] = _plan(visibility)
    return known[_PLAN]


def _plan(visibility: Visibility) -> Plan | None:
    queries = visibility.start.numel()
    allowed = WORTHWHILE * queries * visibility.num_keys - GATHER * queries
    if visibility.start.device.type != "cpu" or allowed <= 0:
        return None
    tiles = tiles_of(visibility)
    calls = len({shape for shapes in _shapes(tiles) for shape in map(tuple, shapes.tolist())})
    return grouped(visibility, tiles) if tiles.pairs + CALL * calls <= allowed else None


def tiles_of(visibility: Visibility) -> Tiles:
    start = visibility.start.numpy().astype(np.int64).ravel()
    end = visibility.end.numpy().astype(np.int64).ravel()
    queries = visibility.start.shape[1]
    seeing = end > start
    apart = np.ones(len(start), dtype=bool)
    apart[1:] = ~seeing[:-1] | (start[1:] >= end[:-1]) | (end[1:] <= start[:-1])
    apart |= ~seeing
    apart[:: queries or 1] = True
    # Many queries of one interval: a tile of their own.
    other = apart.copy()
    other[1:] |= (start[1:] != start[:-1]) | (end[1:] != end[:-1])
    change = np.flatnonzero(other)
    alike = np.diff(np.append(change, len(start)))
    long = change[alike > LARGEST]
    after = long + alike[alike > LARGEST]
    apart[long] = apart[after[after < len(start)]] = True
    begin = np.flatnonzero(apart)
    length = np.diff(np.append(begin, len(start)))
    place = np.arange(len(start))
    alone = (start == np.repeat(begin, length) % queries) & (end == place % queries + 1)
    causal = np.logical_and.reduceat(alone, begin) if len(begin) else alone
    causal = (causal & (queries == visibility.num_keys))[seeing[begin]]
    begin, length = begin[seeing[begin]], length[seeing[begin]]
    count = np.where(np.isin(begin, long) | causal, 1, -(-length // LARGEST))
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    first = np.repeat(begin, count) + within * LARGEST
    size = np.repeat(begin + length, count) - first
    causal = np.repeat(causal, count)
    size = np.where(np.isin(first, long) | causal, size, size.clip(max=LARGEST))

    def over(function: np.ufunc, values: NDArray) -> NDArray[np.int64]:
        if not len(first):
            return first
        ends = np.stack([first, first + size], 1).ravel()
        return function.reduceat(np.append(values, 0), ends)[::2]

    low, high = over(np.minimum, start), over(np.maximum, end)
    inner_low, inner_high = over(np.maximum, start), over(np.minimum, end)
    whole = (low == inner_low) & (high == inner_high)
    # One inner key stays with the edge: then every query sees some key there, and its softmax is
    # a number.
    inner_high = np.where(whole, inner_high, inner_high - 1)
    none = causal | (~whole & (inner_high - inner_low < LEAST_INNER))
    return Tiles(
        first=first,
        size=size,
        low=low,
        inner_low=np.where(none, high, inner_low),
        inner_high=np.where(none, high, inner_high),
        high=high,
        causal=causal,
    )


def _rounded(size: NDArray[np.int64]) -> NDArray[np.int64]:
    return -(-size // STEP) * STEP


def _document(size: NDArray[np.int64]) -> NDArray[np.int64]:
    """Documents are rounded up by an eighth at most, since they come in all lengths."""
    step = np.maximum(STEP, 2 ** np.ceil(np.log2(size.clip(min=1))).astype(np.int64) // 8)
    return -(-size // step) * step


def _shapes(tiles: Tiles) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(second, kind, queries, keys) of each tile's inner and edge piece; -1 where there is none.
    Groups are made of equal ones, in this order.
    """
    queries = np.where(tiles.causal, _document(tiles.size), _rounded(tiles.size))
    inner_keys, edge_keys = _rounded(tiles.inner), _rounded(tiles.edge)
    edge_keys = np.where(tiles.causal, queries, edge_keys)
    kind = np.where(tiles.causal, CAUSAL, EDGE)
    inner = np.stack([np.zeros_like(kind), np.full_like(kind, INNER), queries, inner_keys], 1)
    edge = np.stack([(tiles.inner > 0) * 1, kind, queries, edge_keys], 1)
    inner[tiles.inner == 0] = edge[tiles.edge == 0] = -1
    return inner, edge


def grouped(visibility: Visibility, tiles: Tiles) -> Plan:
    """The pieces of all tiles as few calls. A query's inner piece comes before its edge."""
    inner, edge = _shapes(tiles)
    groups, queries, keys, seen = [], [], [], []
    for shape in np.unique(np.concatenate([inner, edge]), axis=0):
        second, kind, height, width = shape.tolist()
        if second < 0:
            continue
        chosen = np.flatnonzero(((inner if kind == INNER else edge) == shape).all(1))
        places, key, sight = _piece(visibility, tiles, chosen, shape)
        groups.append((len(chosen), height, width, sight.shape[1], second))
        queries.append(places.ravel())
        keys.append(key.ravel())
        seen.append(sight.ravel())

    def joined(parts: list[NDArray], dtype: type) -> Tensor:
        return torch.from_numpy(np.concatenate(parts) if parts else np.zeros(0, dtype))

    return Plan(
        groups=torch.tensor(groups, dtype=torch.int64).view(-1, 5),
        queries=joined(queries, np.int64),
        keys=joined(keys, np.int64),
        seen=joined(seen, np.bool_),
    )


def _piece(
    visibility: Visibility, tiles: Tiles, chosen: NDArray, shape: NDArray
) -> tuple[NDArray, NDArray, NDArray]:
    """Places of queries (G, M) and keys (G, K), and who sees whom (G, 0, 1 or M, K)."""
    _, kind, height, width = shape.tolist()
    masked = kind == EDGE
    first, size, low, inner_low, inner_high, keys = (
        values[chosen, None]
        for values in (
            tiles.first, tiles.size, tiles.low, tiles.inner_low, tiles.inner_high,
            tiles.edge if masked else tiles.inner,
        )
    )  # fmt: skip
    row = first // visibility.start.shape[1]
    query, offset = first + np.minimum(np.arange(height), size - 1), np.arange(width)
    places = np.where(np.arange(height) < size, query, visibility.start.numel())
    if kind == CAUSAL:
        # Its own last key fills it up, behind all queries that count.
        return places, query, np.zeros((len(chosen), 0, width), dtype=bool)
    key = (low if masked else inner_low) + offset
    if masked:
        key = np.where(key < inner_low, key, key + inner_high - inner_low)
    real = offset < keys
    key = np.where(real, key, low)
    seen = real[:, None, :]
    if masked:
        start, end = (each.numpy().ravel()[query] for each in (visibility.start, visibility.end))
        seen = seen & (key[:, None] >= start[..., None]) & (key[:, None] < end[..., None])
    return places, key + row * visibility.num_keys, seen
