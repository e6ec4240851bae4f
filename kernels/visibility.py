"""Visibility: query i of a row sees the keys in [start_i, end_i). Two int32 vectors, never a mask
in memory.

Owns the type and its check. Causal or non-causal is data here, not a module: a prefix decoder with
an empty prefix has the causal decoder's intervals, and so computes the same numbers. Values are
checked once, on the CPU, when the object is built; kernels check shapes and dtypes only, so nothing
synchronises a device.

Axes: B rows, T queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Bool, Int32, Int64
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Documents:
    """Visibility that is causal, except that each document's prefix sees itself as a whole.

    row, start, length, prefix: int64 (N,) on the CPU, in order of rows and places; a prefix of 0 or
    1 is a causal document.
    """

    row: Int64[Tensor, " N"]
    start: Int64[Tensor, " N"]
    length: Int64[Tensor, " N"]
    prefix: Int64[Tensor, " N"]

    @cached_property
    def any_prefix(self) -> bool:
        return bool((self.prefix > 1).any())


@dataclass(frozen=True, eq=False)
class Visibility:
    """Key intervals of every query.

    start, end: int32 (B, T), 0 <= start <= end <= num_keys; start == end sees nothing (padding).
    num_keys: length of the key axis.
    """

    start: Int32[Tensor, "B T"]
    end: Int32[Tensor, "B T"]
    num_keys: int

    @classmethod
    def build(
        cls, start: Int32[Tensor, "B T"], end: Int32[Tensor, "B T"], *, num_keys: int
    ) -> Visibility:
        """Check the values and keep them. Raises ValueError that names the first row and query that
        is wrong.
        """
        for name, values in (("start", start), ("end", end)):
            if values.dtype != torch.int32 or values.ndim != 2 or values.shape != start.shape:
                raise ValueError(
                    f"visibility {name} is {values.dtype} {tuple(values.shape)}; "
                    "legal: int32 (B, T), both alike"
                )
        wrong = (start < 0) | (end < start) | (end > num_keys)
        if bool(wrong.any()):
            row, query = (int(index) for index in wrong.nonzero()[0])
            raise ValueError(
                f"row {row}, query {query} sees "
                f"[{int(start[row, query])}, {int(end[row, query])}); "
                f"legal: 0 <= start <= end <= {num_keys}"
            )
        return cls(start=start, end=end, num_keys=num_keys)

    def to(self, device: torch.device | str) -> Visibility:
        moved = Visibility(self.start.to(device), self.end.to(device), self.num_keys)
        # Decided before the values leave the CPU, so that no kernel has to wait for a device.
        vars(moved).update(pattern=self.pattern, has_empty=self.has_empty)
        vars(moved)["_before_move"] = vars(self).get("_before_move", self)
        return moved

    @cached_property
    def documents(self) -> Documents:
        """The row as documents with prefixes, for mixers that carry a state. Raises ValueError that
        names the first query that no such document explains: a window, a lookahead, a cross
        pattern. Looked up where the values were built, so that no device is waited for.
        """
        before = vars(self).get("_before_move", self)
        return before.documents if before is not self else _documents(self)

    @cached_property
    def causal_part(self) -> Visibility:
        """The same without keys after their query, for a mixer that treats those apart."""
        before = vars(self).get("_before_move", self)
        if before is not self:
            return before.causal_part.to(self.start.device)
        later = torch.arange(1, self.start.shape[1] + 1, dtype=torch.int32)
        end = torch.minimum(self.end, torch.maximum(later, self.start))
        return Visibility.build(self.start, end, num_keys=self.num_keys)

    @cached_property
    def pattern(self) -> Literal["causal", "full", "intervals"]:
        """Which closed form the values have, by the values alone and once per object: kernels take
        a faster route with it.
        """
        queries = self.start.shape[1]
        if bool((self.start != 0).any()):
            return "intervals"
        if bool((self.end == self.num_keys).all()):
            return "full"
        causal_end = torch.arange(1, queries + 1, dtype=torch.int32, device=self.end.device)
        if queries == self.num_keys and bool((self.end == causal_end).all()):
            return "causal"
        return "intervals"

    @cached_property
    def has_empty(self) -> bool:
        """Whether some query sees nothing."""
        return bool((self.start == self.end).any())

    def dense(self) -> Bool[Tensor, "B T S"]:
        """The mask as a matrix, for references and for torch's own attention: True where a query
        sees a key.
        """
        keys = torch.arange(self.num_keys, device=self.start.device, dtype=torch.int32)
        return (keys >= self.start[..., None]) & (keys < self.end[..., None])

    @cached_property
    def softmax_mask(self) -> Bool[Tensor, "B T S"]:
        """`dense()`, kept, for kernels that need a mask: a query that sees nothing is let see all
        keys, since a softmax over nothing is not a number. Whoever uses it zeroes such outputs.
        """
        mask = self.dense()
        return mask | (self.start == self.end)[..., None] if self.has_empty else mask

    def visible_pairs(self) -> int:
        """Number of (query, key) pairs that are seen: the work that attention cannot avoid."""
        return int((self.end - self.start).sum(dtype=torch.int64))


def _documents(visibility: Visibility) -> Documents:
    start, end = visibility.start, visibility.end
    rows, queries = start.shape
    if visibility.num_keys != queries:
        raise ValueError(
            f"{queries} queries over {visibility.num_keys} keys; legal for a mixer that carries a "
            "state: the same positions on both sides"
        )
    index = torch.arange(queries, dtype=torch.int32, device=start.device).expand(rows, -1)
    seeing = end > start
    first = seeing & (start == index)
    before = torch.cat([torch.zeros_like(end[:, :1]), end[:, :-1]], 1)
    known = torch.cat([torch.full_like(start[:, :1], -1), start[:, :-1]], 1)
    followed = torch.cat([torch.zeros_like(seeing[:, :1]), seeing[:, :-1]], 1)
    goes_on = seeing & ~first & followed & (start == known)
    legal = torch.where(
        goes_on,
        end == torch.maximum(index + 1, before),
        # A new document, or padding: what came before did not look into it.
        (first | ~seeing) & ((before <= index) | ~followed),
    )
    if not bool(legal.all()):
        row, query = (int(place) for place in (~legal).nonzero()[0])
        raise ValueError(
            f"row {row}, query {query} sees [{int(start[row, query])}, {int(end[row, query])}); "
            "legal for a mixer that carries a state: documents that are causal but for a prefix "
            "(no window, no lookahead)"
        )
    row, place = first.nonzero(as_tuple=True)
    number = first.flatten().cumsum(0).view(rows, queries)[seeing] - 1
    length = torch.bincount(number, minlength=len(row))
    return Documents(row=row, start=place, length=length, prefix=end[row, place].long() - place)


def causal(*, rows: int, length: int) -> Visibility:
    """One causal document a row: query i sees [0, i + 1)."""
    end = torch.arange(1, length + 1, dtype=torch.int32).repeat(rows, 1)
    return Visibility.build(torch.zeros_like(end), end, num_keys=length)


def full(*, rows: int, queries: int, num_keys: int) -> Visibility:
    """Every query sees every key."""
    start = torch.zeros(rows, queries, dtype=torch.int32)
    return Visibility.build(start, torch.full_like(start, num_keys), num_keys=num_keys)


def packed(documents: Sequence[Sequence[tuple[int, int]]], *, length: int) -> Visibility:
    """Rows of (length, prefix) documents, one after the other; the rest of a row is padding, which
    sees nothing.
    """
    start = torch.empty(len(documents), length, dtype=torch.int32)
    end = torch.empty_like(start)
    for row, pieces in enumerate(documents):
        place = 0
        for size, prefix in pieces:
            if not 0 <= prefix <= size or size < 1 or place + size > length:
                raise ValueError(
                    f"row {row}: a document of {size} with a prefix of {prefix} at {place}; "
                    f"legal: at least 1, its prefix within it, and the row's {length} not passed"
                )
            inside = slice(place, place + size)
            start[row, inside] = place
            end[row, inside] = torch.arange(place + 1, place + size + 1).clamp(min=place + prefix)
            place += size
        start[row, place:] = end[row, place:] = place
    return Visibility.build(start, end, num_keys=length)
