"""Forward passes of scoring, as `study.language.scores.scorer` asks a model for them.

A model of the study is laid out by the `layout` that training uses. What of a context is computed
once for all its targets:

    encoder-decoder, every mixer        the encoder's states, as the decoder's keys and values
    decoder, attention                  keys and values of the context; a causal decoder's contexts
                                        also share those of a common beginning
                                        (`study.language.scores.scorer`)
    decoder, ssd                        the state after the context
    decoder, monarch                    nothing: a long convolution has no incremental form, so the
                                        context is recomputed for every target
    any other model (`hidden`, `logits`) nothing

Axes: N wanted positions, V vocabulary, M model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from study.language.layout import Batch, Segment, layout
from study.language.model.continuation import flush_right, own_half
from study.language.values.model import Architecture

Tokens = tuple[int, ...]


class Piece(NamedTuple):
    """Token ids of a context, and those whose log-probabilities are wanted after it (one at
    least)."""

    context: Tokens
    wanted: Tokens


class Continued(NamedTuple):
    """A context, of whose tokens the first `begun` (not all) were read before."""

    context: Tokens
    begun: int

    @property
    def own(self) -> int:
        """Tokens that are still to be read."""
        return len(self.context) - self.begun


class Found(NamedTuple):
    """Of every wanted token its log-probability (float64, nats), and whether it was the likeliest
    (ties count for it)."""

    log_probabilities: np.ndarray
    likeliest: np.ndarray


@dataclass(kw_only=True)
class Work:
    """What scoring computed so far, in positions that are not padding.

    shared: of contexts that were read once for several targets. whole: of contexts and targets that
    were computed together. own: of targets that went on from a shared context. padded: all
    positions, padding included. passes: forward passes. widest: most padded positions of one pass.
    """

    shared: int = 0
    whole: int = 0
    own: int = 0
    padded: int = 0
    passes: int = 0
    widest: int = 0

    def add(self, *, padded: int, **kinds: int) -> None:
        for name, count in kinds.items():
            setattr(self, name, getattr(self, name) + count)
        self.padded += padded
        self.passes += 1
        self.widest = max(self.widest, padded)


@runtime_checkable
class Passes(Protocol):
    """Forward passes of one model, as the scorer asks for them.

    carries: whether `read` and `own` can be used; grows: whether `read_on` can. equal_lengths:
    contexts of one `read` have them. limit: padded positions that one pass may have, from the
    model's side.
    """

    carries: bool
    grows: bool
    equal_lengths: bool
    limit: int

    def whole(self, pieces: Sequence[Piece]) -> Float[Tensor, "N M"]:
        """States at every wanted position, piece after piece."""
        ...

    def read(self, contexts: Sequence[Tokens]) -> Any:
        """Read contexts once."""
        ...

    def read_on(self, read: Any, rows: Sequence[int], contexts: Sequence[Continued]) -> Any:
        """Read contexts that go on from what was read, for `own`: context b from `rows[b]`."""
        ...

    def own(self, read: Any, rows: Sequence[int], pieces: Sequence[Piece]) -> Float[Tensor, "N M"]:
        """States as `whole` gives them, where piece b goes on from the context `rows[b]` that was
        read."""
        ...

    def logits(self, states: Float[Tensor, "N M"]) -> Float[Tensor, "N V"]: ...

    def widths(self, piece: Piece) -> tuple[int, int]:
        """Positions of its context that can be shared, and its own: together those of `whole`."""
        ...


@runtime_checkable
class Scorable(Protocol):
    """What the rule needs of a model at least; both model classes of `study.language.model.build`
    have it.
    """

    def hidden(self, batch: Batch) -> Tensor: ...

    def logits(self, hidden: Tensor) -> Tensor: ...


class StudyPasses:
    """Passes of a model that eats the study's batches."""

    equal_lengths = False
    limit = 1 << 62

    def __init__(self, model: Scorable, architecture: Architecture) -> None:
        self.model: Any = model
        self.architecture: Architecture = architecture
        self.carries = bool(getattr(model, "carries", False))
        self.grows = bool(getattr(model, "grows", False))
        self.logits = model.logits
        self._device = getattr(model, "device", torch.device("cpu"))
        self._split = architecture == "encoder_decoder"

    def widths(self, piece: Piece) -> tuple[int, int]:
        # A decoder's context has a start token in front, and its last position predicts the first
        # wanted token; an encoder-decoder's start token is the decoder's.
        if self._split:
            return len(piece.context), len(piece.wanted)
        return len(piece.context) + 1, len(piece.wanted) - 1

    def whole(self, pieces: Sequence[Piece]) -> Float[Tensor, "N M"]:
        laid = self._laid(pieces).to(self._device)
        return self.model.hidden(laid)[laid.loss_mask]

    def read(self, contexts: Sequence[Tokens]) -> Any:
        laid = self._laid([Piece(context, (0,)) for context in contexts])
        if self._split:
            assert laid.source is not None
            return laid.source.tokens.shape[1], self.model.read(laid.to(self._device))
        return laid.tokens.shape[1], self.model.read(flush_right(laid).to(self._device))

    def read_on(self, read: Any, rows: Sequence[int], contexts: Sequence[Continued]) -> Any:
        width, (_, carried) = read
        laid = self._laid([Piece(each.context, (0,)) for each in contexts])
        shared = torch.tensor([each.begun + 1 for each in contexts])
        half = own_half(laid, shared=shared, width=width)
        index = torch.tensor(rows, device=self._device)
        found = self.model.read_on(half.to(self._device), carried, index)
        return half.visibility.num_keys, found

    def own(self, read: Any, rows: Sequence[int], pieces: Sequence[Piece]) -> Float[Tensor, "N M"]:
        width, found = read
        index = torch.tensor(rows, device=self._device)
        if self._split:
            laid = self._laid(pieces, source_length=width).to(self._device)
            return self.model.go_on(laid, found, index)[laid.loss_mask]
        last, carried = found
        laid = self._laid(pieces)
        shared = torch.tensor([len(piece.context) + 1 for piece in pieces])
        half = own_half(laid, shared=shared, width=width).to(self._device)
        states = last[index][:, None]
        if any(len(piece.wanted) > 1 for piece in pieces):
            states = torch.cat([states, self.model.go_on(half, carried, index)], 1)
        return states[_mask(pieces, states.shape[1]).to(self._device)]

    def _laid(self, pieces: Sequence[Piece], **widths: int) -> Batch:
        rows = [
            (
                Segment(
                    inputs=np.array(piece.context, dtype=np.int32),
                    targets=np.array(piece.wanted, dtype=np.int32),
                ),
            )
            for piece in pieces
        ]
        return layout(rows, architecture=self.architecture, **widths)


def _mask(pieces: Sequence[Piece], width: int) -> Tensor:
    """True on a piece's wanted positions, (B, width)."""
    counts = torch.tensor([len(piece.wanted) for piece in pieces])
    return torch.arange(width)[None] < counts[:, None]
