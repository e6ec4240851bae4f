"""Text to tokens under the scoring rule: where a context ends and its target begins.

Owns what `Scoring.encoding`, `spaces` and `special_tokens` mean for text; what follows for tokens
is `study.language.scores.score`'s. Texts are complete: the space between a prompt and its answer is
the task's.

Rules:

- Spaces at a context's end move to its target's beginning as `Scoring.spaces` says. A context of
  nothing else is then an empty one.
- `apart`: two encodings. A target has the tokens that it has in running text, the same after every
  context (`Tokenizer.encode_continuations`): no space is put before it that is not there. After an
  empty context a target that brings no white space begins the text.
- `joint`: the target is what the encoding of both has after as many tokens as the context has
  alone; the context is its own encoding. Where a token of the joint encoding spans the border, the
  two differ: the pair is counted as *spanning* and scored as cut, like lm-eval. Where no token is
  left for a target that has text, the pair is encoded apart and counted as *re-encoded*; lm-eval
  stops there. What a tokenizer's template puts after a text is left out: a context goes on.
- An encoder-decoder has two texts: `joint` is `apart` for it.
- An empty target has no tokens, and the scorer calls it invalid.
- Special tokens are never read out of text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from study.language.data.tokenizer import Lost, Tokenizer
from study.language.values.model import Architecture
from study.language.values.suite import Scoring

_NOTHING = Lost()


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Token ids of a context and a target, what the border made of them, and what became of their
    text and of the target's own.
    """

    context: tuple[int, ...]
    target: tuple[int, ...]
    spanning: bool = False
    reencoded: bool = False
    lost: Lost = _NOTHING
    lost_of_target: Lost = _NOTHING


def moved(context: str, target: str, *, scoring: Scoring) -> tuple[str, str]:
    """The same text, with the spaces at the border where the rule wants them."""
    match scoring.spaces:
        case "keep":
            return context, target
        case "move":
            stripped = context.rstrip(" ")
        case "move_whitespace":
            stripped = context.rstrip()
    return stripped, context[len(stripped) :] + target


def encode_pairs(
    pairs: Sequence[tuple[str, str]],
    *,
    tokenizer: Tokenizer,
    architecture: Architecture,
    scoring: Scoring,
) -> list[Encoded]:
    """Tokens of (context, target) pairs, in order."""
    texts = [moved(*pair, scoring=scoring) for pair in pairs]
    # A context is asked for once a target.
    distinct = list(dict.fromkeys(context for context, _ in texts))
    known = dict(zip(distinct, encode(distinct, tokenizer=tokenizer, scoring=scoring), strict=True))
    decoder, joint = architecture != "encoder_decoder", scoring.encoding == "joint"
    end = tokenizer.trial.marks[1] if scoring.special_tokens == "tokenizer" and decoder else ()
    contexts = [_open(known[context], end) if context else () for context, _ in texts]
    targets = _targets(texts, tokenizer, joint=joint)
    found = [
        Encoded(context=context, target=target)
        for context, target in zip(contexts, targets, strict=True)
    ]
    if joint and decoder:
        wholes = encode(
            [context + target for context, target in texts], tokenizer=tokenizer, scoring=scoring
        )
        found = [_split(*each) for each in zip(found, (_open(w, end) for w in wholes), strict=True)]
    return _accounted(found, texts, tokenizer)


def _targets(
    texts: Sequence[tuple[str, str]], tokenizer: Tokenizer, *, joint: bool
) -> Iterator[tuple[int, ...]]:
    """Of each target, encoded apart from its context."""
    # After nothing a target begins the text; apart, its tokens are those after any other context.
    begins = [not context and (joint or not text[:1].isspace()) for context, text in texts]
    first = [text for (_, text), own in zip(texts, begins, strict=True) if own]
    rest = [each for each, own in zip(texts, begins, strict=True) if not own]
    begun = iter(tokenizer.encode_batch(first))
    continued = iter(
        tokenizer.encode_continuations([text for _, text in rest], after=[each for each, _ in rest])
    )
    return (tuple(next(begun if own else continued)) for own in begins)


def _open(tokens: Sequence[int], end: tuple[int, ...]) -> tuple[int, ...]:
    """Without the end that a template puts after a text."""
    size = len(tokens) - len(end)
    return tuple(tokens[:size] if end and tuple(tokens[size:]) == end else tokens)


def _accounted(
    found: Sequence[Encoded], texts: Sequence[tuple[str, str]], tokenizer: Tokenizer
) -> list[Encoded]:
    if tokenizer.trial.reversible:
        return list(found)
    rows = [(*each.context, *each.target) for each in found]
    both = tokenizer.lost([context + target for context, target in texts], rows)
    targets = tokenizer.lost([target for _, target in texts], [each.target for each in found])
    return [
        replace(each, lost=whole, lost_of_target=own)
        for each, whole, own in zip(found, both, targets, strict=True)
    ]


def encode(texts: Sequence[str], *, tokenizer: Tokenizer, scoring: Scoring) -> list[list[int]]:
    """Tokens of contexts, or of whole documents."""
    return tokenizer.encode_batch(texts, special_tokens=scoring.special_tokens)


def marks_version(tokenizer: Tokenizer, *, architecture: Architecture, scoring: Scoring) -> int:
    """2 where a template's own beginning or end is left out, as it was not before."""
    begins, ends = tokenizer.trial.marks
    if scoring.special_tokens == "none" or architecture == "encoder_decoder":
        return 1
    return 2 if ends or (begins and scoring.start == "always") else 1


def _split(apart: Encoded, whole: tuple[int, ...]) -> Encoded:
    if not apart.context or not apart.target:
        return apart
    size = len(apart.context)
    left = whole[size:]
    if not left:
        return replace(apart, spanning=True, reencoded=True)
    return replace(apart, target=left, spanning=whole[:size] != apart.context)
