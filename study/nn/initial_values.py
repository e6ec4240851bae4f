"""The rule that gives every tensor of a model its first values.

Values depend on a seed and on the tensor's own name alone, so that equally named tensors begin
alike in every architecture.
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor

from study.nn.constants import FILTER_FEATURES
from study.nn.shape import StackShape


def initial_values(
    name: str, shape: torch.Size, model: StackShape, generator: torch.Generator | None
) -> Tensor:
    """A tensor's first values: T5's initialisation (Raffel et al. 2020; t5x for the untied head).

    | tensor                     | standard deviation                                      |
    |----------------------------|---------------------------------------------------------|
    | embedding                  | 1                                                       |
    | query                      | (d_model d_head) ** -0.5 under T5's schemes; elsewhere, |
    |                            | where scores are scaled, d_model ** -0.5                |
    | key, value, gate, up, head | d_model ** -0.5                                         |
    | write, read, step          | d_model ** -0.5                                         |
    | short                      | taps ** -0.5                                            |
    | output                     | (heads d_head) ** -0.5                                  |
    | down                       | d_ff ** -0.5                                            |
    | position tables            | d_model ** -0.5; the half-table for later keys is zero  |
    | norms, skip                | all ones                                                |
    | stacks of blocks           | (inputs of a block) ** -0.5                             |

    A state-space mixer's decay is drawn log-uniformly in [1, 16] and its step, through softplus, in
    [0.001, 0.1] (Dao and Gu 2024). A filter's network begins with torch's deviations for a linear
    layer and with frequencies of 10 (Poli et al. 2023); its taps so that a channel's squares sum to
    about 1. Learned bases begin as the monomials, the identity.
    """
    leaf = name.split(".")[-2] if name.endswith(".weight") else name.split(".")[-1]
    match leaf:
        case "low_digits" | "high_digits":
            return torch.eye(shape[1]).expand(shape).clone()
        case _ if len(shape) == 3:
            deviation = shape[2] ** -0.5
        case "first" | "second" | "third" if name.endswith(".weight"):
            deviation = (3 * shape[1]) ** -0.5
        case "taps":
            deviation = 5.5 * (shape[1] * model.span) ** -0.5
        case "bias":
            deviation = (3 * FILTER_FEATURES) ** -0.5
        case "frequency":
            return torch.full(shape, 10.0)
        case "embedding":
            deviation = 1.0
        case "query" if model.positions in ("t5_bias", "t5_bias_paper"):
            deviation = (model.d_model * model.d_head) ** -0.5
        case "query" | "key" | "value" | "gate" | "up" | "head" | "table":
            deviation = model.d_model**-0.5
        case "write" | "read" | "step":
            deviation = model.d_model**-0.5
        case "short":
            deviation = shape[1] ** -0.5
        case "log_decay":
            return torch.empty(shape).uniform_(1.0, 16.0, generator=generator).log()
        case "step_bias":
            low, high = math.log(1e-3), math.log(1e-1)
            step = torch.empty(shape).uniform_(low, high, generator=generator).exp()
            return step + torch.log(-torch.expm1(-step))  # softplus, backwards
        case "skip":
            return torch.ones(shape)
        case "output":
            deviation = (model.heads * model.d_head) ** -0.5
        case "down":
            deviation = model.d_ff**-0.5
        case "later":
            return torch.zeros(shape)
        case _ if leaf.endswith("norm"):
            return torch.ones(shape)
        case _:
            raise ValueError(f"no initialisation is known for {name!r}")
    return torch.empty(shape).normal_(0.0, deviation, generator=generator)


def seeded(name: str, seed: int) -> torch.Generator:
    """A generator of the tensor's own: equally named tensors begin alike in every architecture."""
    digest = hashlib.sha256(f"initialise/{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
