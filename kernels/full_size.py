"""The sizes at which ops are checked on a GPU and timed: one list for both.

Every length has the same number of tokens, so that a linear op's figures can be compared along a
column. Documents are drawn once per (pattern, rows, length).

Axes: B rows, T positions.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch

from kernels.visibility import Visibility, packed

Pattern = Literal["causal", "prefix", "packed", "packed_prefix"]
PATTERNS: tuple[Pattern, ...] = get_args(Pattern)
LENGTHS = (512, 1024, 2048, 4096, 8192, 16384, 32768)
TOKENS = 32768
HEADS, D_HEAD = 16, 64
STATE = 128
"""State width of the state-space dual (Dao and Gu 2024 use it throughout)."""
WIDTH = HEADS * D_HEAD
BLOCKS = 4
"""Blocks of a block-diagonal matrix over WIDTH (Fu et al. 2023)."""


def rows(length: int) -> int:
    return max(1, TOKENS // length)


def documents(pattern: Pattern, *, rows: int, length: int) -> list[list[tuple[int, int]]]:
    """(length, prefix) of each row's documents, which fill it.

    causal, prefix: one document, its prefix empty or half of it. packed: documents of a sixteenth
    to a quarter of the row; packed_prefix: with a prefix anywhere in each.
    """
    match pattern:
        case "causal":
            return [[(length, 0)]] * rows
        case "prefix":
            return [[(length, length // 2)]] * rows
        case "packed" | "packed_prefix":
            generator = torch.Generator().manual_seed(length)

            def up_to(least: int, most: int) -> int:
                return int(torch.randint(least, most + 1, (), generator=generator))

            found = []
            for _ in range(rows):
                row: list[tuple[int, int]] = []
                left = length
                while left:
                    size = min(left, up_to(max(1, length // 16), max(1, length // 4)))
                    row.append((size, up_to(0, size) if pattern == "packed_prefix" else 0))
                    left -= size
                found.append(row)
            return found


def visibility(pattern: Pattern, *, rows: int, length: int) -> Visibility:
    return packed(documents(pattern, rows=rows, length=length), length=length)
