"""The one scoring rule: the log-likelihood of each target given a context, under any architecture.

Owns the rule's options and their documented meaning; knows nothing of tasks, text or files. It
calls the same `layout` that training calls, so an off-by-one cannot exist in only one of them.

The rule:

- Context and target are tokenised apart (`study.prompts` owns the join), so no token spans the
  border and the same target tokens are scored under every context.
- The first decoder token is the pad id, which is T5's start token: an empty context is defined.
- Every target is followed by an end of sequence in the forward pass. Its log-probability is kept
  apart and counts only if `Scoring.end_of_sequence`; one pass so answers both options, and both
  truncate alike.
- Context, target and end of sequence together have at most `max_length` tokens. A context that is
  too long loses tokens on the side that `Scoring.truncation` names, and the item is marked.
- An empty target, a target that alone is longer than `max_length`, or a log-likelihood that is not
  finite is invalid: log-likelihoods 0.0, greedy False, never a winner of a ranking.

Axes: N target positions, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from study.layout import END_OF_SEQUENCE, Batch, Segment, layout
from study.run import Architecture, Scoring

SCORER_VERSION = 1
"""Raised when the rule starts to compute something else; part of every score's digest."""


@runtime_checkable
class Scorable(Protocol):
    """What the rule needs of a model; both model classes of `study.model` have it."""

    def hidden(self, batch: Batch) -> Tensor: ...

    def logits(self, hidden: Tensor) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class Request:
    """Token ids of one context and of the targets to score after it, without end of sequence."""

    context: Sequence[int]
    targets: Sequence[Sequence[int]]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """The score of one target, under both answers to the end-of-sequence option.

    target_log_likelihood: summed over the target's own tokens, in nats. end_log_likelihood: of the
    end of sequence after it. greedy_target, greedy_end: each of those tokens was the most likely
    one (ties count for the target). tokens: of the target alone. truncated: tokens that the context
    lost. valid: see the module's last rule.
    """

    target_log_likelihood: float
    end_log_likelihood: float
    greedy_target: bool
    greedy_end: bool
    tokens: int
    truncated: int
    valid: bool

    def log_likelihood(self, scoring: Scoring) -> float:
        end = self.end_log_likelihood if scoring.end_of_sequence else 0.0
        return self.target_log_likelihood + end

    def greedy(self, scoring: Scoring) -> bool:
        return self.greedy_target and (self.greedy_end or not scoring.end_of_sequence)


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A model as the rule sees it.

    max_length: tokens of context, target and end of sequence together, for every architecture.
    batch_tokens: padded tokens of one forward pass, both sides; changes results by rounding only.
    watch: called before each forward pass with the pairs done and asked for; may raise to stop.
    """

    model: Scorable
    architecture: Architecture
    max_length: int
    batch_tokens: int
    watch: Callable[[int, int], None] = lambda done, asked: None

    def __post_init__(self) -> None:
        if self.max_length < 2:
            raise ValueError(f"Subject.max_length is {self.max_length}; legal: at least 2")
        if self.batch_tokens < 1:
            raise ValueError(f"Subject.batch_tokens is {self.batch_tokens}; it must be positive")

    @property
    def device(self) -> torch.device:
        return getattr(self.model, "device", torch.device("cpu"))


class _Piece(NamedTuple):
    """One (context, target) as it is laid out."""

    context: tuple[int, ...]
    target: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class _Cut:
    """What the length limit made of one question; without a piece it cannot be scored."""

    piece: _Piece | None
    tokens: int
    truncated: int


def score(subject: Subject, requests: Sequence[Request], *, scoring: Scoring) -> list[list[Scored]]:
    """One list per request, one score per target, in the order asked.

    Equal (context, target) pairs are computed once. Batches are made of pairs of like length; their
    make-up changes results by rounding only.
    """
    asked = [
        [
            _cut(request.context, target, scoring=scoring, max_length=subject.max_length)
            for target in request.targets
        ]
        for request in requests
    ]
    pieces = {cut.piece for row in asked for cut in row if cut.piece is not None}
    found: dict[_Piece, Scored] = {}
    for batch in _batches(pieces, subject):
        subject.watch(len(found), len(pieces))
        found.update(zip(batch, _forward(subject, batch), strict=True))
    return [[_scored(cut, found) for cut in row] for row in asked]


def greedy(
    subject: Subject,
    contexts: Sequence[Sequence[int]],
    *,
    scoring: Scoring,
    max_new_tokens: int,
    stop: Callable[[list[int]], bool] = lambda _: False,
) -> list[list[int]]:
    """The most likely continuation of each context, token by token, without its end of sequence.

    Stops at an end of sequence, where `stop` says so, or after `max_new_tokens`. Every step lays
    the whole example out anew: slower than a cache, and by construction the rule of `score`.
    """
    room = subject.max_length - max_new_tokens - 1
    cut = [_truncate(tuple(context), room, scoring)[0] for context in contexts]
    grown: list[list[int]] = [[] for _ in contexts]
    going_on = dict.fromkeys(range(len(contexts)))
    for _ in range(max_new_tokens):
        # Two contexts may have become equal, so a piece stands for all places that hold it.
        places: dict[_Piece, list[int]] = {}
        for index in going_on:
            places.setdefault(_Piece(cut[index], tuple(grown[index])), []).append(index)
        for batch in _batches(places, subject):
            subject.watch(len(contexts) - len(going_on), len(contexts))
            log_probabilities, ends = _log_probabilities(subject, batch)
            for piece, end in zip(batch, ends, strict=True):
                # A piece's last position predicts what follows its target.
                token = int(log_probabilities[end - 1].argmax())
                for index in places[piece]:
                    if token == END_OF_SEQUENCE:
                        del going_on[index]
                    else:
                        grown[index].append(token)
                        if stop(grown[index]):
                            del going_on[index]
        if not going_on:
            break
    return grown


def _cut(
    context: Sequence[int], target: Sequence[int], *, scoring: Scoring, max_length: int
) -> _Cut:
    room = max_length - len(target) - 1
    if not target or room < 0:
        return _Cut(piece=None, tokens=len(target), truncated=0)
    kept, lost = _truncate(tuple(context), room, scoring)
    return _Cut(piece=_Piece(kept, tuple(target)), tokens=len(target), truncated=lost)


def _truncate(context: tuple[int, ...], room: int, scoring: Scoring) -> tuple[tuple[int, ...], int]:
    lost = max(len(context) - max(room, 0), 0)
    if not lost:
        return context, 0
    kept = context[lost:] if scoring.truncation == "left" else context[: len(context) - lost]
    return kept, lost


def _batches(pieces: Iterable[_Piece], subject: Subject) -> Iterator[list[_Piece]]:
    """Pieces of like length together, at most `batch_tokens` padded tokens each (one piece at
    least).
    """
    ordered = sorted(pieces, key=lambda one: (len(one.context) + len(one.target), one))
    batch: list[_Piece] = []
    widths = (0, 0)
    for piece in ordered:
        split = subject.architecture == "encoder_decoder"
        own = (
            (len(piece.context), len(piece.target) + 1)
            if split
            else (0, len(piece.context) + len(piece.target) + 1)
        )
        grown = (max(widths[0], own[0]), max(widths[1], own[1]))
        if batch and sum(grown) * (len(batch) + 1) > subject.batch_tokens:
            yield batch
            batch, grown = [], own
        batch.append(piece)
        widths = grown
    if batch:
        yield batch


def _log_probabilities(
    subject: Subject, batch: list[_Piece]
) -> tuple[Float[Tensor, "N V"], list[int]]:
    """Log-probabilities at every target position and at the end of sequence after it, piece after
    piece, and the index one past each piece's last.
    """
    rows = [
        (
            Segment(
                inputs=np.array(piece.context, dtype=np.int32),
                targets=np.array((*piece.target, END_OF_SEQUENCE), dtype=np.int32),
            ),
        )
        for piece in batch
    ]
    laid = layout(rows, architecture=subject.architecture).to(subject.device)
    with torch.inference_mode():
        hidden = subject.model.hidden(laid)[laid.loss_mask]  # (N, d_model): row by row, in order
        # float64 costs little here and keeps long sums from drifting with the batch's make-up.
        logits = subject.model.logits(hidden).double()
        result = torch.log_softmax(logits, dim=-1)
    ends = np.cumsum([len(piece.target) + 1 for piece in batch]).tolist()
    return result, ends


def _forward(subject: Subject, batch: list[_Piece]) -> list[Scored]:
    log_probabilities, ends = _log_probabilities(subject, batch)
    tokens = torch.tensor(
        [token for piece in batch for token in (*piece.target, END_OF_SEQUENCE)],
        device=log_probabilities.device,
    )
    own = log_probabilities.gather(-1, tokens[:, None])[:, 0].cpu().numpy()
    best = own >= log_probabilities.amax(dim=-1).cpu().numpy()
    results: list[Scored] = []
    for begin, end in pairwise([0, *ends]):
        last = end - 1
        total = float(own[begin:last].sum())
        results.append(
            Scored(
                target_log_likelihood=total,
                end_log_likelihood=float(own[last]),
                greedy_target=bool(best[begin:last].all()),
                greedy_end=bool(best[last]),
                tokens=last - begin,
                truncated=0,
                valid=math.isfinite(total + float(own[last])),
            )
        )
    return results


def _scored(cut: _Cut, found: Mapping[_Piece, Scored]) -> Scored:
    own = None if cut.piece is None else found[cut.piece]
    if own is None or not own.valid:
        return Scored(
            target_log_likelihood=0.0,
            end_log_likelihood=0.0,
            greedy_target=False,
            greedy_end=False,
            tokens=cut.tokens,
            truncated=cut.truncated,
            valid=False,
        )
    return replace(own, truncated=cut.truncated)
