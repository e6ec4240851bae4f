"""Text as an endless stream of tokens that can be read anywhere: a pure function of (seed, place).

An epoch is a seeded permutation of the documents, concatenated; the stream is the epochs one after
the other; chunk n is its n-th stretch of `raw_length` tokens. So every token is read once per
epoch, nothing is kept between reads, and a restart, another world size or another architecture
changes nothing. Owns order and cutting; corruption and layout come later
(`study.language.data.batches`).
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from study.language.layout import END_OF_SEQUENCE
from study.language.values.objective import Packing

# Each use of a run's seed draws from its own generator: (seed, use, index).
ORDER, CORRUPTION, MIXTURE = 0, 1, 2


@runtime_checkable
class Tokens(Protocol):
    """What a stream needs of `study.language.data.shards.TokenShards`."""

    @property
    def lengths(self) -> np.ndarray: ...

    def tokens(self, low: int, high: int) -> np.ndarray:
        """Tokens [low, high) of all documents written one after the other."""
        ...


class TextStream:
    """Random access to the endless stream of one seed."""

    def __init__(self, shards: Tokens, *, raw_length: int, packing: Packing, seed: int) -> None:
        self.shards = shards
        self.raw_length = raw_length
        self.seed = seed
        self._ends = int(packing.eos_between)
        lengths = np.asarray(shards.lengths, dtype=np.int64)
        self._lengths = lengths
        self._begins = np.cumsum(lengths) - lengths
        self.epoch_tokens = int(lengths.sum()) + self._ends * len(lengths)
        if int(lengths.sum()) == 0:
            raise ValueError(
                f"the corpus holds {len(lengths)} documents and no token; legal: one token or more"
            )
        self._epochs: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def chunk(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """(tokens int32 (raw_length,), document starts in it, 0 first)."""
        return self.read(index * self.raw_length, (index + 1) * self.raw_length)

    def read(self, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens [low, high) of the stream, and the indices at which a document starts in them.

        Index 0 counts as a start: what came before it is not in this stretch.
        """
        tokens = np.empty(high - low, dtype=np.int32)
        starts: list[int] = []
        filled = 0
        while filled < high - low:
            epoch, inside = divmod(low + filled, self.epoch_tokens)
            order, offsets = self._epoch(epoch)
            stop = min(inside + high - low - filled, self.epoch_tokens)
            first = int(np.searchsorted(offsets, inside, side="right")) - 1
            last = int(np.searchsorted(offsets, stop, side="left"))
            for document, offset in zip(
                order[first:last].tolist(), offsets[first:last].tolist(), strict=True
            ):
                begin, length = int(self._begins[document]), int(self._lengths[document])
                taken = max(inside - offset, 0)
                until = min(stop - offset, length + self._ends)
                if until <= taken:
                    continue
                starts.append(filled)
                text = min(until, length)
                if text > taken:
                    tokens[filled : filled + text - taken] = self.shards.tokens(
                        begin + taken, begin + text
                    )
                filled += until - taken
                if until > length:
                    tokens[filled - 1] = END_OF_SEQUENCE
        return tokens, np.array(starts, dtype=np.int64)

    def _epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """(documents in order, their first places in the epoch)."""
        if epoch not in self._epochs:
            # A batch touches two epochs at most unless the corpus is tiny; more are made again.
            while len(self._epochs) >= 2:
                del self._epochs[min(self._epochs)]
            order = np.random.default_rng((self.seed, ORDER, epoch)).permutation(len(self._lengths))
            spans = self._lengths[order] + self._ends
            self._epochs[epoch] = (order, np.cumsum(spans) - spans)
        return self._epochs[epoch]
