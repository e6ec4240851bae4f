"""Prefix language modelling (PLM): a uniform split, loss on what follows it."""

from __future__ import annotations

import numpy as np

from study.language.layout import Row, Segment


def draw_split(length: int, *, rng: np.random.Generator) -> int:
    """U{1..length-1}: at least one input and one target.

    A document of one token cannot be split; it is left as an input (1), since under this objective
    the first token of a chunk never carries loss either.
    """
    return int(rng.integers(1, length)) if length > 1 else length


def segment(document: np.ndarray, *, rng: np.random.Generator) -> Segment:
    return split_at(document, draw_split(len(document), rng=rng))


def split_at(document: np.ndarray, split: int) -> Segment:
    return Segment(inputs=document[:split], targets=document[split:])


def paired(first: np.ndarray, second: np.ndarray, *, rng: np.random.Generator) -> Row:
    """Two chunks of L tokens in one encoder-decoder row of L + L (the paper's appendix C).

    The first is split at i, the second at L - i: sources fill i + (L - i) = L tokens, targets
    (L - i) + i = L, so no position is padding however uneven a split is. Marginally both splits are
    uniform.
    """
    split = draw_split(len(first), rng=rng)
    return split_at(first, split), split_at(second, len(second) - split)
