"""The long convolution's Triton kernels as torch operators: factors, tables, launches.

What they compute is in `triton.py` and `triton_correlation.py`; what may be asked of them is
checked by `kernels.longconv.longconv`.
"""

# A kernel's launch takes its options beside its arguments, which no type checker knows.
# pyright: basic, reportCallIssue=false, reportArgumentType=false
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
import triton
from jaxtyping import Complex, Float, Float32
from torch import Tensor

from kernels.longconv import triton as passes
from kernels.longconv import triton_correlation as correlation_passes
from kernels.longconv.operator import TransformEngine, operator
from kernels.longconv.segments import SHORTEST, Group

LARGEST_INNER = 128
LARGEST_SCRATCH = 2**28
"""Bytes that the first factors of a launch may take; more segments take more launches."""
PROGRAMS = 1024
"""As many programs as fill a GPU: where filters' gradients have fewer, segments are shared out."""


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """Sizes of one launch: rows and depth of a tile of a matrix, channels of a tile of data, warps
    of a program, loads in flight.
    """

    rows: int
    depth: int
    channels: int
    warps: int
    stages: int


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """whole: the longest transform of order 1, at least 128, so that both factors of a longer one
    have the 16 places of a tensor core. first: tiles of the first factor, out and back.
    held: of the kernels that hold a whole transform, or a whole second factor, and of correlations.
    """

    whole: int
    first: Tiles
    held: Tiles


SIZES = Sizes(
    whole=256,
    first=Tiles(rows=64, depth=32, channels=64, warps=8, stages=2),
    held=Tiles(rows=32, depth=32, channels=32, warps=8, stages=1),
)
"""What ahead-of-time compilation found to spill nowhere; see README.md."""


def padded(size: int) -> int:
    """The places of a transform for segments up to this length."""
    return max(SHORTEST, triton.next_power_of_2(size))


def factors(size: int) -> tuple[int, int]:
    """OUTER and INNER of an order-2 transform. 8 OUTER + 16 INNER FLOPs a number are least at
    OUTER = 2 INNER; a power of two between that and 4 INNER, until INNER is as large as one program
    holds.
    """
    inner = 1 << ((size.bit_length() - 2) // 2)
    inner = min(max(inner, SHORTEST), LARGEST_INNER)
    return size // inner, inner


def product_precision(dtype: torch.dtype) -> str:
    """Of the products: TF32 for half-precision inputs, whose own formats lose too much (README)."""
    return "ieee" if dtype == torch.float32 else "tf32"


@lru_cache(maxsize=128)
def outer_table(size: int, kind: str, device: torch.device) -> Float32[Tensor, "2 N N"]:
    """exp(-2 pi i n (k + 1/4) / N) at [k, n]: real and imaginary parts."""
    place = torch.arange(size, dtype=torch.float64)
    return _planes((place[:, None] + 0.25) * place / size, kind, device)


@lru_cache(maxsize=128)
def inner_table(size: int, kind: str, device: torch.device) -> Float32[Tensor, "2 N N"]:
    """exp(-2 pi i n k / N) at [k, n]."""
    place = torch.arange(size, dtype=torch.float64)
    return _planes(place[:, None] * place / size, kind, device)


@lru_cache(maxsize=128)
def twiddle_table(outer: int, inner: int, device: torch.device) -> Float32[Tensor, "2 K N"]:
    """exp(-2 pi i n2 (k1 + 1/4) / M) at [k1, n2]. Not an operand of a product, so not rounded."""
    k1, n2 = (torch.arange(size, dtype=torch.float64) for size in (outer, inner))
    return _planes((k1[:, None] + 0.25) * n2 / (outer * inner), "ieee", device)


def _planes(turns: Float[Tensor, "K N"], kind: str, device: torch.device) -> Tensor:
    angle = -2 * torch.pi * (turns % 1.0)
    found = torch.stack([angle.cos(), angle.sin()]).float()
    if kind == "tf32":  # as `narrowed`
        large = found * 8193.0
        found = large - (large - found)
    return found.to(device)


@dataclass(frozen=True, kw_only=True)
class Launch:
    """The launches for one group: what all of them are given."""

    table: Tensor  # (5, S)
    group: Group
    places: int
    width: int
    kind: str
    sizes: Sizes

    @classmethod
    def of(cls, values: Tensor, table: Tensor, group: Group, sizes: Sizes) -> Launch:
        places, width = values.shape
        return cls(
            table=table, group=group, places=places, width=width,
            kind=product_precision(values.dtype), sizes=sizes,
        )  # fmt: skip

    @property
    def size(self) -> int:
        return padded(self.group.size)

    @property
    def whole(self) -> bool:
        return self.size <= self.sizes.whole

    def shares(self) -> Iterator[tuple[int, int]]:
        """(first segment, segments) of each round through the scratch."""
        step = max(1, LARGEST_SCRATCH // (8 * self.size * self.width))
        for first in range(self.group.first, self.group.last, step):
            yield first, min(step, self.group.last - first)

    def options(self, tiles: Tiles, size: int) -> dict:
        """Of a launch whose matrices are size x size."""
        return {
            "BLOCK_M": min(tiles.rows, size),
            "BLOCK_K": min(tiles.depth, size),
            "BLOCK_D": tiles.channels,
            "PRECISION": self.kind,
            "num_warps": tiles.warps,
            "num_stages": tiles.stages,
        }

    def grid(self, members: int, tiles: Tiles, programs: int) -> tuple[int, int]:
        return members * triton.cdiv(self.width, tiles.channels), programs

    def convolution(self, values, out, spectrum, *, adjoint: bool, add: bool) -> None:
        """All of it, at order 1."""
        members, tiles = self.group.last - self.group.first, self.sizes.held
        passes.whole_kernel[self.grid(members, tiles, 1)](
            values, out, self.table, outer_table(self.size, self.kind, values.device), spectrum,
            values.stride(0), out.stride(0), self.width, self.places, self.table.shape[1],
            self.group.first, ADJOINT=adjoint, ADD=add, SIZE=self.size,
            **self.options(tiles, self.size),
        )  # fmt: skip

    def first_factor(self, values, share: tuple[int, int], *, kept: bool) -> Tensor:
        """A scratch (members, OUTER, INNER, 2, D) of the share's segments."""
        (outer, inner), (begin, members) = factors(self.size), share
        scratch = values.new_empty(members, outer, inner, 2, self.width, dtype=torch.float32)
        options = self.options(self.sizes.first, outer)
        passes.outer_kernel[
            self.grid(members, self.sizes.first, inner * (outer // options["BLOCK_M"]))
        ](
            values, scratch, self.table, outer_table(outer, self.kind, values.device),
            twiddle_table(outer, inner, values.device), values.stride(0), self.width, self.places,
            self.table.shape[1], begin, KEPT=kept, OUTER=outer, INNER=inner, **options,
        )  # fmt: skip
        return scratch

    def filter_and_return(
        self, scratch, out, spectrum, share: tuple[int, int], *, adjoint: bool, add: bool
    ) -> None:
        """From a scratch, which is used up, to the packed rows."""
        (outer, inner), (begin, members) = factors(self.size), share
        passes.inner_kernel[self.grid(members, self.sizes.held, outer)](
            scratch, inner_table(inner, self.kind, out.device),
            twiddle_table(outer, inner, out.device), spectrum, self.width, ADJOINT=adjoint,
            OUTER=outer, INNER=inner, **self.options(self.sizes.held, inner),
        )  # fmt: skip
        options = self.options(self.sizes.first, outer)
        passes.outer_inverse_kernel[
            self.grid(members, self.sizes.first, inner * (outer // options["BLOCK_M"]))
        ](
            scratch, out, self.table, outer_table(outer, self.kind, out.device), out.stride(0),
            self.width, self.places, self.table.shape[1], begin, KEPT=not adjoint, ADD=add,
            OUTER=outer, INNER=inner, **options,
        )  # fmt: skip

    def whole_correlation(self, grad, values) -> Float32[Tensor, "2 M D"]:
        members = self.group.last - self.group.first
        options = self.options(self.sizes.held, self.size)
        out, grid = self._sums(members, options, values)
        correlation_passes.whole_correlation_kernel[grid](
            grad, values, out, self.table, outer_table(self.size, self.kind, values.device),
            grad.stride(0), values.stride(0), self.width, self.places, self.table.shape[1],
            self.group.first, members, grid[2], SIZE=self.size, **options,
        )  # fmt: skip
        return out.sum(0)

    def correlation(self, grad_scratch, value_scratch) -> Float32[Tensor, "2 M D"]:
        (outer, inner), members = factors(self.size), len(value_scratch)
        options = self.options(self.sizes.held, inner)
        out, grid = self._sums(members, options, value_scratch)
        correlation_passes.inner_correlation_kernel[grid](
            grad_scratch, value_scratch, out, inner_table(inner, self.kind, out.device),
            self.width, members, grid[2], OUTER=outer, INNER=inner, **options,
        )  # fmt: skip
        return out.sum(0)

    def _sums(self, members: int, options: dict, like: Tensor):
        """(shares, 2, M, D) for a correlation, and the grid that fills it."""
        tiles = triton.cdiv(self.width, options["BLOCK_D"])
        programs = self.size // options["BLOCK_M"]
        shares = max(1, min(members, PROGRAMS // (tiles * programs)))
        out = like.new_empty(shares, 2, self.size, self.width, dtype=torch.float32)
        return out, (tiles, programs, shares)


def engine(sizes: Sizes) -> TransformEngine:
    """The kernels' transforms, with tiles of these sizes."""

    def launch(values: Tensor, table: Tensor, group: Group) -> Launch:
        return Launch.of(values, table.contiguous(), group, sizes)

    def convolve(values, spectrum, table, group: Group, out) -> None:
        todo, filters = launch(values, table, group), _scaled(spectrum)
        if todo.whole:
            return todo.convolution(values, out, filters, adjoint=False, add=False)
        for share in todo.shares():
            scratch = todo.first_factor(values, share, kept=False)
            todo.filter_and_return(scratch, out, filters, share, adjoint=False, add=False)
        return None

    def differentiate(grad, values, spectrum, table, group: Group, grad_values, *, add: bool):
        todo, filters = launch(values, table, group), _scaled(spectrum)
        if todo.whole:
            todo.convolution(grad, grad_values, filters, adjoint=True, add=add)
            return torch.complex(*todo.whole_correlation(grad, values))
        total = torch.zeros_like(filters)
        for share in todo.shares():
            scratch = todo.first_factor(grad, share, kept=True)
            total += todo.correlation(scratch, todo.first_factor(values, share, kept=False))
            todo.filter_and_return(scratch, grad_values, filters, share, adjoint=True, add=add)
        return torch.complex(*total)

    return TransformEngine(convolve=convolve, differentiate=differentiate, padded=padded)


def _scaled(spectrum: Complex[Tensor, "M D"]) -> Float32[Tensor, "2 M D"]:
    """Its planes, with the inverse transform's 1 / M."""
    return torch.stack([spectrum.real, spectrum.imag]) / spectrum.shape[0]


forward, backward = operator("longconv", engine(SIZES))
