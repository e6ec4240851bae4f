"""Span corruption (MLM; Raffel et al. 2020): spans become sentinels, and the spans are the targets.

The arithmetic is T5's (t5.data.preprocessors): 568 raw tokens at density 0.15 and mean span 3.0
have 85 noise tokens in 28 spans, 512 inputs and 114 targets. Lengths are multiplied by the density
in float64, as T5's `random_spans_helper` does; its `random_spans_noise_mask` takes float32, whose
0.15 is 6e-9 too large. A product of k + .5 with an even k is a tie here, which goes to k, and there
just above one, which goes to k + 1: at density 0.15 and mean span 3.0 the mask has one noise token
and one span more at 39 lengths below 5,000 (190, 350, 390, 670, …, 3,390) and is equal at all
others. No declared run meets one: its chunks have 114 (their documents, kept apart, at most that),
231, 283 or 568 tokens. So what T5's two functions differ on is left as stored runs have it.

The text starts with non-noise and ends with noise. Inputs are the text with every span replaced by
its sentinel; targets are sentinel, span, sentinel, span, …, without a closing sentinel. Both end in
an end of sequence.
"""

from __future__ import annotations

import numpy as np

from study.language.layout import END_OF_SEQUENCE, Segment
from study.language.values.objective import SpanCorruption


def draw_runs(
    length: int, *, noise: int, spans: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Lengths of the `spans` kept and the `spans` noise runs, which alternate, kept first."""
    kept = _partition(length - noise, spans, rng=rng)
    return kept, _partition(noise, spans, rng=rng)


def segment(
    document: np.ndarray,
    *,
    objective: SpanCorruption,
    rng: np.random.Generator,
    sentinels: range,
) -> Segment:
    """Corrupt one document (or a whole chunk, where documents are not kept apart).

    A document of one token, or none, has nothing to corrupt beside what must stay: it is left as
    an input, and its targets are empty, so it carries no loss.
    """
    noise, spans = objective.noise(len(document)) if len(document) else (0, 0)
    if spans > len(sentinels):
        raise ValueError(
            f"span corruption of {len(document)} tokens has {spans} spans and the vocabulary has "
            f"{len(sentinels)} sentinels; legal: at least as many sentinels as spans"
        )
    if noise == 0:
        nothing = document[:0]
        return Segment(inputs=_marked(document, nothing, nothing), targets=nothing)
    kept, masked = draw_runs(len(document), noise=noise, spans=spans, rng=rng)
    runs = np.empty(2 * spans, dtype=np.int64)
    runs[0::2], runs[1::2] = kept, masked
    is_noise = np.repeat(np.arange(2 * spans) % 2 == 1, runs)
    marks = np.arange(sentinels[0], sentinels[0] - spans, -1, dtype=np.int32)
    number = np.arange(spans)
    return Segment(
        # Sentinel k follows k sentinels and k + 1 kept runs; in the targets, k noise runs.
        inputs=_marked(document[~is_noise], marks, np.cumsum(kept) + number),
        targets=_marked(document[is_noise], marks, np.cumsum(masked) - masked + number),
    )


def _marked(text: np.ndarray, marks: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The text with marks at these places of the result, and an end of sequence."""
    result = np.empty(len(text) + len(marks) + 1, dtype=np.int32)
    is_text = np.ones(len(result), dtype=bool)
    is_text[places] = False
    is_text[-1] = False
    result[is_text] = text
    result[places] = marks
    result[-1] = END_OF_SEQUENCE
    return result


def _partition(items: int, parts: int, *, rng: np.random.Generator) -> np.ndarray:
    """Lengths of `parts` non-empty parts of `items`, uniform over all such partitions."""
    # T5 shuffles parts - 1 ones among items - 1 places: each place after the first may open a part.
    bounds = np.empty(parts + 1, dtype=np.int64)
    bounds[0], bounds[-1] = 0, items
    bounds[1:-1] = rng.permutation(items - 1)[: parts - 1] + 1
    bounds.sort()
    return bounds[1:] - bounds[:-1]
