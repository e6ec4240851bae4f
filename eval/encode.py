"""Text to tokens under the scoring rule: where a context ends and its target begins.

Owns what `Scoring.encoding`, `spaces` and `special_tokens` mean for text; what follows for tokens
is `eval.score`'s. Texts are complete: the space between a prompt and its answer is the task's.

Rules:

- Spaces at a context's end move to its target's beginning as `Scoring.spaces` says. A context of
  nothing else is then an empty one.
- `apart`: two encodings. Every target has the same tokens after every context.
- `joint`: the target is what the encoding of both has after as many tokens as the context has
  alone; the context is its own encoding. Where a token of the joint encoding spans the border, the
  two differ: the pair is counted as *spanning* and scored as cut, like lm-eval. Where no token is
  left for a target that has text, the pair is encoded apart and counted as *re-encoded*; lm-eval
  stops there.
- An empty target has no tokens, and the scorer calls it invalid.
- Special tokens are never read out of text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from study.data.tokenizer import Tokenizer
from study.run import Architecture, Scoring


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Token ids of a context and a target, and what the border made of them."""

    context: tuple[int, ...]
    target: tuple[int, ...]
    spanning: bool = False
    reencoded: bool = False


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
    contexts = [tuple(known[context]) if context else () for context, _ in texts]
    targets = map(tuple, tokenizer.encode_batch([target for _, target in texts]))
    apart = [
        Encoded(context=context, target=target)
        for context, target in zip(contexts, targets, strict=True)
    ]
    if scoring.encoding == "apart" or architecture == "encoder_decoder":
        return apart
    wholes = encode(
        [context + target for context, target in texts], tokenizer=tokenizer, scoring=scoring
    )
    return [_split(each, tuple(whole)) for each, whole in zip(apart, wholes, strict=True)]


def encode(texts: Sequence[str], *, tokenizer: Tokenizer, scoring: Scoring) -> list[list[int]]:
    """Tokens of contexts, or of whole documents."""
    if scoring.special_tokens == "none":
        return tokenizer.encode_batch(texts)
    fast = tokenizer._fast  # the study's wrapper never adds special tokens
    return [each.ids for each in fast.encode_batch_fast(list(texts), add_special_tokens=True)]


def _split(apart: Encoded, whole: tuple[int, ...]) -> Encoded:
    if not apart.context or not apart.target:
        return apart
    size = len(apart.context)
    left = whole[size:]
    if not left:
        return Encoded(context=apart.context, target=apart.target, spanning=True, reencoded=True)
    return Encoded(context=apart.context, target=left, spanning=whole[:size] != apart.context)
