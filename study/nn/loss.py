"""Cross-entropy with z-loss at the loss positions, summed, straight from the last states.

    loss = sum_n [ log Z_n - logit_n(label_n) + z * log^2 Z_n ],  Z_n = sum_v exp logit_n(v)
    logit_n(v) = sum_m state_n(m) * weight_v(m)

The logits of all positions never exist at once: a block of rows that fits the cache is multiplied
out, summed, and turned into its gradient in the same buffer, so that the backward pass only scales
what is there (as in Liger Kernel, Hsu et al. 2024; torch's own `linear_cross_entropy` has no
z-loss and made nothing faster on a CPU). The gradient with respect to the logits is written out, as
in t5x's `cross_entropy_with_logits`. How the sum is normalised is the loop's part.

Axes: N loss positions, M model width, V vocabulary, R rows of a block.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from study.nn.cost import rows_of_block


class Loss(NamedTuple):
    """Sums over the loss positions, in float32 at least. total: of both parts, and the only one
    that a gradient goes through.
    """

    total: Tensor
    cross_entropy: Tensor
    z_term: Tensor


def _block(logits: Tensor, labels: Tensor, z_loss: float) -> tuple[Tensor, Tensor, Tensor]:
    """Of (R, V) logits: both sums, and the gradient of their sum in the logits' own type."""
    wide = logits if logits.dtype == torch.float64 else logits.float()
    largest = wide.amax(-1, keepdim=True)
    exponents = (wide - largest).exp_()
    sums = exponents.sum(-1, keepdim=True)
    log_z = largest + sums.log()  # (R, 1)
    picked = wide.gather(-1, labels[:, None])
    through = 1.0 + (2.0 * z_loss) * log_z
    grad = (exponents * (through / sums)).to(logits.dtype)
    return (log_z - picked).sum(), z_loss * log_z.square().sum(), grad


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        labels: Tensor,
        z_loss: float,
        dtype: torch.dtype,
        block: Callable[..., tuple[Tensor, Tensor, Tensor]],
    ) -> tuple[Tensor, Tensor, Tensor]:
        narrow, matrix = states.to(dtype), weight.to(dtype)
        wide = torch.promote_types(dtype, torch.float32)
        cross_entropy, z_term = (states.new_zeros((), dtype=wide) for _ in range(2))
        with_grad = any(ctx.needs_input_grad)
        grad_states = torch.empty_like(narrow) if with_grad else None
        grad_weight = torch.zeros_like(weight, dtype=wide) if with_grad else None
        rows = rows_of_block(weight.shape[0], device=states.device.type)
        for low in range(0, len(labels), rows):
            some, own = narrow[low : low + rows], labels[low : low + rows]
            # A last block of another size would be compiled anew at every step.
            whole = len(own) == rows
            one, z_one, grad = (block if whole else _block)(some @ matrix.T, own, z_loss)
            cross_entropy, z_term = cross_entropy + one, z_term + z_one
            if grad_states is not None and grad_weight is not None:
                grad[torch.arange(len(own), device=own.device), own] -= 1.0
                torch.mm(grad, matrix, out=grad_states[low : low + rows])
                grad_weight += grad.T @ some
        ctx.kinds = states.dtype, weight.dtype
        if grad_states is not None and grad_weight is not None:
            ctx.save_for_backward(grad_states, grad_weight)
        ctx.mark_non_differentiable(cross_entropy, z_term)
        return cross_entropy + z_term, cross_entropy, z_term

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        by_states, by_weight = ctx.saved_tensors
        for_states, for_weight = ctx.kinds
        scale = grads[0]
        # Widened before it is scaled: a loss divided by its tokens would underflow in 16 bits.
        scaled = by_states.to(for_states) * scale, (by_weight * scale).to(for_weight)
        return *scaled, None, None, None, None


def linear_cross_entropy(
    states: Float[Tensor, "N M"],
    weight: Float[Tensor, "V M"],
    labels: Int64[Tensor, " N"],
    *,
    z_loss: float,
    compiled: Callable[[Any], Any] | None = None,
) -> Loss:
    """Under autocast the products are of its 16-bit type, and what they give is summed in float32.
    compiled: what wraps the work on a block, such as torch.compile; None leaves it.
    """
    device = states.device.type
    dtype = states.dtype
    if torch.is_autocast_enabled(device) and dtype != torch.float64:
        dtype = torch.get_autocast_dtype(device)
    block = _block if compiled is None else compiled(_block)
    with torch.autocast(device, enabled=False):
        found = _LinearCrossEntropy.apply(states, weight, labels, z_loss, dtype, block)
    return Loss(*found)  # type: ignore[misc]
