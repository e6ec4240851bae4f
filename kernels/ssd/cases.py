"""Shapes and documents on which the state-space dual is tested and timed: one list for both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from kernels.visibility import Visibility, packed

Document = tuple[int, int | None]
"""(length, prefix); a prefix of 0 is causal, None is padding."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One problem. documents: of each row; what they leave is padding, too."""

    name: str
    documents: tuple[tuple[Document, ...], ...]
    length: int
    heads: int
    width: int
    state: int
    role: Literal["test", "speed"]

    @property
    def visibility(self) -> Visibility:
        """Padding between documents lies beyond the row's end: nothing may follow from where."""
        laid = packed(
            [[(size, prefix or 0) for size, prefix in row] for row in self.documents],
            length=self.length,
        )
        start, end = laid.start.clone(), laid.end.clone()
        for row, documents in enumerate(self.documents):
            place = 0
            for size, prefix in documents:
                if prefix is None:
                    start[row, place : place + size] = end[row, place : place + size] = self.length
                place += size
        return Visibility.build(start, end, num_keys=self.length)

    def inputs(self, *, seed: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(inputs, decay, write, read), drawn in float64 so that every dtype sees the same."""
        generator = torch.Generator().manual_seed(seed)
        rows = len(self.documents)

        def draw(*shape: int) -> Tensor:
            return torch.randn(rows, self.length, *shape, generator=generator, dtype=torch.float64)

        decay = -torch.rand(rows, self.length, self.heads, generator=generator, dtype=torch.float64)
        inputs, write = draw(self.heads, self.width), draw(self.heads, self.state)
        read = draw(self.heads, self.state)
        return inputs.to(dtype), decay.to(dtype), write.to(dtype), read.to(dtype)


def _case(
    name: str,
    documents: tuple[tuple[Document, ...], ...],
    length: int,
    *,
    sizes: tuple[int, int, int] = (2, 5, 3),
    role: Literal["test", "speed"] = "test",
) -> Case:
    heads, width, state = sizes
    return Case(
        name=name,
        documents=documents,
        length=length,
        heads=heads,
        width=width,
        state=state,
        role=role,
    )


CASES: tuple[Case, ...] = (
    _case("causal", (((37, 0),), ((37, 1),)), 37),
    _case("full", (((37, 37),), ((16, 16),)), 37),
    _case(
        "prefix",
        (((50, 0),), ((50, 1),), ((50, 20),), ((50, 33),), ((50, 50),)),
        50,
        sizes=(1, 5, 3),
    ),
    _case("packed", (((3, 0), (17, 0), (1, 0), (20, 0)), ((41, 0),)), 44),
    _case("packed_prefix", (((3, 2), (17, 9), (1, 1), (20, 20)), ((16, 16), (16, 8), (5, 0))), 44),
    _case("between", (((10, 8), (5, None), (20, 14), (9, 9)), ((2, None), (42, 37))), 44),
    _case("wide", (((20, 18), (15, 0)),), 35, sizes=(1, 20, 33)),
    _case("tiny", (((1, 0),), ((1, 1),)), 1),
    _case("padding", ((), ((2, 2),)), 5),
    _case("speed_causal", (((2048, 0),),), 2048, sizes=(4, 32, 16), role="speed"),
    _case("speed_packed_prefix", (((256, 128),) * 8,), 2048, sizes=(4, 32, 16), role="speed"),
)
