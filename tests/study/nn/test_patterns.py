"""The table of mixers and patterns says what the kernels do."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from kernels.attention import attention
from kernels.longconv import longconv
from kernels.ssd import ssd
from kernels.visibility import Visibility, causal, full, packed
from study.language.values.model import Mixer
from study.nn.patterns import PATTERNS, SERVED, PatternSupport

T, S = 6, 9


def visibility(pattern: str) -> Visibility:
    index = torch.arange(1, T + 1, dtype=torch.int32)[None]
    match pattern:
        case "causal_self":
            return causal(rows=1, length=T)
        case "noncausal_self":
            return full(rows=1, queries=T, num_keys=T)
        case "prefix_self":
            return packed([[(T, 3)]], length=T)
        case "noncausal_cross":
            return full(rows=1, queries=T, num_keys=S)
        case "causal_cross":
            return Visibility.build(torch.zeros_like(index), index + 2, num_keys=S)
    raise ValueError(pattern)


def mix(mixer: str, given: Visibility) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(1, 2, T, 4, generator=generator)
    key = torch.randn(1, 2, given.num_keys, 4, generator=generator)
    if mixer == "attention":
        return attention(query, key, key, given, bias=None, scale=1.0)
    states = key.transpose(1, 2)
    if mixer == "monarch":
        taps = torch.randn(8, given.num_keys, generator=generator)
        return longconv(states.flatten(2), taps, taps, given)
    return ssd(states, -states[..., 0].abs(), states, states, given)[0]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("row", SERVED, ids=lambda row: row.mixer)
def test_the_table_is_true(row: PatternSupport, pattern: str):
    if getattr(row, pattern) == "yes":
        assert torch.isfinite(mix(row.mixer, visibility(pattern))).all()
    else:
        with pytest.raises(ValueError, match="legal"):
            mix(row.mixer, visibility(pattern))


def test_every_mixer_has_a_row():
    assert [row.mixer for row in SERVED] == list(get_args(Mixer))
