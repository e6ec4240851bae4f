"""Visibility: query i of a row sees the keys in [start_i, end_i). Two int32 vectors, never a mask
in memory.

Owns the type and its check. Causal or non-causal is data here, not a module: a prefix decoder with
an empty prefix has the causal decoder's intervals, and so computes the same numbers. Values are
checked once, on the CPU, when the object is built; kernels check shapes and dtypes only, so nothing
synchronises a device.

Axes: B rows, T queries.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Bool, Int32
from torch import Tensor


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
        return moved

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


def causal(*, rows: int, length: int) -> Visibility:
    """One causal document a row: query i sees [0, i + 1)."""
    end = torch.arange(1, length + 1, dtype=torch.int32).repeat(rows, 1)
    return Visibility.build(torch.zeros_like(end), end, num_keys=length)


def full(*, rows: int, queries: int, num_keys: int) -> Visibility:
    """Every query sees every key."""
    start = torch.zeros(rows, queries, dtype=torch.int32)
    return Visibility.build(start, torch.full_like(start, num_keys), num_keys=num_keys)
