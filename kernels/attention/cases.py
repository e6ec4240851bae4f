"""Shapes and intervals on which attention is tested and timed: one list for both.

Every pattern of the study is here at odd lengths, and intervals that follow no pattern at all.
Axes: B rows, T queries, S keys.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from kernels.attention.arguments import RelativeBias
from kernels.visibility import Visibility, causal, full


@dataclass(frozen=True, kw_only=True)
class Case:
    """One problem. intervals: builds its visibility. role: `test` for correctness, `speed` for the
    benchmark too.
    """

    name: str
    rows: int
    heads: int
    d_head: int
    queries: int
    keys: int
    intervals: Callable[[Case], Visibility]
    biased: bool
    role: Literal["test", "speed"]

    def inputs(
        self, *, seed: int, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor, Tensor, RelativeBias | None]:
        """(query, key, value, bias), drawn in float64 so that every dtype sees the same numbers."""
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

        query = draw(self.rows, self.heads, self.queries, self.d_head)
        key = draw(self.rows, self.heads, self.keys, self.d_head)
        value = draw(self.rows, self.heads, self.keys, self.d_head)
        values = draw(self.heads, self.queries + self.keys - 1)
        return query, key, value, RelativeBias(values, self.queries) if self.biased else None


def _causal(case: Case) -> Visibility:
    return causal(rows=case.rows, length=case.queries)


def _full(case: Case) -> Visibility:
    return full(rows=case.rows, queries=case.queries, num_keys=case.keys)


def _prefix(case: Case) -> Visibility:
    """Prefixes of another length in every row, the first one empty."""
    end = torch.arange(1, case.queries + 1, dtype=torch.int32).repeat(case.rows, 1)
    prefix = torch.arange(case.rows, dtype=torch.int32)[:, None] * (case.queries // 3)
    end = torch.maximum(end, prefix.clamp(max=case.keys))
    return Visibility.build(torch.zeros_like(end), end, num_keys=case.keys)


def _packed(case: Case) -> Visibility:
    """Two documents and padding in every row, the documents' border wandering with the row."""
    index = torch.arange(case.queries, dtype=torch.int32).repeat(case.rows, 1)
    border = case.queries // 3 + torch.arange(case.rows, dtype=torch.int32)[:, None]
    last = case.queries - 2
    start = torch.where(index < border, 0, border).to(torch.int32)
    start = torch.where(index < last, start, last).to(torch.int32)
    end = torch.where(index < last, index + 1, last).to(torch.int32)
    return Visibility.build(start, end, num_keys=case.keys)


def _window(case: Case) -> Visibility:
    end = torch.arange(1, case.queries + 1, dtype=torch.int32).repeat(case.rows, 1)
    return Visibility.build((end - 7).clamp(min=0), end, num_keys=case.keys)


def _arbitrary(case: Case) -> Visibility:
    """Neither monotone nor aligned, with empty intervals anywhere."""
    generator = torch.Generator().manual_seed(case.queries)
    cuts = torch.randint(0, case.keys + 1, (2, case.rows, case.queries), generator=generator)
    cuts = cuts.to(torch.int32).sort(0).values
    cuts[1, :, ::5] = cuts[0, :, ::5]
    return Visibility.build(cuts[0], cuts[1], num_keys=case.keys)


def _all_empty(case: Case) -> Visibility:
    ends = torch.full((case.rows, case.queries), case.keys, dtype=torch.int32)
    return Visibility.build(ends, ends.clone(), num_keys=case.keys)


def _case(
    name: str,
    intervals: Callable[[Case], Visibility],
    size: tuple[int, int, int, int, int],
    *,
    biased: bool = False,
    role: Literal["test", "speed"] = "test",
) -> Case:
    rows, heads, queries, keys, d_head = size
    return Case(
        name=name,
        rows=rows,
        heads=heads,
        d_head=d_head,
        queries=queries,
        keys=keys,
        intervals=intervals,
        biased=biased,
        role=role,
    )


CASES: tuple[Case, ...] = (
    _case("causal", _causal, (2, 3, 63, 63, 16)),
    _case("causal_biased", _causal, (2, 3, 63, 63, 16), biased=True),
    _case("full", _full, (2, 2, 65, 65, 8)),
    _case("full_biased", _full, (2, 2, 33, 33, 8), biased=True),
    _case("cross", _full, (3, 2, 17, 50, 8)),
    _case("prefix", _prefix, (4, 2, 50, 50, 16)),
    _case("prefix_biased", _prefix, (4, 2, 50, 50, 16), biased=True),
    _case("packed", _packed, (3, 2, 40, 40, 8)),
    _case("packed_biased", _packed, (3, 2, 40, 40, 8), biased=True),
    _case("window", _window, (2, 2, 37, 37, 8)),
    _case("arbitrary", _arbitrary, (3, 2, 29, 41, 8)),
    _case("arbitrary_biased", _arbitrary, (3, 2, 29, 41, 8), biased=True),
    _case("all_empty", _all_empty, (2, 2, 5, 7, 4)),
    _case("no_keys", _all_empty, (2, 2, 5, 0, 4)),
    _case("one_query", _full, (2, 2, 1, 19, 8), biased=True),
    _case("demo_causal", _causal, (8, 4, 128, 128, 24), role="speed"),
    _case("demo_prefix", _prefix, (8, 4, 128, 128, 24), role="speed"),
    _case("demo_packed", _packed, (8, 4, 128, 128, 24), role="speed"),
    _case("demo_causal_biased", _causal, (8, 4, 128, 128, 24), biased=True, role="speed"),
)
