"""A learnable causal Monarch matrix over positions: change of polynomial basis at O(N^1.5).

Fu et al. 2023 (section 4) read an order-2 Monarch matrix as the evaluation of basis polynomials and
ask of q_j a lowest degree j and a bounded highest one: then products of polynomials in that basis
are causal. With positions j = j1 b + j0 and

    q_j(Z) = l_{j1}(Z^b) r_{j1, j0}(Z),   l of lowest degree j1, r of degrees j0 to b - 1,

every monomial of q_j has a degree a = a1 b + a0 with a1 >= j1 and a0 >= j0, so a >= j. The matrix
of coefficients [a, j] is a Monarch matrix whose blocks are all lower triangular, hence lower
triangular itself: output i depends on inputs up to i only. Degrees stay below N, so that a
convolution of twice the length does not wrap around.

A long convolution between two such changes of basis is M2's causal product of polynomials, with
bases that are learned. Positions are counted from each document's beginning, so packed documents
are regrouped, as `segments.py` regroups them for the convolution.

Axes: B rows, T positions, D channels, N segments of a group, K and b digits of a position.
"""

# No postponed annotations: torch reads the operators' types, and a wrapper (a type checker's) would
# have it look for their names in the wrong module.
from math import isqrt

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from kernels.backend import cast
from kernels.longconv.segments import BEGIN, LIMIT, Group, rows_of, segments
from kernels.visibility import Visibility


def causal_monarch(
    inputs: Float[Tensor, "B T D"],
    first: Float[Tensor, "b b b"],
    second: Float[Tensor, "b b b"],
    visibility: Visibility,
) -> Float[Tensor, "B T D"]:
    """Multiply each document's positions with the lower triangular Monarch matrix of two factors,
    of whose blocks only the lower triangles are read. first[j1, a0, j0] and second[a0, a1, j1].

    Of the `Visibility` only the documents are asked: a prefix sees no later key here. Queries that
    see nothing give zeros. Raises ValueError on a document longer than b * b, on factors of other
    shapes, and on intervals that are not documents with prefixes.
    """
    size = first.shape[0]
    for name, factor in (("first", first), ("second", second)):
        if tuple(factor.shape) != (size, size, size):
            raise ValueError(f"{name} is {tuple(factor.shape)}; legal: {(size, size, size)}")
    known = segments(visibility.causal_part)
    if known.longest > size * size:
        raise ValueError(
            f"a document of {known.longest} positions for blocks of {size}; legal: up to "
            f"{size * size}, or blocks of {isqrt(known.longest - 1) + 1}"
        )
    inputs, first, second = cast(inputs, first, second)
    return _forward(inputs, first.tril(), second.tril(), known.table, known.groups)


def causal_monarch_matrix(
    first: Float[Tensor, "b b b"], second: Float[Tensor, "b b b"]
) -> Float[Tensor, "N N"]:
    """The matrix itself: entry [(a1, a0), (j1, j0)] = second[a0, a1, j1] first[j1, a0, j0]."""
    return torch.einsum("aik,kaj->iakj", second.tril(), first.tril()).flatten(2).flatten(0, 1)


def _places(
    table: Int64[Tensor, "5 S"], group: Group, size: int
) -> tuple[Int64[Tensor, "N M"], Bool[Tensor, "N M"]]:
    """As `rows_of`; what a group's power of two has beyond the matrix is beyond all documents."""
    places, real = rows_of(table, group, BEGIN, LIMIT)
    return places[:, : size * size], real[:, : size * size]


def _digits(rows: Float[Tensor, "N M D"], size: int) -> Float[Tensor, "N K b D"]:
    """Positions as (high digit, low digit); only the high digits that a group's length has."""
    short = -rows.shape[1] % size
    return functional.pad(rows, (0, 0, 0, short)).unflatten(1, (-1, size))


@torch.library.custom_op("archstudy::causal_monarch", mutates_args=())
def _forward(
    inputs: Tensor, first: Tensor, second: Tensor, table: Tensor, groups: Tensor
) -> Tensor:
    flat, size = inputs.flatten(0, 1), first.shape[0]
    out = torch.zeros_like(flat)
    for group in (Group(*row) for row in groups.tolist()):
        places, real = _places(table, group, size)
        digits = _digits(flat[places] * real[..., None], size)
        high = digits.shape[1]
        low = torch.einsum("kaj,nkjd->nkad", first[:high], digits)
        mixed = torch.einsum("aik,nkad->niad", second[:, :high, :high], low).flatten(1, 2)
        out[places[real]] = mixed[:, : real.shape[1]][real]
    return out.view(inputs.shape)


@_forward.register_fake
def _(inputs, first, second, table, groups):
    return inputs.new_empty(inputs.shape)


@torch.library.custom_op("archstudy::causal_monarch_backward", mutates_args=())
def _backward(
    grad: Tensor, inputs: Tensor, first: Tensor, second: Tensor, table: Tensor, groups: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    flat, flat_grad, size = inputs.flatten(0, 1), grad.flatten(0, 1), first.shape[0]
    grad_inputs = torch.zeros_like(flat)
    grad_first, grad_second = torch.zeros_like(first), torch.zeros_like(second)
    for group in (Group(*row) for row in groups.tolist()):
        places, real = _places(table, group, size)
        digits = _digits(flat[places] * real[..., None], size)
        above = _digits(flat_grad[places] * real[..., None], size)
        high = digits.shape[1]
        low = torch.einsum("kaj,nkjd->nkad", first[:high], digits)
        grad_low = torch.einsum("aik,niad->nkad", second[:, :high, :high], above)
        grad_second[:, :high, :high] += torch.einsum("niad,nkad->aik", above, low)
        grad_first[:high] += torch.einsum("nkad,nkjd->kaj", grad_low, digits)
        back = torch.einsum("kaj,nkad->nkjd", first[:high], grad_low).flatten(1, 2)
        grad_inputs[places[real]] = back[:, : real.shape[1]][real]
    return grad_inputs.view(inputs.shape), grad_first, grad_second


@_backward.register_fake
def _(grad, inputs, first, second, table, groups):
    return tuple(each.new_empty(each.shape) for each in (inputs, first, second))


def _remember(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _derive(ctx, grad):
    return *_backward(grad, *ctx.saved_tensors), None, None


_forward.register_autograd(_derive, setup_context=_remember)
