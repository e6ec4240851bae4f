"""Filters of any length out of few numbers: a network reads a tap's position and gives its value.

Hyena's filter (Poli et al. 2023, section 3.3) as Monarch Mixer uses it (Fu et al. 2023):

    z_t = [t, cos(2 pi f t), -sin(2 pi f t)] for each band f,   t = position / span
    taps[c, position] = exp(-t rate_c) (W_4 sin(w W_3 sin(w W_2 sin(w (W_1 z + b)) ...)))_c

with learnable frequencies w. The rates are fixed, one a channel, so that channels remember from a
third of the span to more than all of it. Beyond the span a filter goes on and fades.

The network is computed in float64: its sines multiply a rounded position by their frequencies, and
in float32 that is ten times the rounding of all the rest of a model (2.1e-6 of a log-likelihood;
1.3e-7 now). A filter is read once for all rows, so this costs next to nothing.

A short filter has a few taps per channel, is causal, and stops at its document's beginning.

Axes: L taps, D channels, F width of the network; B rows, T positions, C channels, W short taps.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from kernels.backend import without_autocast
from kernels.visibility import Visibility
from study.nn.constants import FILTER_BANDS, FILTER_FEATURES

TARGET, FAST, SLOW = 1e-2, 0.3, 1.5
"""exp(-t rate) reaches TARGET at FAST spans in the fastest channel and at SLOW in the slowest."""


class _Wide(nn.Linear):
    """A linear map in float64, whatever its parameters' type."""

    def forward(self, states: Float[Tensor, "L A"]) -> Float[Tensor, "L B"]:
        bias = None if self.bias is None else self.bias.double()
        return functional.linear(states, self.weight.double(), bias)


class ImplicitFilter(nn.Module):
    """One filter a channel. span: the positions that t = 0 to 1 covers."""

    def __init__(self, channels: int, *, width: int, span: int) -> None:
        super().__init__()
        self.span = span
        self.channels = channels
        self.first = _Wide(FILTER_FEATURES, width)
        self.second = _Wide(width, width)
        self.third = _Wide(width, width)
        self.taps = _Wide(width, channels, bias=False)
        self.frequency = nn.Parameter(torch.empty(width))

    def forward(self, length: int) -> Float[Tensor, "D L"]:
        """The first `length` taps, in the parameters' type: under autocast too."""
        device, dtype = self.frequency.device, self.frequency.dtype
        frequency = self.frequency.double()
        with without_autocast(device):
            time = torch.arange(length, device=device, dtype=torch.float64) / self.span
            hidden = _features(time)
            for layer in (self.first, self.second, self.third):
                hidden = torch.sin(frequency * layer(hidden))
            fastest, slowest = (math.log(1 / TARGET) / each for each in (FAST, SLOW))
            rate = torch.linspace(
                slowest, fastest, self.channels, device=device, dtype=torch.float64
            )
            return (self.taps(hidden).t() * torch.exp(-rate[:, None] * time)).to(dtype)


def _features(time: Float[Tensor, " L"]) -> Float[Tensor, "L 5"]:
    bands = torch.linspace(
        1e-4, FILTER_BANDS - 1, FILTER_BANDS, device=time.device, dtype=time.dtype
    )
    angle = 2 * math.pi * bands * time[:, None]
    return torch.cat([time[:, None], angle.cos(), -angle.sin()], -1)


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
