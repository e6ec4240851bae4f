"""Position schemes: rotary embedding, and T5's relative bias by distance.

`rope` rotates queries and keys of self-attention by their positions (Su et al. 2021). The T5
schemes add a learned bias per head and distance bucket to the scores (Raffel et al. 2020, section
2.1). "Later" is a key after the query:

| scheme          | stack                  | buckets                          | tables          |
|-----------------|------------------------|----------------------------------|-----------------|
| `t5_bias`       | encoder                | 32 bidirectional                 | one a stack     |
|                 | encoder-decoder's dec. | 32 causal                        | one a stack     |
|                 | decoder alone          | 32 causal, 16 later (from zero)  | one a stack     |
| `t5_bias_paper` | encoder                | 32 bidirectional                 | one a stack     |
|                 | encoder-decoder's dec. | 32 causal                        | one a stack     |
|                 | decoder alone          | 32 causal, later ones in bucket 0| one a layer     |

Cross-attention has no positions under any scheme.

Distance is key index minus query index. Packed segments are contiguous, so within one of them the
difference of indices is the difference of positions.

Owns tables and buckets, not the attention that uses them. Axes: B rows, T queries, D head width, N
distances, H heads.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from kernels.attention import RelativeBias
from study.nn.constants import NUM_BUCKETS, NUM_LATER_BUCKETS

MAX_DISTANCE = 128
ROPE_BASE = 10_000.0


def rotation(
    positions: Int[Tensor, "B T"], *, d_head: int, dtype: torch.dtype
) -> tuple[Float[Tensor, "B 1 T D"], Float[Tensor, "B 1 T D"]]:
    """Cosine and signed sine of every position's angles: what `rotate` takes.

    Angles are computed in float32, or float64 for a float64 model: bf16 cannot hold a position.
    """
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    exponent = torch.arange(0, d_head, 2, dtype=wide, device=positions.device) / d_head
    angles = positions[..., None].to(wide) * ROPE_BASE**-exponent  # (B, T, D / 2)
    cosine, sine = angles.cos(), angles.sin()
    return (
        torch.cat((cosine, cosine), -1)[:, None],
        torch.cat((-sine, sine), -1)[:, None],
    )


def rotate(
    states: Float[Tensor, "B H T D"],
    angles: tuple[Float[Tensor, "B 1 T D"], Float[Tensor, "B 1 T D"]],
) -> Float[Tensor, "B H T D"]:
    """Rotate the pairs (d, d + D / 2). A roll by half the width swaps them; the sine is signed."""
    cosine, sine = angles
    return states * cosine + states.roll(states.shape[-1] // 2, -1) * sine


def _log_buckets(distance: Tensor, *, num_buckets: int) -> Tensor:
    """T5's buckets of non-negative distances: half of them exact, the rest logarithmic up to
    MAX_DISTANCE.
    """
    exact = num_buckets // 2
    # float32 and this order of operations, since a bucket's edge depends on their rounding.
    far = (
        exact
        + (
            torch.log(distance.float() / exact)
            / math.log(MAX_DISTANCE / exact)
            * (num_buckets - exact)
        ).long()
    )
    return torch.where(distance < exact, distance, far.clamp(max=num_buckets - 1))


def bidirectional_buckets(distance: Int[Tensor, " N"]) -> Int[Tensor, " N"]:
    """Buckets 0..15 for keys at or before the query, 16..31 for later ones."""
    later = (distance > 0).long() * NUM_LATER_BUCKETS
    return later + _log_buckets(distance.abs(), num_buckets=NUM_LATER_BUCKETS)


def causal_buckets(distance: Int[Tensor, " N"]) -> Int[Tensor, " N"]:
    """Buckets 0..31 for keys at or before the query; later keys fall in bucket 0, as the query
    itself does.
    """
    return _log_buckets((-distance).clamp(min=0), num_buckets=NUM_BUCKETS)


def causal_and_later_buckets(distance: Int[Tensor, " N"]) -> Int[Tensor, " N"]:
    """Causal buckets 0..31, then 32..47 for later keys (the bidirectional scheme's later half)."""
    later = NUM_BUCKETS + _log_buckets(distance.clamp(min=0), num_buckets=NUM_LATER_BUCKETS)
    return torch.where(distance > 0, later, causal_buckets(distance))


_BUCKETS = {
    "bidirectional": bidirectional_buckets,
    "causal": causal_buckets,
    "causal_and_later": causal_and_later_buckets,
}


@lru_cache(maxsize=64)
def _buckets(kind: str, queries: int, keys: int, past: int, device: torch.device) -> Tensor:
    # Kept, and so never a tensor of inference mode: a later training step may need it.
    with torch.inference_mode(False):
        distance = torch.arange(1 - queries - past, keys - past, device=device)
        return _BUCKETS[kind](distance)


def relative_bias(table: nn.Module, *, queries: int, keys: int, past: int) -> RelativeBias:
    """A table's bias for these queries. The table itself gives a tensor: ZeRO 3 fetches a module's
    weights for the backward pass by the tensors that it returns, and finds none inside an object.
    """
    return RelativeBias(table(queries, keys, past), queries)


class BidirectionalTable(nn.Module):
    """An encoder's bias: T5's bidirectional buckets."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(NUM_BUCKETS, heads))

    def forward(self, queries: int, keys: int, past: int = 0) -> Float[Tensor, "H N"]:
        buckets = _buckets("bidirectional", queries, keys, past, self.table.device)
        return self.table[buckets].t()


class CausalTable(nn.Module):
    """A decoder's bias in T5 and in the paper: causal buckets, and bucket 0 for every later key.

    That quirk leaves a non-causal decoder without any distance to its right.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(NUM_BUCKETS, heads))

    def forward(self, queries: int, keys: int, past: int = 0) -> Float[Tensor, "H N"]:
        buckets = _buckets("causal", queries, keys, past, self.table.device)
        return self.table[buckets].t()


class CausalAndLaterTable(nn.Module):
    """A decoder-only model's bias: T5's causal buckets, and a half-table for visible later keys.

    The half-table starts at zero and a causal decoder never moves it, so causal and prefix decoders
    are the same tensors.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(NUM_BUCKETS, heads))
        self.later = nn.Parameter(torch.empty(NUM_LATER_BUCKETS, heads))

    def forward(self, queries: int, keys: int, past: int = 0) -> Float[Tensor, "H N"]:
        buckets = _buckets("causal_and_later", queries, keys, past, self.table.device)
        return torch.cat((self.table, self.later))[buckets].t()
