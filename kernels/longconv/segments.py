"""What a long convolution has to do for a `Visibility`: segments of documents, grouped by length.

A document is one segment: a convolution of its places, with the filter for keys up to the query
alone where it is causal and with both filters where all of it is prefix. A document with a prefix
of its own is two: the prefix, as a document that is all prefix, and the whole, causal, kept behind
the prefix. Their outputs do not overlap, and what follows a prefix takes no part in its transforms.

Segments of like length (a power of two, at most the rows' length) and like filters are a group: one
batch of transforms. Found on the CPU, once per `Visibility`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from kernels.visibility import Documents, Visibility

_SEGMENTS = "_segments_of_longconv"
SHORTEST = 16
FIRST, BEGIN, LIMIT, LOW, HIGH = range(5)


class Group(NamedTuple):
    """Segments [first, last) of the table. size: no segment is longer. later: whether they have the
    filter for later keys. overlaps: whether some keep only places behind a prefix.
    """

    size: int
    later: int
    overlaps: int
    first: int
    last: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Segments:
    """table: a segment's first place in the flattened rows; places [begin, limit) from there that
    are convolved (begin is 0); places [low, high) that are kept. On the visibility's device.
    groups: the fields of each `Group`, on the CPU, so that nothing waits for a device. longest: the
    longest document. any_later: whether some query sees a later key.
    """

    table: Int64[Tensor, "5 S"]
    groups: Int64[Tensor, "G 5"]
    longest: int
    any_later: bool


def rows_of(
    table: Int64[Tensor, "5 S"], group: Group, low: int, high: int
) -> tuple[Int64[Tensor, "N M"], Bool[Tensor, "N M"]]:
    """Each segment's places in the flattened rows, and which lie in [table[low], table[high])."""
    each = table[:, group.first : group.last, None]
    offset = torch.arange(group.size, device=table.device)
    real = (offset >= each[low]) & (offset < each[high])
    return torch.where(real, each[FIRST] + offset, 0), real


def segments(visibility: Visibility) -> Segments:
    """Raises ValueError on intervals that are not causal documents with prefixes."""
    known = getattr(visibility, _SEGMENTS, None)
    if known is None:
        known = _segments(visibility.documents, visibility)
        vars(visibility)[_SEGMENTS] = known
    return known


def _segments(documents: Documents, visibility: Visibility) -> Segments:
    length = visibility.start.shape[1]
    first = documents.row * length + documents.start
    prefix = torch.where(documents.prefix > 1, documents.prefix, 0)
    zero = torch.zeros_like(first)
    # (first, begin, limit, low, high) of what is all prefix, and of what is causal
    whole = torch.stack([first, zero, prefix, zero, prefix])[:, prefix > 0]
    behind = prefix < documents.length
    causal = torch.stack([first, zero, documents.length, prefix, documents.length])[:, behind]
    found, tables, taken = [], [], 0
    for later, table in ((0, causal), (1, whole)):
        sizes = _padded(table[LIMIT])
        for size in sizes.unique().tolist():
            chosen = table[:, sizes == size]
            last = taken + chosen.shape[1]
            overlaps = int(bool((chosen[LOW] > 0).any()))
            found.append(Group(min(size, length), later, overlaps, taken, last))
            tables.append(chosen)
            taken = last
    return Segments(
        table=torch.cat([*tables, causal[:, :0]], 1).to(visibility.start.device),
        groups=torch.tensor(found, dtype=torch.int64).view(-1, len(Group._fields)),
        longest=int(documents.length.max()) if len(first) else 0,
        any_later=documents.any_prefix,
    )


def _padded(lengths: Int64[Tensor, " S"]) -> Int64[Tensor, " S"]:
    """The next power of two, at least SHORTEST. Exact: no logarithm that could round."""
    powers = 2 ** torch.arange(SHORTEST.bit_length() - 1, 63)
    return powers[torch.searchsorted(powers, lengths)]
