"""The equation of the state-space dual over intervals, written down term by term. Slow, exact, any
float dtype.

With the decay a_k taken as 0 where query k - 1 already sees key k, and for query i with visible
keys [start_i, end_i):

    y_i = C_i . sum_{j in [start_i, end_i)} exp(a_{j+1} + ... + a_i) B_j dt_j x_j

Causal intervals give Mamba-2's SSD (Dao and Gu 2024, equation 16); where a query sees all, every
decay is 0 and each y_i reads the one global state of VSSD (Shi et al. 2024). A prefix is
non-causal over itself, and what follows it continues from its state.

Axes: B rows, T positions, H heads, P head width, N state width.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from kernels.ssd.arguments import check
from kernels.visibility import Visibility


def effective_decay(
    decay: Float[Tensor, "B T H"], visibility: Visibility
) -> Float[Tensor, "B T H"]:
    """The decay as the equation has it: 0 where the query before already sees the key."""
    index = torch.arange(1, decay.shape[1], device=decay.device)
    seen = (visibility.end[:, :-1] > index) & (visibility.start[:, :-1] <= index)
    seen = torch.nn.functional.pad(seen, (1, 0))
    return decay.masked_fill(seen[..., None], 0.0)


def ssd_reference(
    inputs: Float[Tensor, "B T H P"],
    decay: Float[Tensor, "B T H"],
    write: Float[Tensor, "B T H N"],
    read: Float[Tensor, "B T H N"],
    visibility: Visibility,
    *,
    initial_state: Float[Tensor, "B H P N"] | None = None,
) -> tuple[Float[Tensor, "B T H P"], Float[Tensor, "B H P N"]]:
    """(outputs, state after the last position); see `kernels.ssd.ssd`."""
    check(inputs, decay, write, read, visibility, initial_state)
    a = effective_decay(decay, visibility)
    length = a.shape[1]
    # exponent[i, j] = a_{j+1} + ... + a_i, empty and so 0 for j >= i
    later = torch.ones(length, length, dtype=torch.bool, device=a.device).tril(
        -1
    )  # row k, column j
    terms = a.transpose(1, 2)[..., None] * later  # (B, H, k, j): a_k where k > j
    exponent = terms.cumsum(2).masked_fill(~later, 0.0)
    visible = visibility.dense()[:, None]
    weight = torch.where(visible, exponent, -torch.inf).exp()
    scores = torch.einsum("bihn,bjhn->bhij", read, write) * weight
    outputs = torch.einsum("bhij,bjhp->bihp", scores, inputs)
    # The state after the last position is what a query there would read.
    end_weight = weight[:, :, -1]  # (B, H, j)
    state = torch.einsum("bhj,bjhp,bjhn->bhpn", end_weight, inputs, write)
    if initial_state is not None:
        from_start = (
            a.cumsum(1).exp() * (visible.any(-1)[:, 0] & (visibility.start == 0))[..., None]
        )
        carried = torch.einsum("bihn,bhpn->bihp", read, initial_state)
        outputs = outputs + from_start[..., None] * carried
        state = state + from_start[:, -1, :, None, None] * initial_state
    return outputs, state
