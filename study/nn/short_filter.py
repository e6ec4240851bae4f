"""A causal filter of a few taps per channel, which stops at its document's beginning.

Axes: B rows, T positions, C channels, W taps.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from kernels.visibility import Visibility


def short_filter(
    states: Float[Tensor, "B T C"],
    taps: Float[Tensor, "C W"],
    visibility: Visibility,
    *,
    before: Float[Tensor, "B O C"] | None = None,
) -> Float[Tensor, "B T C"]:
    """What lies o positions before in the query's document, times taps[:, o], summed over o.

    before: the W - 1 states that documents at the rows' beginnings continue from, the latest last.
    """
    if before is not None:
        joined = torch.cat([before, states], 1)
        went_on = visibility.start == 0
        mixed = states * taps[:, 0]
        index = torch.arange(states.shape[1], device=states.device)
        for offset in range(1, taps.shape[1]):
            place = before.shape[1] - offset
            earlier = joined[:, place : place + states.shape[1]]
            inside = ((index - offset >= visibility.start) | went_on)[..., None]
            mixed = mixed + torch.where(inside, earlier, 0.0) * taps[:, offset]
        return mixed
    index = torch.arange(states.shape[1], device=states.device)
    mixed = states * taps[:, 0]
    for offset in range(1, min(taps.shape[1], states.shape[1])):
        earlier = functional.pad(states, (0, 0, offset, 0))[:, :-offset]
        inside = (index - offset >= visibility.start)[..., None]
        mixed = mixed + torch.where(inside, earlier, 0.0) * taps[:, offset]
    return mixed
