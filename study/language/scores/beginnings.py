"""Contexts that begin alike: which of them are read on from a common beginning.

A causal decoder's states up to a token depend on nothing after it, so prompts of a row that all
begin with its text need that text read once. Which contexts share how much is decided here, from
token ids alone; in what batches is `study.language.scores.scorer`'s.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile

from study.language.scores.passes import Tokens

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
