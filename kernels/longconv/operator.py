"""The long convolution as a torch operator, whoever computes its transforms: groups, filters'
spectra, gradients.

`spectral.py` brings torch's transforms, `op.py` the Triton kernels. An operator, so that compiled
graphs hold one call and no list of documents: what changes with every batch is in its tensors.

Axes: B rows, T positions, D channels, L taps, P = B T places, S segments, G groups, M places of a
transform.
"""

# No postponed annotations: torch reads the operators' types, and a wrapper (a type checker's) would
# have it look for their names in the wrong module.
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from kernels.longconv.segments import Group
from kernels.longconv.transform import add_filter_gradients, spectrum


@runtime_checkable
class Convolve(Protocol):
    """Write to out (P, D), at the places that each segment keeps, the convolution of values (P, D)
    with the filters of the spectrum (M, D).
    """

    def __call__(
        self, values: Tensor, spectrum: Tensor, table: Tensor, group: Group, out: Tensor
    ) -> None: ...


@runtime_checkable
class Differentiate(Protocol):
    """Write to grad_values (P, D) what output gradients (P, D) give for the values, added to what
    is there where segments overlap (add), and return the spectrum of the output gradients times
    the conjugate spectrum of the values, summed over the segments: complex (M, D).
    """

    def __call__(
        self,
        grad: Tensor,
        values: Tensor,
        spectrum: Tensor,
        table: Tensor,
        group: Group,
        grad_values: Tensor,
        *,
        add: bool,
    ) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class TransformEngine:
    """Who computes transforms. padded: the places M that a group's size takes."""

    convolve: Convolve
    differentiate: Differentiate
    padded: Callable[[int], int]

    def spectrum(self, after: Tensor, before: Tensor | None, group: Group) -> Tensor:
        return spectrum(after, before if group.later else None, self.padded(group.size))


def convolved(
    engine: TransformEngine,
    inputs: Tensor,  # (B, T, D)
    after: Tensor,  # (D, L)
    before: Tensor | None,  # (D, L)
    table: Tensor,  # (5, S)
    groups: Tensor,  # (G, 5), on the CPU
) -> Tensor:
    """The operator's outputs."""
    values = _places(inputs)
    out = inputs.new_zeros(values.shape)
    for row in groups.tolist():
        group = Group(*row)
        engine.convolve(values, engine.spectrum(after, before, group), table, group, out)
    return out.view(inputs.shape)


def gradients(
    engine: TransformEngine,
    grad: Tensor,  # (B, T, D)
    inputs: Tensor,
    after: Tensor,
    before: Tensor | None,
    table: Tensor,
    groups: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of inputs, after and before; the last is empty where there is no filter."""
    known = [Group(*row) for row in groups.tolist()]
    add = any(group.overlaps for group in known)
    values, grad_places = _places(inputs), _places(grad)
    wide = torch.promote_types(inputs.dtype, torch.float32)
    grad_values = values.new_zeros(values.shape, dtype=wide if add else inputs.dtype)
    taps = torch.promote_types(after.dtype, torch.float32)
    grad_after = torch.zeros_like(after, dtype=taps)
    grad_before = after.new_empty(0) if before is None else torch.zeros_like(before, dtype=taps)
    for group in known:
        correlation = engine.differentiate(
            grad_places, values, engine.spectrum(after, before, group), table, group, grad_values,
            add=add,
        )  # fmt: skip
        add_filter_gradients(correlation, grad_after, grad_before if group.later else None)
    return (
        grad_values.view(inputs.shape).to(inputs.dtype),
        grad_after.to(after.dtype),
        grad_before.to(after.dtype),
    )


def operator(
    name: str, engine: TransformEngine
) -> tuple[Callable[..., Tensor], Callable[..., tuple[Tensor, Tensor, Tensor]]]:
    """`convolved` and `gradients` as `archstudy::<name>` and `archstudy::<name>_backward`."""

    @torch.library.custom_op(f"archstudy::{name}", mutates_args=())
    def forward(
        inputs: Tensor, after: Tensor, before: Tensor | None, table: Tensor, groups: Tensor
    ) -> Tensor:
        return convolved(engine, inputs, after, before, table, groups)

    @forward.register_fake
    def _(inputs, after, before, table, groups):
        return inputs.new_empty(inputs.shape)

    @torch.library.custom_op(f"archstudy::{name}_backward", mutates_args=())
    def backward(
        grad: Tensor,
        inputs: Tensor,
        after: Tensor,
        before: Tensor | None,
        table: Tensor,
        groups: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        return gradients(engine, grad, inputs, after, before, table, groups)

    @backward.register_fake
    def _(grad, inputs, after, before, table, groups):
        return (
            inputs.new_empty(inputs.shape),
            after.new_empty(after.shape),
            after.new_empty(0) if before is None else before.new_empty(before.shape),
        )

    def remember(ctx, inputs, output) -> None:
        ctx.save_for_backward(*inputs)

    def derive(ctx, grad):
        before = ctx.saved_tensors[2]
        grad_inputs, grad_after, grad_before = backward(grad, *ctx.saved_tensors)
        return grad_inputs, grad_after, None if before is None else grad_before, None, None

    forward.register_autograd(derive, setup_context=remember)
    return forward, backward


def _places(tensor: Tensor) -> Tensor:
    """(P, D) with unit stride of the channels, without a copy where that is possible."""
    flat = tensor.flatten(0, 1)
    return flat if flat.stride(1) == 1 else flat.contiguous()
