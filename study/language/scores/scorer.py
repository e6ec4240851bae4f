"""Which positions scoring computes, in what batches, and how often.

Owns that a context is computed once for all its targets, that memory is bounded, and that forward
tokens are counted; the rule itself is `study.language.scores.score`'s, and how positions are
computed `study.language.scores.passes`'. Contexts of like length share a batch, and so do targets.
A context with one target is computed together with it. Batches change results by rounding only.

A causal decoder's states up to a token depend on nothing after it, so prompts of a row that all
begin with its text need that text read once: `beginnings` decides from token ids alone which
contexts share how much.

Axes: N wanted positions, M model width.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from study.language.scores.passes import Continued, Found, Passes, Piece, Tokens, Work

LOGITS = 1 << 20
"""Logits that are there at a time: what a cache holds."""
PADDING = 16
"""Part of a pass that may be padding: more of it costs more than another pass."""
KEYS = 4
"""Keys of a shared context that count as one position of a pass: they are looked up a layer at a
time, where a position has a layer's queries, keys, values and both products of its MLP.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scorer:
    """How pieces are computed: by which passes, how large, and what is told of it.

    progress: called before each pass with the pieces that are done; may raise to stop.
    """

    passes: Passes
    batch_tokens: int
    share: bool
    work: Work
    progress: Callable[[int], None]

    @property
    def most(self) -> int:
        return min(self.batch_tokens, self.passes.limit)

    def found(self, pieces: Iterable[Piece]) -> Iterator[tuple[Piece, Found]]:
        """Every piece once, in the order in which they are computed."""
        groups: dict[Tokens, list[Piece]] = {}
        for piece in sorted(set(pieces)):
            groups.setdefault(piece.context, []).append(piece)
        share = self.share and self.passes.carries
        alone = [piece for own in groups.values() if not (share and len(own) > 1) for piece in own]
        done = 0

        def advance() -> None:
            self.progress(done)

        for batch in self.wholes(alone):
            advance()
            # Answers are complete before they are given: a generator that waits inside of inference
            # mode would leave its caller in it.
            with torch.inference_mode():
                answers = self._answers(batch, self.passes.whole(batch))
            self._count(batch, kind="whole")
            yield from answers
            done += len(batch)
        several = {context: own for context, own in groups.items() if share and len(own) > 1}
        for contexts, read in self._read(several, advance):
            targets = [(row, piece) for row, each in enumerate(contexts) for piece in several[each]]
            for chosen in self._chosen(targets, contexts):
                advance()
                batch = [piece for _, piece in chosen]
                with torch.inference_mode():
                    states = self.passes.own(read, [row for row, _ in chosen], batch)
                    answers = self._answers(batch, states)
                self._count(batch, kind="own")
                yield from answers
                done += len(batch)

    def _read(
        self, contexts: Collection[Tokens], advance: Callable[[], None]
    ) -> Iterator[tuple[Sequence[Tokens], Any]]:
        """Every context once, in batches, as `Passes.own` wants them."""
        begun = beginnings(contexts) if self.passes.grows else {}
        going_on = {context for own in begun.values() for context in own}
        for batch in self._contexts(context for context in contexts if context not in going_on):
            advance()
            yield batch, self._read_batch(batch)
        for batch in self._contexts(begun):
            advance()
            read = self._read_batch(batch)
            for chosen in self._continued(batch, begun):
                advance()
                rows, continued = zip(*chosen, strict=True)
                with torch.inference_mode():
                    grown = self.passes.read_on(read, rows, continued)
                own = [each.own for each in continued]
                self.work.add(padded=len(own) * max(own), shared=sum(own))
                yield [each.context for each in continued], grown

    def _read_batch(self, contexts: Sequence[Tokens]) -> Any:
        with torch.inference_mode():
            read = self.passes.read(contexts)
        widths = [self._width(context)[0] for context in contexts]
        self.work.add(padded=len(widths) * max(widths), shared=sum(widths))
        return read

    def _continued(
        self, read: Sequence[Tokens], begun: Mapping[Tokens, Sequence[Tokens]]
    ) -> Iterator[list[tuple[int, Continued]]]:
        """What goes on from each, of like length. The keys of all of it are there at once, so they
        count as what they are.
        """
        longest = max(self._width(each)[0] for each in read)
        continued = [
            (row, Continued(context, len(beginning)))
            for row, beginning in enumerate(read)
            for context in begun[beginning]
        ]
        ordered = sorted(continued, key=lambda one: one[1].own)
        yield from _batches(ordered, lambda one: (longest, one[1].own), self.most)

    def _width(self, context: Tokens) -> tuple[int, int]:
        return self.passes.widths(Piece(context, (0,)))[0], 0

    def wholes(self, pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
        """Batches of like length, of at most `most` padded positions (one piece at least)."""
        widths = self.passes.widths
        ordered = sorted(pieces, key=lambda one: (sum(widths(one)), one))
        yield from _batches(ordered, widths, self.most)

    def _contexts(self, contexts: Iterable[Tokens]) -> Iterator[list[Tokens]]:
        ordered = sorted(contexts, key=lambda context: (len(context), context))
        for batch in _batches(ordered, self._width, self.most):
            if not self.passes.equal_lengths:
                yield batch
                continue
            for length in sorted({len(context) for context in batch}):
                yield [context for context in batch if len(context) == length]

    def _chosen(
        self, targets: Sequence[tuple[int, Piece]], contexts: Sequence[Tokens]
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
    """As many in a row as have at most `most` padded positions, both sides counted, of which
    `most` / `PADDING` are padding (one at least).
    """
    batch: list[Any] = []
    longest, filled = (0, 0), 0
    for one in ordered:
        own = widths(one)
        grown = (max(longest[0], own[0]), max(longest[1], own[1]))
        padded = sum(grown) * (len(batch) + 1)
        if batch and (padded > most or padded - filled - sum(own) > most / PADDING):
            yield batch
            batch, grown, filled = [], own, 0
        batch.append(one)
        longest, filled = grown, filled + sum(own)
    if batch:
        yield batch


SHARE = 0.5
"""Of every context of a group, at least, is in the beginning: reading on is a pass more."""


def beginnings(contexts: Iterable[Tokens]) -> dict[Tokens, list[Tokens]]:
    """Common beginnings and the contexts that go on from each, by one token at least; contexts
    that are better read whole are in none.
    """
    found: dict[Tokens, list[Tokens]] = {}
    group: list[Tokens] = []
    common = longest = 0
    # Sorted, contexts that begin alike are neighbours, and the first is none of the others'
    # continuation.
    for context in sorted(set(contexts)):
        if group:
            shorter = min(common, _common(group[-1], context))
            if shorter >= SHARE * max(longest, len(context)):
                group.append(context)
                common, longest = shorter, max(longest, len(context))
                continue
            _close(group, common, found)
        group, common, longest = [context], len(context) - 1, len(context)
    _close(group, common, found)
    return found


def _common(one: Tokens, other: Tokens) -> int:
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _close(group: list[Tokens], common: int, found: dict[Tokens, list[Tokens]]) -> None:
    if len(group) > 1:
        # Groups apart from each other may end with one beginning, where others stand between.
        found.setdefault(group[0][:common], []).extend(group)
