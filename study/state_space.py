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

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from kernels.ssd import ssd
from study.mixers import Mixing
from study.run import Model
from study.short_filter import short_filter

SHORT_TAPS = 4


class StateSpace(nn.Module):
    """One state-space mixer. dropout: of whole values, as in `study.mixers.Attention`."""

    def __init__(self, model: Model, *, dropout: float) -> None:
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
        self.short = nn.Parameter(torch.empty(inner + 2 * states, SHORT_TAPS))
        self.step_bias = nn.Parameter(torch.empty(model.heads))
        self.log_decay = nn.Parameter(torch.empty(model.heads))
        self.skip = nn.Parameter(torch.empty(model.heads))
        self.state_norm = nn.Parameter(torch.empty(inner))

    def forward(self, hidden: Float[Tensor, "B T M"], mixing: Mixing) -> Float[Tensor, "B T M"]:
        drawn = [self.value(hidden), self.write(hidden), self.read(hidden)]
        mixed = functional.silu(short_filter(torch.cat(drawn, -1), self.short, mixing.visibility))
        value, write, read = (
            part.unflatten(-1, (self.heads, -1))
            for part in mixed.split([each.shape[-1] for each in drawn], -1)
        )
        if self.training and self.dropout > 0.0:
            value = value * functional.dropout(torch.ones_like(value[..., :1]), self.dropout)
        step = self.step(hidden)
        # Sums over a document lose their small terms in 16 bits, under autocast too.
        with torch.autocast(hidden.device.type, enabled=False):
            wide = torch.promote_types(self.skip.dtype, torch.float32)
            step = functional.softplus(step.to(wide) + self.step_bias)
            decay = -self.log_decay.exp() * step
            inputs = (step[..., None] * value).to(value.dtype)
            states, _ = ssd(inputs, decay, write, read, mixing.visibility)
            states = (states + self.skip[:, None] * value).flatten(2)
        states = states * functional.silu(self.gate(hidden))
        return self.output(functional.rms_norm(states, states.shape[-1:], self.state_norm, 1e-6))
