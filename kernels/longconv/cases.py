"""Shapes and documents on which the long convolution is tested and timed: one list for both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from kernels.visibility import Visibility, packed

Document = tuple[int, int]
"""(length, prefix); a prefix of 0 is causal."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One problem. documents: of each row; what they leave is padding."""

    name: str
    documents: tuple[tuple[Document, ...], ...]
    length: int
    channels: int
    role: Literal["test", "speed"]

    @property
    def visibility(self) -> Visibility:
        return packed(self.documents, length=self.length)

    def inputs(
        self, *, seed: int, dtype: torch.dtype, taps: int | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(inputs, after, before), drawn in float64 so that every dtype sees the same numbers.
        Filters have float32 at least, and as many taps as a row has places unless asked.
        """
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        inputs = draw(len(self.documents), self.length, self.channels).to(dtype)
        wide = torch.promote_types(dtype, torch.float32)
        after, before = (draw(self.channels, taps or self.length).to(wide) for _ in range(2))
        return inputs, after, before


def _case(
    name: str,
    documents: tuple[tuple[Document, ...], ...],
    length: int,
    *,
    channels: int = 3,
    role: Literal["test", "speed"] = "test",
) -> Case:
    return Case(name=name, documents=documents, length=length, channels=channels, role=role)


CASES: tuple[Case, ...] = (
    _case("causal", (((37, 0),), ((37, 1),)), 37),
    _case("full", (((37, 37),), ((37, 37),)), 37),
    _case("prefix", (((50, 0),), ((50, 1),), ((50, 20),), ((50, 50),)), 50),
    _case("packed", (((3, 0), (17, 0), (1, 0), (20, 0)), ((41, 0),)), 44),
    _case("packed_prefix", (((3, 2), (17, 9), (1, 1), (20, 20)), ((16, 16), (16, 8), (5, 0))), 44),
    _case("tiny", (((1, 0),), ((1, 1),)), 1),
    _case("padding", ((), ((2, 2),)), 5),
    _case("channels", (((19, 7),),), 19, channels=35),
    # long enough for transforms of order 2
    _case("long", (((150, 0), (40, 40)), ((190, 190),)), 190),
    _case("long_prefix", (((190, 150),),), 190),
    _case("longer", (((1027, 0),),), 1030, channels=2),
    _case("speed_512", (((512, 0),),) * 64, 512, channels=768, role="speed"),
    _case("speed_2048", (((2048, 0),),) * 16, 2048, channels=768, role="speed"),
    _case("speed_8192", (((8192, 0),),) * 4, 8192, channels=768, role="speed"),
    _case("speed_32768", (((32768, 0),),), 32768, channels=768, role="speed"),
    _case("speed_prefix", (((2048, 1024),),) * 16, 2048, channels=768, role="speed"),
    _case("speed_packed", (((256, 128),) * 8,) * 16, 2048, channels=768, role="speed"),
)
