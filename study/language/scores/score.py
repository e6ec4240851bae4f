"""The one scoring rule: the log-likelihood of each target given a context, under any architecture.

Owns what the rule's options (`study.runs.suite.Scoring`) mean for tokens; what they mean for text
is `study.language.scores.encode`'s, and how positions are computed `study.language.scores.passes`'.
Knows nothing of tasks or files. The passes call the same `layout` that training calls, so an
off-by-one cannot exist in only one of them.

The rule:

- Token boundary: context and target are two lists of tokens, and every token of the target is
  scored, the first one after the context's last. No token is in both.
- The first decoder token is the start token (the pad id, as T5 has it; a foreign causal model's
  beginning or, without one, end of sequence, under `start` `always`): an empty context is defined.
  Under `start` `empty` a prefix token is the context where there is none; where the target begins
  with that token, it is the context itself and is not scored (lm-eval's rule). A context that has
  its start token already gets no second one.
- Every target is followed by an end of sequence in the forward pass. Its log-probability is kept
  apart and counts only if `Scoring.end_of_sequence`; one pass so answers both options, and both
  truncate alike. Under `length` `read` it has no room of its own: where it does not fit it is not
  computed, and not a number.
- Truncation: `Scoring.length` says what has at most `max_length` tokens. A context that is too
  long loses tokens on the side that `Scoring.truncation` names, and the item is marked; a target
  never loses one.
- An empty target, a target that alone is longer than the limit, or a log-likelihood that is not
  finite is invalid: log-likelihoods 0.0, greedy False, never a winner of a ranking.

A context is computed once for all its targets, over all requests of a call
(`study.language.scores.scorer`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from study.language.layout import END_OF_SEQUENCE
from study.language.scores.passes import Found, Passes, Piece, Scorable, StudyPasses, Work
from study.language.scores.scorer import Scorer
from study.language.values.model import Architecture
from study.language.values.suite import Scoring

__all__ = [
    "SCORER_VERSION", "Ids", "Request", "Scorable", "Scored", "Subject", "Work", "begin", "score",
    "truncate",
]  # fmt: skip

SCORER_VERSION = 1
"""Raised when the rule starts to compute something else; part of every score's digest."""


@dataclass(frozen=True, kw_only=True)
class Ids:
    """A model's special tokens as the rule needs them.

    end: its end of sequence. prefix: what stands in for an empty context under `start` `empty`.
    start: put before every context under `start` `always`; None where the model does so itself.
    reads_nothing: an empty context can be read as it is.
    """

    end: int = END_OF_SEQUENCE
    prefix: int = END_OF_SEQUENCE
    start: int | None = None
    reads_nothing: bool = True


@dataclass(frozen=True, kw_only=True)
class Request:
    """Token ids of one context and of the targets to score after it, without end of sequence."""

    context: Sequence[int]
    targets: Sequence[Sequence[int]]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """The score of one target, under both answers to the end-of-sequence option.

    target_log_likelihood: summed over the target's own tokens, in nats. end_log_likelihood: of the
    end of sequence after it; not a number where it was not computed. greedy_target, greedy_end:
    each of those tokens was the most likely one (ties count for the target). tokens: of the target
    alone. truncated: tokens that the context lost. valid: see the module's last rule.
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

    model: `Scorable`, or the passes of a model from elsewhere. max_length: see `Scoring.length`.
    batch_tokens: padded positions of one forward pass, both sides; changes results by rounding
    only. watch: called before each forward pass with the pairs done and asked for; may raise to
    stop. ids: its special tokens. contexts: `shared`, or `apart` to compute a context anew for
    every target, which changes results by rounding only. work: counts what was computed.
    """

    model: Scorable | Passes
    architecture: Architecture
    max_length: int
    batch_tokens: int
    watch: Callable[[int, int], None] = lambda done, asked: None
    ids: Ids = Ids()
    contexts: Literal["shared", "apart"] = "shared"
    work: Work = field(default_factory=Work)

    def __post_init__(self) -> None:
        if self.max_length < 2:
            raise ValueError(f"Subject.max_length is {self.max_length}; legal: at least 2")
        if self.batch_tokens < 1:
            raise ValueError(f"Subject.batch_tokens is {self.batch_tokens}; it must be positive")

    @property
    def device(self) -> torch.device:
        return getattr(self.model, "device", torch.device("cpu"))

    def scorer(self, *, asked: int) -> Scorer:
        model: Any = self.model
        # a protocol's members may be named otherwise than the class's own: both are called by place
        passes: Any = model
        if isinstance(model, Scorable):
            passes = StudyPasses(model, self.architecture)
        return Scorer(
            passes=passes,
            batch_tokens=self.batch_tokens,
            share=self.contexts == "shared",
            work=self.work,
            progress=lambda done: self.watch(done, asked),
        )


@dataclass(frozen=True, kw_only=True)
class _Cut:
    """What the length limit made of one question; without a piece it cannot be scored. tokens: of
    the target, which come before an end of sequence in what is wanted.
    """

    piece: Piece | None
    tokens: int
    truncated: int


def score(subject: Subject, requests: Sequence[Request], *, scoring: Scoring) -> list[list[Scored]]:
    """One list per request, one score per target, in the order asked.

    Equal (context, target) pairs are computed once, equal contexts are read once. A context that
    was truncated differently for two targets is two contexts. Batches are made of pairs of like
    length; their make-up changes results by rounding only, and other pairs never take part in a
    pair's sums.
    """
    asked = [_cuts(subject, request, scoring=scoring) for request in requests]
    pieces = {cut.piece for row in asked for cut in row if cut.piece is not None}
    found = dict(subject.scorer(asked=len(pieces)).found(pieces))
    return [[_scored(cut, found) for cut in row] for row in asked]


def begin(subject: Subject, context: tuple[int, ...], *, scoring: Scoring) -> tuple[int, ...]:
    """The context with what stands before it, or for it where it is empty."""
    ids = subject.ids
    if not context and (scoring.start == "empty" or not ids.reads_nothing):
        return (ids.prefix,)
    # A tokenizer's own template may have put it there already.
    if scoring.start == "always" and ids.start is not None and context[:1] != (ids.start,):
        return (ids.start, *context)
    return context


def _cuts(subject: Subject, request: Request, *, scoring: Scoring) -> list[_Cut]:
    context = tuple(request.context)
    return [_cut(subject, context, tuple(target), scoring=scoring) for target in request.targets]


def _cut(
    subject: Subject, context: tuple[int, ...], own: tuple[int, ...], *, scoring: Scoring
) -> _Cut:
    always = scoring.start == "always"
    if always and context[:1] == (subject.ids.start,):
        context = context[1:]  # a tokenizer's template put it there, as the rule does
    if not context and own[:1] == (subject.ids.start if always else subject.ids.prefix,):
        own = own[1:]  # it is the context
    begun = begin(subject, context, scoring=scoring)
    # What the rule puts first is no part of the context that can be cut off.
    first = begun[: len(begun) - len(context)]
    limit, split = subject.max_length, subject.architecture == "encoder_decoder"
    match scoring.length:
        case "total":
            # A start token has the place of the end of sequence, which is never read.
            spare = 0 if subject.ids.start is not None else len(first)
            room = limit - len(own) - 1 - spare
            wanted = (*own, subject.ids.end)
            fits = room >= 0
        case "read":
            room = limit if split else limit + 1 - len(own)
            room -= len(first)
            fits = len(own) <= limit
            ends = len(own) < limit if split else len(begun) + len(own) <= limit
            wanted = (*own, subject.ids.end) if ends else own
    if not own or not fits:
        return _Cut(piece=None, tokens=len(own), truncated=0)
    kept, lost = truncate(context, room, scoring)
    # A sum with nothing is no copy: the targets of a request keep one context in memory.
    return _Cut(piece=Piece(first + kept, wanted), tokens=len(own), truncated=lost)


def truncate(context: tuple[int, ...], room: int, scoring: Scoring) -> tuple[tuple[int, ...], int]:
    """What is left of a context in this room, and how many tokens it lost."""
    lost = max(len(context) - max(room, 0), 0)
    if not lost:
        return context, 0
    kept = context[lost:] if scoring.truncation == "left" else context[: len(context) - lost]
    return kept, lost


def _scored(cut: _Cut, found: Mapping[Piece, Found]) -> Scored:
    own = None if cut.piece is None else found[cut.piece]
    if own is not None:
        before, after = own.log_probabilities[: cut.tokens], own.log_probabilities[cut.tokens :]
        total, end = float(before.sum()), float(after[0]) if len(after) else math.nan
        # Without its end of sequence a target is as good as what the rule asks of it.
        if math.isfinite(total) and (math.isfinite(end) or not len(after)):
            return Scored(
                target_log_likelihood=total,
                end_log_likelihood=end,
                greedy_target=bool(own.likeliest[: cut.tokens].all()),
                greedy_end=bool(own.likeliest[cut.tokens :].all()),
                tokens=cut.tokens,
                truncated=cut.truncated,
                valid=True,
            )
    return Scored(
        target_log_likelihood=0.0,
        end_log_likelihood=0.0,
        greedy_target=False,
        greedy_end=False,
        tokens=cut.tokens,
        truncated=cut.truncated,
        valid=False,
    )
