"""An objective turns text into segments of (inputs, targets). One module each.

Owns the dispatch and the rule for documents in a chunk: without `document_masking` a chunk is one
segment, whatever documents it holds; with it, every document of the chunk is a segment of its own.
Knows nothing of architectures; the one place where the paper packs by architecture (encoder-decoder
prefix LM) is `prefix_lm.paired`, called by `study.language.data.batches`.
"""

from __future__ import annotations

import numpy as np

from study.language.layout import Row, Segment
from study.language.objectives import full_lm, prefix_lm, span_corruption
from study.language.values.objective import FullLM, Packing, PrefixLM, SpanCorruption

TextObjective = FullLM | PrefixLM | SpanCorruption


def segments(
    objective: TextObjective,
    chunk: np.ndarray,
    document_starts: np.ndarray,
    *,
    rng: np.random.Generator,
    sentinels: range,
    packing: Packing,
) -> Row:
    """The segments of one chunk.

    chunk: int32 (raw length,). document_starts: indices in the chunk at which a document starts,
    ascending, 0 first. sentinels: their ids, descending from sentinel 0 (see `sentinel_ids`).
    """
    if not packing.document_masking:
        return (_segment(objective, chunk, rng=rng, sentinels=sentinels),)
    return tuple(
        _segment(objective, document, rng=rng, sentinels=sentinels)
        for document in np.split(chunk, document_starts[1:])
    )


def sentinel_ids(*, vocab_size: int, sentinels: int) -> range:
    """The last ids of the tokenizer's vocabulary, descending: sentinel 0 is `vocab_size` - 1."""
    return range(vocab_size - 1, vocab_size - 1 - sentinels, -1)


def raw_length(objective: TextObjective) -> int:
    """Tokens of the source text in one chunk."""
    match objective:
        case FullLM() | PrefixLM():
            return objective.length
        case SpanCorruption():
            return objective.raw_length


def _segment(
    objective: TextObjective, document: np.ndarray, *, rng: np.random.Generator, sentinels: range
) -> Segment:
    match objective:
        case FullLM():
            return full_lm.segment(document)
        case PrefixLM():
            return prefix_lm.segment(document, rng=rng)
        case SpanCorruption():
            return span_corruption.segment(
                document, objective=objective, rng=rng, sentinels=sentinels
            )
