"""torch's vector functions on a CPU, each called once by one thread before anyone computes.

torch hands cos, exp, sqrt and the like to MKL, which looks for the right code at a function's first
call. Before MKL 2025, where several threads make that call at once, one of them may get a fast form
that is wrong by up to 1.5e-4, for its whole share of that one call (pytorch issue 188792; torch
2.13 has MKL 2024.2). The angles of a process's first batch are such a call: here a model's
isolation test saw it, in one run of about a hundred with two threads.
"""

from __future__ import annotations

import torch

FUNCTIONS = (
    torch.acos, torch.asin, torch.atan, torch.cos, torch.erf, torch.erfc, torch.erfinv, torch.exp,
    torch.log, torch.log10, torch.log2, torch.sin, torch.sqrt, torch.tan, torch.tanh, torch.trunc,
)  # fmt: skip
"""What torch hands to MKL (its `aten/src/ATen/cpu/vml.h`), in float32 and float64."""


def make_first_calls() -> None:
    """Make every first call, of one number: too few for a second thread."""
    for dtype in (torch.float32, torch.float64):
        one = torch.full((1,), 0.5, dtype=dtype, device="cpu")
        for function in FUNCTIONS:
            function(one)
