"""(inputs, targets) -> the one `Batch` that an architecture eats, packed.

Owns the shift, the packing of segments into rows, positions, loss mask and visibility of all three
architectures, for training and for scoring alike, so that an off-by-one cannot exist in only one of
them. Knows nothing of objectives (`study.language.objectives` makes the segments) and nothing of
where tokens come from (`study.language.data`).

Axes: B rows, T decoder positions, S source positions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from jaxtyping import Bool, Int32, Int64
from torch import Tensor

from kernels.visibility import Visibility
from study.language.values.model import Architecture

PAD = 0
END_OF_SEQUENCE = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Segment:
    """One independent piece: what one document, chunk or prompted example becomes. int32 vectors.

    Empty inputs leave a language model on the targets; empty targets carry no loss.
    """

    inputs: np.ndarray
    targets: np.ndarray


Row = tuple[Segment, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceSide:
    """What an encoder reads, and which of it each decoder position sees.

    visibility: encoder self-attention. cross: decoder queries over source keys.
    segments: as in `Batch`.
    """

    tokens: Int64[Tensor, "B S"]
    positions: Int32[Tensor, "B S"]
    visibility: Visibility
    cross: Visibility
    segments: Int32[Tensor, "B S"]

    def to(self, device: torch.device | str) -> SourceSide:
        return SourceSide(
            tokens=self.tokens.to(device),
            positions=self.positions.to(device),
            visibility=self.visibility.to(device),
            cross=self.cross.to(device),
            segments=self.segments.to(device),
        )

    def rows(self, low: int, high: int) -> SourceSide:
        return SourceSide(
            tokens=self.tokens[low:high],
            positions=self.positions[low:high],
            visibility=_visibility_rows(self.visibility, low, high),
            cross=_visibility_rows(self.cross, low, high),
            segments=self.segments[low:high],
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Rows of packed segments.

    tokens: decoder inputs, each segment shifted right by one, with pad as its start token.
    labels: what each position predicts; pad (0) where it has no loss.
    positions: counted from 0 in each segment; 0 on padding.
    segments: 1, 2, … within a row, 0 on padding; the source numbers the same segments alike.
    """

    tokens: Int64[Tensor, "B T"]
    labels: Int64[Tensor, "B T"]
    loss_mask: Bool[Tensor, "B T"]
    positions: Int32[Tensor, "B T"]
    visibility: Visibility
    segments: Int32[Tensor, "B T"]
    source: SourceSide | None

    @property
    def num_rows(self) -> int:
        return self.tokens.shape[0]

    @property
    def loss_tokens(self) -> int:
        """Positions with loss. Synchronises on a device: ask before `to`."""
        return int(self.loss_mask.sum())

    @property
    def content_tokens(self) -> int:
        """Positions that are not padding, on both sides."""
        count = int((self.segments > 0).sum())
        return count if self.source is None else count + int((self.source.segments > 0).sum())

    def to(self, device: torch.device | str) -> Batch:
        return Batch(
            tokens=self.tokens.to(device),
            labels=self.labels.to(device),
            loss_mask=self.loss_mask.to(device),
            positions=self.positions.to(device),
            visibility=self.visibility.to(device),
            segments=self.segments.to(device),
            source=None if self.source is None else self.source.to(device),
        )

    def rows(self, low: int, high: int) -> Batch:
        """Rows [low, high) as a batch of their own, on the same memory: micro-batches and ranks."""
        return Batch(
            tokens=self.tokens[low:high],
            labels=self.labels[low:high],
            loss_mask=self.loss_mask[low:high],
            positions=self.positions[low:high],
            visibility=_visibility_rows(self.visibility, low, high),
            segments=self.segments[low:high],
            source=None if self.source is None else self.source.rows(low, high),
        )

    def without_loss(self) -> Batch:
        return replace(self, loss_mask=torch.zeros_like(self.loss_mask))

    def digest(self) -> str:
        """sha256 over every array, its shape and its type; 16 hex digits."""
        state = hashlib.sha256()
        arrays = [self.tokens, self.labels, self.loss_mask, self.positions, self.segments]
        arrays += [self.visibility.start, self.visibility.end]
        if (source := self.source) is not None:
            arrays += [source.tokens, source.positions, source.segments]
            arrays += [source.visibility.start, source.visibility.end]
            arrays += [source.cross.start, source.cross.end]
        for array in arrays:
            numbers = np.ascontiguousarray(array.cpu().numpy())
            state.update(f"{numbers.dtype.str}{numbers.shape}".encode())
            state.update(numbers.data)
        return state.hexdigest()[:16]


def layout(
    rows: Sequence[Row],
    *,
    architecture: Architecture,
    length: int | None = None,
    source_length: int | None = None,
) -> Batch:
    """Pack segments into a batch.

    Decoders get [inputs][targets] of every segment, shifted right: position p of a segment reads
    its token p - 1, position 0 reads the start token, and position P = len(inputs) reads the last
    input and emits the first target. An encoder-decoder gets the inputs in its source and the
    targets, shifted, in its decoder.

    length, source_length: pad to these; None pads to the longest row. A longer row is an error.
    """
    flat = list(chain.from_iterable(rows))
    pieces = _Pieces(
        row=np.repeat(np.arange(len(rows)), [len(row) for row in rows]),
        inputs=np.array([len(segment.inputs) for segment in flat], dtype=np.int64),
        targets=np.array([len(segment.targets) for segment in flat], dtype=np.int64),
        num_rows=len(rows),
    )
    match architecture:
        case "causal_decoder" | "prefix_decoder":
            if source_length is not None:
                raise ValueError(
                    f"source_length is {source_length} for a {architecture}; legal: None"
                )
            content = _concatenate([part for one in flat for part in (one.inputs, one.targets)])
            side = _Side.place(pieces, pieces.inputs + pieces.targets, length, "row")
            prefix = np.repeat(pieces.inputs, side.counts)
            own_end = side.within + 1
            if architecture == "prefix_decoder":
                # The prefix is one position longer than the inputs (the paper's "one extra position
                # to the right"; T5's pack_prefix_lm_decoder_only: range <= split). Everything is
                # shifted right, so position P, which emits the first target, reads the last input:
                # it holds no target, and leaving it out would hide the last input from the prefix.
                prefix_end = np.minimum(prefix + 1, np.repeat(side.counts, side.counts))
                # Without inputs this is 1 at most, no more than the causal end: the causal decoder.
                own_end = np.maximum(own_end, prefix_end)
            return _decoder(side, content, loss=side.within >= prefix, own_end=own_end, source=None)
        case "encoder_decoder":
            content = _concatenate([segment.targets for segment in flat])
            side = _Side.place(pieces, pieces.targets, length, "row")
            source = _source(pieces, side, [one.inputs for one in flat], source_length)
            loss = np.ones(len(content), dtype=bool)
            return _decoder(side, content, loss=loss, own_end=side.within + 1, source=source)
    raise ValueError(
        f"architecture {architecture!r}; legal: causal_decoder, prefix_decoder, encoder_decoder"
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pieces:
    """Where each segment belongs and how long its halves are; all vectors over segments."""

    row: np.ndarray
    inputs: np.ndarray
    targets: np.ndarray
    num_rows: int


@dataclass(frozen=True, kw_only=True, eq=False)
class _Side:
    """Places of the tokens of all segments on one side, in (B, width) arrays read as flat ones.

    Over segments: counts (tokens), begin (first column), first (index of the first token in the
    flat order), number (1, 2, … in its row). Over rows: used (columns filled). Over tokens: places
    (index into the flat array), within (index in the own segment).
    """

    counts: np.ndarray
    begin: np.ndarray
    used: np.ndarray
    places: np.ndarray
    within: np.ndarray
    first: np.ndarray
    number: np.ndarray
    width: int

    @classmethod
    def place(cls, pieces: _Pieces, counts: np.ndarray, width: int | None, name: str) -> _Side:
        used = np.zeros(pieces.num_rows, dtype=np.int64)
        np.add.at(used, pieces.row, counts)
        longest = int(used.max(initial=0))
        if width is None:
            # Attention kernels refuse an axis of length zero; one pad that nobody sees is legal.
            width = max(longest, 1)
        elif longest > width:
            raise ValueError(
                f"{name} {int(used.argmax())} holds {longest} tokens; legal: at most {width}"
            )
        first = np.cumsum(counts) - counts
        row_first = np.cumsum(used) - used
        begin = first - row_first[pieces.row]
        segments_before = np.searchsorted(pieces.row, np.arange(pieces.num_rows))
        return cls(
            counts=counts,
            begin=begin,
            used=used,
            places=np.arange(int(counts.sum()))
            + np.repeat(pieces.row * width + begin - first, counts),
            within=np.arange(int(counts.sum())) - np.repeat(first, counts),
            first=first,
            number=np.arange(len(counts)) - segments_before[pieces.row] + 1,
            width=width,
        )

    def scatter(
        self, values: np.ndarray, dtype: type, background: np.ndarray | None = None
    ) -> Tensor:
        """(B, width), with the values at their places; padding holds 0 or its row's background."""
        array = np.zeros((len(self.used), self.width), dtype=dtype)
        if background is not None:
            array[:] = background[:, None]
        array.reshape(-1)[self.places] = values
        return torch.from_numpy(array)

    def numbers(self) -> Tensor:
        return self.scatter(np.repeat(self.number, self.counts), np.int32)

    def intervals(self, start: np.ndarray, end: np.ndarray, keys: _Side) -> Visibility:
        """Intervals of this side's queries over `keys`.

        Padding gets the empty one at its row's last end, which keeps a row monotone.
        """
        return Visibility.build(
            self.scatter(start, np.int32, keys.used),
            self.scatter(end, np.int32, keys.used),
            num_keys=keys.width,
        )


def _decoder(
    side: _Side,
    content: np.ndarray,
    *,
    loss: np.ndarray,
    own_end: np.ndarray,
    source: SourceSide | None,
) -> Batch:
    shifted = np.empty_like(content)
    shifted[1:] = content[:-1]
    shifted[side.first[side.counts > 0]] = PAD
    begin = np.repeat(side.begin, side.counts)
    return Batch(
        tokens=side.scatter(shifted, np.int64),
        labels=side.scatter(np.where(loss, content, PAD), np.int64),
        loss_mask=side.scatter(loss, np.bool_),
        positions=side.scatter(side.within, np.int32),
        visibility=side.intervals(begin, begin + own_end, side),
        segments=side.numbers(),
        source=source,
    )


def _source(
    pieces: _Pieces, decoder: _Side, inputs: list[np.ndarray], width: int | None
) -> SourceSide:
    side = _Side.place(pieces, pieces.inputs, width, "source row")
    begin, end = side.begin, side.begin + side.counts
    return SourceSide(
        tokens=side.scatter(_concatenate(inputs), np.int64),
        positions=side.scatter(side.within, np.int32),
        visibility=side.intervals(np.repeat(begin, side.counts), np.repeat(end, side.counts), side),
        cross=decoder.intervals(
            np.repeat(begin, decoder.counts), np.repeat(end, decoder.counts), side
        ),
        segments=side.numbers(),
    )


def _concatenate(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int32)


def _visibility_rows(visibility: Visibility, low: int, high: int) -> Visibility:
    # Not `build`: the values were checked with the whole batch, and no device may synchronise here.
    return Visibility(visibility.start[low:high], visibility.end[low:high], visibility.num_keys)
