"""A laid-out batch in two halves: what the targets of a context share, and what is each one's own.

Owns how the halves follow from `study.language.layout`'s own batches, so that no second layout
exists, and what a stack hands from the one to the other. Decoders only: an encoder-decoder's halves
are its two stacks. Everything that is shared ends in one column, so that a row's keys stay an
interval.

Axes: B rows, T positions, W shared columns, C channels, H heads, P head width, N state width.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from kernels.visibility import Visibility
from study.language.layout import PAD, Batch
from study.nn.state_space import StatePassing

Carried = tuple[tuple[Tensor, Tensor], ...]
"""Per layer two tensors, one row a context: keys and values, or `StatePassing.after`."""


def flush_right(batch: Batch) -> Batch:
    """The same rows with their padding on the left, so that every row ends in the last column."""
    used = (batch.segments > 0).sum(-1)
    width = batch.tokens.shape[1]
    shift = (width - used)[:, None]
    index = torch.arange(width)[None].expand(len(used), -1)
    come_from, real = (index - shift).clamp(min=0), index >= shift

    def moved(values: Tensor) -> Tensor:
        return values.gather(1, come_from).masked_fill(~real, 0)

    first = shift.expand_as(index).int()
    start = torch.where(real, batch.visibility.start.gather(1, come_from) + first, first)
    end = torch.where(real, batch.visibility.end.gather(1, come_from) + first, first)
    return replace(
        batch,
        tokens=moved(batch.tokens),
        labels=moved(batch.labels),
        loss_mask=batch.loss_mask.gather(1, come_from) & real,
        positions=moved(batch.positions),
        segments=moved(batch.segments),
        visibility=Visibility.build(start, end, num_keys=width),
    )


def own_half(batch: Batch, *, shared: Int64[Tensor, " B"], width: int) -> Batch:
    """What follows the first `shared` positions of every row, over the keys of `width` shared
    columns and its own.

    batch: one segment a row, padded on the right, on the CPU. Padding sees nothing.
    """
    used = (batch.segments > 0).sum(-1)
    own = used - shared
    columns = max(int(own.max()), 1)
    index = torch.arange(columns)[None].expand(len(used), -1)
    real = index < own[:, None]
    come_from = (shared[:, None] + index).clamp(max=batch.tokens.shape[1] - 1)
    shift = (width - shared)[:, None].int()
    last = (used[:, None] + shift).expand_as(index).int()
    start = torch.where(real, batch.visibility.start.gather(1, come_from) + shift, last)
    end = torch.where(real, batch.visibility.end.gather(1, come_from) + shift, last)

    def moved(values: Tensor) -> Tensor:
        return values.gather(1, come_from).masked_fill(~real, PAD)

    return replace(
        batch,
        tokens=moved(batch.tokens),
        labels=moved(batch.labels),
        loss_mask=batch.loss_mask.gather(1, come_from) & real,
        positions=moved(batch.positions),
        segments=moved(batch.segments),
        visibility=Visibility.build(start, end, num_keys=width + columns),
    )


def without_shared(visibility: Visibility, *, width: int) -> Visibility:
    """An own half's intervals over its own columns alone, for a mixer that carries a state instead
    of keys.
    """
    start = (visibility.start - width).clamp(min=0)
    end = torch.where(visibility.end == visibility.start, start, visibility.end - width)
    return Visibility.build(start, end, num_keys=visibility.num_keys - width)


class Kept:
    """The caches of a first half: every layer's keys and values, or its state, as they come."""

    def __init__(self, *, layers: int, mixer: str) -> None:
        self._states = [StatePassing() for _ in range(layers)] if mixer == "ssd" else None
        self._keys: list[tuple[Tensor, Tensor]] = []
        self.caches: list[Any] = self._states or [self._keep] * layers

    def _keep(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        self._keys.append((key, value))
        return key, value

    @property
    def carried(self) -> Carried:
        if self._states is None:
            return tuple(self._keys)
        return tuple(each.after for each in self._states if each.after is not None)


class ExtendedCaches:
    """The caches of a middle half, which goes on from what was carried and is gone on from: the
    keys and values of both, ended in the last column. Attention only.

    rows: which context each row goes on from. spare: columns of padding at each row's end.
    """

    def __init__(
        self, carried: Carried, rows: Int64[Tensor, " B"], *, spare: Int64[Tensor, " B"]
    ) -> None:
        self._rows, self._spare = rows, spare
        self._keys: list[tuple[Tensor, Tensor]] = []
        self.caches: list[Any] = [partial(self._grow, each) for each in carried]

    def _grow(
        self, before: tuple[Tensor, Tensor], key: Tensor, value: Tensor
    ) -> tuple[Tensor, Tensor]:
        joined = _joined(before, self._rows, key, value)
        self._keys.append((_ended(joined[0], self._spare), _ended(joined[1], self._spare)))
        return joined

    @property
    def carried(self) -> Carried:
        return tuple(self._keys)


def caches(carried: Carried, rows: Int64[Tensor, " B"], *, mixer: str) -> list[Any]:
    """The caches of a second half, whose row b goes on from the context `rows[b]`."""
    if mixer == "ssd":
        return [
            StatePassing(before=(taps.index_select(0, rows), state.index_select(0, rows)))
            for taps, state in carried
        ]
    return [partial(_joined, each, rows) for each in carried]


def _joined(
    carried: tuple[Float[Tensor, "R H W D"], Float[Tensor, "R H W E"]],
    rows: Int64[Tensor, " B"],
    key: Float[Tensor, "B H T D"],
    value: Float[Tensor, "B H T E"],
) -> tuple[Float[Tensor, "B H S D"], Float[Tensor, "B H S E"]]:
    # Copied layer by layer, so that only one layer's keys are there once for every target.
    keys, values = (
        _beside(before, rows, own) for before, own in zip(carried, (key, value), strict=True)
    )
    return keys, values


def _beside(
    carried: Float[Tensor, "R H W D"], rows: Int64[Tensor, " B"], own: Float[Tensor, "B H T D"]
) -> Float[Tensor, "B H S D"]:
    """Each row's carried columns and its own, copied once."""
    width = carried.shape[2]
    joined = own.new_empty(*own.shape[:2], width + own.shape[2], own.shape[3])
    torch.index_select(carried, 0, rows, out=joined[:, :, :width])
    joined[:, :, width:] = own
    return joined


def _ended(
    states: Float[Tensor, "B H S D"], spare: Int64[Tensor, " B"]
) -> Float[Tensor, "B H S D"]:
    """Every row moved right by its spare columns; what is left of it then, nobody sees."""
    columns = torch.arange(states.shape[2], device=states.device)[None] - spare[:, None]
    index = columns.clamp(min=0)[:, None, :, None]
    return states.gather(2, index.expand_as(states))
