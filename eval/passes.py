"""Forward passes of scoring: which positions are computed, in what batches, and how often.

Owns that a context is computed once for all its targets, that memory is bounded, and that forward
tokens are counted; the rule itself is `eval.score`'s. A model of the study is laid out by the
`layout` that training uses. What is shared:

    encoder-decoder, every mixer        the encoder's states, as the decoder's keys and values
    decoder, attention                  keys and values of the context
    decoder, ssd                        the state after the context
    decoder, monarch                    nothing: a long convolution has no incremental form, so the
                                        context is recomputed for every target
    any other model (`hidden`, `logits`) nothing

Contexts of like length share a batch, and so do targets. A context with one target is computed
together with it. Batches change results by rounding only.

Axes: N wanted positions, V vocabulary, M model width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from study.continuation import flush_right, own_half
from study.layout import Batch, Segment, layout
from study.run import Architecture

LOGITS = 1 << 20
"""Logits that are there at a time: what a cache holds."""
KEYS = 4
"""Keys of a shared context that count as one position of a pass: they are looked up a layer at a
time, where a position has a layer's queries, keys, values and both products of its MLP.
"""


class Piece(NamedTuple):
    """Token ids of a context, and those whose log-probabilities are wanted after it (one at
    least)."""

    context: tuple[int, ...]
    wanted: tuple[int, ...]


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

    carries: whether `read` and `own` can be used. alike: contexts of one `read` have equal lengths.
    limit: padded positions that one pass may have, from the model's side.
    """

    carries: bool
    alike: bool
    limit: int

    def whole(self, pieces: Sequence[Piece]) -> Float[Tensor, "N M"]:
        """States at every wanted position, piece after piece."""
        ...

    def read(self, contexts: Sequence[tuple[int, ...]]) -> Any:
        """Read contexts once."""
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
    """What the rule needs of a model at least; both model classes of `study.model` have it."""

    def hidden(self, batch: Batch) -> Tensor: ...

    def logits(self, hidden: Tensor) -> Tensor: ...


class StudyPasses:
    """Passes of a model that eats the study's batches."""

    alike = False
    limit = 1 << 62

    def __init__(self, model: Scorable, architecture: Architecture) -> None:
        self.model: Any = model
        self.architecture: Architecture = architecture
        self.carries = bool(getattr(model, "carries", False))
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

    def read(self, contexts: Sequence[tuple[int, ...]]) -> Any:
        laid = self._laid([Piece(context, (0,)) for context in contexts])
        if self._split:
            assert laid.source is not None
            return laid.source.tokens.shape[1], self.model.read(laid.to(self._device))
        return laid.tokens.shape[1], self.model.read(flush_right(laid).to(self._device))

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


@dataclass(frozen=True, kw_only=True, eq=False)
class Scorer:
    """How pieces are computed: by which passes, how large, and what is told of it.

    tell: called before each pass with the pieces that are done; may raise to stop.
    """

    passes: Passes
    batch_tokens: int
    share: bool
    work: Work
    tell: Callable[[int], None]

    @property
    def most(self) -> int:
        return min(self.batch_tokens, self.passes.limit)

    def found(self, pieces: Iterable[Piece]) -> Iterator[tuple[Piece, Found]]:
        """Every piece once, in the order in which they are computed."""
        groups: dict[tuple[int, ...], list[Piece]] = {}
        for piece in sorted(set(pieces)):
            groups.setdefault(piece.context, []).append(piece)
        share = self.share and self.passes.carries
        alone = [piece for own in groups.values() if not (share and len(own) > 1) for piece in own]
        done = 0
        for batch in self.wholes(alone):
            self.tell(done)
            # Answers are complete before they are given: a generator that waits inside of inference
            # mode would leave its caller in it.
            with torch.inference_mode():
                answers = self._answers(batch, self.passes.whole(batch))
            self._count(batch, kind="whole")
            yield from answers
            done += len(batch)
        several = {context: own for context, own in groups.items() if share and len(own) > 1}
        for contexts in self._contexts(several):
            self.tell(done)
            with torch.inference_mode():
                read = self.passes.read(contexts)
            self._count_read(contexts, several)
            targets = [(row, piece) for row, each in enumerate(contexts) for piece in several[each]]
            for chosen in self._chosen(targets, contexts):
                self.tell(done)
                batch = [piece for _, piece in chosen]
                with torch.inference_mode():
                    states = self.passes.own(read, [row for row, _ in chosen], batch)
                    answers = self._answers(batch, states)
                self._count(batch, kind="own")
                yield from answers
                done += len(batch)

    def wholes(self, pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
        """Batches of like length, of at most `most` padded positions (one piece at least)."""
        widths = self.passes.widths
        ordered = sorted(pieces, key=lambda one: (sum(widths(one)), one))
        yield from _batches(ordered, widths, self.most)

    def _contexts(
        self, groups: Mapping[tuple[int, ...], Sequence[Piece]]
    ) -> Iterator[list[tuple[int, ...]]]:
        ordered = sorted(groups, key=lambda context: (len(context), context))

        def width(context: tuple[int, ...]) -> tuple[int, int]:
            return self.passes.widths(groups[context][0])[0], 0

        for batch in _batches(ordered, width, self.most):
            if not self.passes.alike:
                yield batch
                continue
            for length in sorted({len(context) for context in batch}):
                yield [context for context in batch if len(context) == length]

    def _chosen(
        self, targets: Sequence[tuple[int, Piece]], contexts: Sequence[tuple[int, ...]]
    ) -> Iterator[list[tuple[int, Piece]]]:
        """Targets of like length; each stands over the keys of the longest context, which take
        less room than positions that are computed.
        """
        longest = max(contexts, key=len)

        def width(one: tuple[int, Piece]) -> tuple[int, int]:
            shared, own = self.passes.widths(Piece(longest, one[1].wanted))
            return shared // KEYS, own

        yield from _batches(sorted(targets, key=lambda one: len(one[1].wanted)), width, self.most)

    def _answers(
        self, batch: Sequence[Piece], states: Float[Tensor, "N M"]
    ) -> list[tuple[Piece, Found]]:
        tokens = torch.tensor([token for piece in batch for token in piece.wanted])
        own, best = log_probabilities(self.passes, states, tokens.to(states.device))
        ends = np.cumsum([len(piece.wanted) for piece in batch])[:-1]
        parts = zip(np.split(own, ends), np.split(best, ends), strict=True)
        return [(piece, Found(*each)) for piece, each in zip(batch, parts, strict=True)]

    def _count(self, batch: Sequence[Piece], *, kind: str) -> None:
        widths = [self.passes.widths(piece) for piece in batch]
        own = [sum(each) for each in widths] if kind == "whole" else [each[1] for each in widths]
        padded = len(batch) * (
            sum(max(side) for side in zip(*widths, strict=True)) if kind == "whole" else max(own)
        )
        self.work.add(padded=padded, **{kind: sum(own)})

    def _count_read(
        self,
        contexts: Sequence[tuple[int, ...]],
        groups: Mapping[tuple[int, ...], Sequence[Piece]],
    ) -> None:
        widths = [self.passes.widths(groups[context][0])[0] for context in contexts]
        self.work.add(padded=len(widths) * max(widths), shared=sum(widths))


def log_probabilities(
    passes: Passes, states: Float[Tensor, "N M"], tokens: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Of each position's token the log-probability, and whether it is the likeliest."""
    own: list[np.ndarray] = []
    best: list[np.ndarray] = []
    begin, step = 0, 1
    while begin < len(states):
        logits = passes.logits(states[begin : begin + step])
        largest = logits.amax(-1, keepdim=True)
        mine = logits.gather(-1, tokens[begin : begin + step, None])
        # Summed in float64, so that the sum does not drift with the vocabulary's size.
        log_z = (logits - largest).exp_().sum(-1, keepdim=True, dtype=torch.float64).log_()
        own.append(((mine - largest).double() - log_z)[:, 0].cpu().numpy())
        best.append((mine >= largest)[:, 0].cpu().numpy())
        begin += len(logits)
        # The first slice, of one position, says how large the vocabulary is.
        step = max(LOGITS // logits.shape[-1], 1)
    return np.concatenate(own), np.concatenate(best)


def _batches(
    ordered: Iterable[Any], widths: Callable[[Any], tuple[int, int]], most: int
) -> Iterator[list[Any]]:
    """As many in a row as have at most `most` padded positions, both sides counted (one at
    least)."""
    batch: list[Any] = []
    longest = (0, 0)
    for one in ordered:
        own = widths(one)
        grown = (max(longest[0], own[0]), max(longest[1], own[1]))
        if batch and sum(grown) * (len(batch) + 1) > most:
            yield batch
            batch, grown = [], own
        batch.append(one)
        longest = grown
    if batch:
        yield batch
