"""The state-space mixer: Mamba-2's block (Dao and Gu 2024, figure 6) over `kernels.ssd`.

    v, w, r, step, gate = projections of the hidden states; v, w, r pass a short causal filter
    y = ssd(step v, -exp(log_decay) step, w, r) + skip v
    out = output(norm(y silu(gate)))

Causal or not is the `Visibility`'s business: causal and prefix decoders are the same tensors. The
short filter is causal everywhere and stops at its document's beginning. There is no cross form: a
decoder that reads a source keeps cross-attention. VSSD's multi-scan belongs to images and is not
here. Axes: B rows, T positions, H heads, P head width, N state width, C channels, M model width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from kernels.backend import without_autocast
from kernels.ssd import ssd
from kernels.visibility import Visibility
from study.nn.attention import Mixing
from study.nn.constants import NORM_EPSILON, STATE_TAPS
from study.nn.filters import short_filter
from study.nn.shape import StackShape


@dataclass(kw_only=True, eq=False)
class StatePassing:
    """What a state-space layer continues from, and what it leaves behind.

    before, after: the inputs of the short filter's earlier taps (B, taps - 1, C), zero where there
    is nothing, and the state (B, H, P, N). before: None at a document's beginning.
    """

    before: tuple[Tensor, Tensor] | None = None
    after: tuple[Tensor, Tensor] | None = None


class StateSpace(nn.Module):
    """One state-space mixer. dropout: of whole values, as in `study.nn.attention.Attention`.

    `passing` hands a document's state over from one call to the next; all rows of a call that
    leaves one end in its last column.
    """

    def __init__(self, model: StackShape, *, dropout: float) -> None:
        super().__init__()
        inner, states = model.heads * model.d_head, model.heads * model.d_state
        self.heads = model.heads
        self.dropout = dropout
        self.value = nn.Linear(model.d_model, inner, bias=False)
        self.write = nn.Linear(model.d_model, states, bias=False)
        self.read = nn.Linear(model.d_model, states, bias=False)
        self.step = nn.Linear(model.d_model, model.heads, bias=False)
        self.gate = nn.Linear(model.d_model, inner, bias=False)
        self.output = nn.Linear(inner, model.d_model, bias=False)
        self.short = nn.Parameter(torch.empty(inner + 2 * states, STATE_TAPS))
        self.step_bias = nn.Parameter(torch.empty(model.heads))
        self.log_decay = nn.Parameter(torch.empty(model.heads))
        self.skip = nn.Parameter(torch.empty(model.heads))
        self.state_norm = nn.Parameter(torch.empty(inner))

    def forward(
        self, hidden: Float[Tensor, "B T M"], mixing: Mixing, *, passing: StatePassing | None = None
    ) -> Float[Tensor, "B T M"]:
        drawn = [self.value(hidden), self.write(hidden), self.read(hidden)]
        joined = torch.cat(drawn, -1)
        taps, state = (None, None) if passing is None or passing.before is None else passing.before
        filtered = short_filter(joined, self.short, mixing.visibility, before=taps)
        mixed = functional.silu(filtered)
        value, write, read = (
            part.unflatten(-1, (self.heads, -1))
            for part in mixed.split([each.shape[-1] for each in drawn], -1)
        )
        if self.training and self.dropout > 0.0:
            value = value * functional.dropout(torch.ones_like(value[..., :1]), self.dropout)
        step = self.step(hidden)
        # Sums over a document lose their small terms in 16 bits, under autocast too.
        with without_autocast(hidden.device):
            wide = torch.promote_types(self.skip.dtype, torch.float32)
            step = functional.softplus(step.to(wide) + self.step_bias)
            decay = -self.log_decay.exp() * step
            inputs = (step[..., None] * value).to(value.dtype)
            states, last = ssd(inputs, decay, write, read, mixing.visibility, initial_state=state)
            states = (states + self.skip[:, None] * value).flatten(2)
        if passing is not None and passing.before is None:
            passing.after = _last_inputs(joined, mixing.visibility), last
        states = states * functional.silu(self.gate(hidden))
        return self.output(
            functional.rms_norm(states, states.shape[-1:], self.state_norm, NORM_EPSILON)
        )


def _last_inputs(joined: Float[Tensor, "B T C"], visibility: Visibility) -> Float[Tensor, "B O C"]:
    """The last document's newest inputs of the short filter, zero where it had not begun."""
    wanted = STATE_TAPS - 1
    newest = joined[:, -wanted:]
    index = torch.arange(joined.shape[1], device=joined.device)[-wanted:]
    newest = newest * (index >= visibility.start[:, -1:])[..., None]
    return functional.pad(newest, (0, 0, wanted - newest.shape[1], 0))
