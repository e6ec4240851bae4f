"""Associative recall: documents that list pairs of a key and a value and then ask for the values.

    pairs ba eb ta ek ... find ta ek ba eb ...

Multi-query associative recall (Arora et al. 2023, "Zoology", section 3.1) in the microworld's
spelling: keys and values are drawn anew for every document, so nothing but the document says which
value belongs to which key. Every key is asked for once, in another order. Documents have two pairs
or more, up to a most: with short ones among them look-up forms within a few million tokens, with
equally long ones alone it did not (LOG.md). Owns documents, rows and the prompt of one family,
`recall`; its words occur nowhere else in the microworld.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

_CONSONANTS = "bdfghjklmnprstvz"
KEYS = tuple(consonant + vowel for consonant in _CONSONANTS for vowel in "ai")
VALUES = tuple(vowel + consonant for consonant in _CONSONANTS for vowel in "eu")
MOST_PAIRS = len(KEYS)
LEAST_PAIRS = 2
CHOICES = 4
CHANCE = 1 / CHOICES

PROMPT = "{{context}} find {{key}}"


def documents(number: int, *, pairs: int, seed: int) -> Iterator[str]:
    """Documents of U{2..pairs} pairs and as many queries; document i is a function of (seed, i)."""
    _check(pairs)
    return (_document(pairs, seed=seed, index=index) for index in range(number))


def rows(number: int, *, pairs: int, seed: int) -> Iterator[dict[str, Any]]:
    """Questions after one key each, every row of a document of its own, of exactly `pairs` pairs.

    choices: the key's value and three other values of the same document, in drawn order, so a
    scorer that ignores the prompt, or knows only which values were named, is right in a quarter.
    """
    _check(pairs)
    return (_row(pairs, seed=seed, index=index) for index in range(number))


def _check(pairs: int) -> None:
    if not CHOICES <= pairs <= MOST_PAIRS:
        raise ValueError(f"world recall: pairs={pairs}; legal: {CHOICES} to {MOST_PAIRS}")


def _drawn(rng: random.Random, pairs: int) -> list[tuple[str, str]]:
    return list(zip(rng.sample(KEYS, pairs), rng.sample(VALUES, pairs), strict=True))


def _listed(pairs: list[tuple[str, str]]) -> str:
    return " ".join(f"{key} {value}" for key, value in pairs)


def _document(pairs: int, *, seed: int, index: int) -> str:
    rng = random.Random(f"world recall text {pairs} {seed} {index}")
    drawn = _drawn(rng, rng.randint(LEAST_PAIRS, pairs))
    return f"pairs {_listed(drawn)} find {_listed(rng.sample(drawn, len(drawn)))}"


def _row(pairs: int, *, seed: int, index: int) -> dict[str, Any]:
    rng = random.Random(f"world recall rows {pairs} {seed} {index}")
    drawn = _drawn(rng, pairs)
    asked = rng.sample(drawn, CHOICES)
    key, value = asked[0]
    choices = [each for _, each in asked]
    rng.shuffle(choices)
    return {
        "context": f"pairs {_listed(drawn)}",
        "key": key,
        "choices": choices,
        "label": choices.index(value),
    }
