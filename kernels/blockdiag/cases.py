"""Shapes on which block-diagonal products are tested and timed: one list for both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Case:
    """One product: rows of blocks * inputs numbers with blocks of outputs x inputs."""

    name: str
    rows: int
    blocks: int
    outputs: int
    inputs: int
    role: Literal["test", "speed"]

    def tensors(self, *, seed: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """(inputs, weight), drawn in float64 so that every dtype sees the same numbers."""
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

        return draw(self.rows, self.blocks * self.inputs), draw(
            self.blocks, self.outputs, self.inputs
        )


def _case(
    name: str, size: tuple[int, int, int, int], *, role: Literal["test", "speed"] = "test"
) -> Case:
    rows, blocks, outputs, inputs = size
    return Case(name=name, rows=rows, blocks=blocks, outputs=outputs, inputs=inputs, role=role)


CASES: tuple[Case, ...] = (
    _case("one_number", (1, 1, 1, 1)),
    _case("odd", (7, 3, 5, 4)),
    _case("past_one_tile", (33, 2, 40, 17)),
    _case("many_rows", (65, 4, 16, 33)),
    _case("no_rows", (0, 2, 4, 3)),
    # M2-BERT's MLP and projections: width 768, four blocks
    _case("speed_up", (32768, 4, 768, 192), role="speed"),
    _case("speed_down", (32768, 4, 192, 768), role="speed"),
    _case("speed_projection", (32768, 4, 192, 192), role="speed"),
)
