"""The encoder-decoder: a bidirectional stack over the source, and a causal one that reads it.

`hidden` and `logits` serve training and scoring on a `study.language.layout.Batch`;
`study.language.huggingface.encoder_decoder` is the same for transformers. Axes: B rows, T targets,
M model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jaxtyping import Float, Int64
from torch import Tensor, nn

from study.language.model.continuation import Carried
from study.language.model.language_model import LanguageModel
from study.language.values.model import Model
from study.nn.attention import Mixing
from study.nn.stack import Crossing, Stack

if TYPE_CHECKING:
    from study.language.layout import Batch, SourceSide


class EncoderDecoder(LanguageModel):
    """An encoder-decoder language model over intervals. Both stacks share the embedding."""

    def assemble(self, shape: Model, *, dropout: float) -> None:
        if shape.architecture != "encoder_decoder":
            raise ValueError(
                f"architecture {shape.architecture!r} in an encoder-decoder; legal: encoder_decoder"
            )
        self.shape, self.dropout = shape, dropout
        self.embedding = nn.Embedding(shape.vocab_size, shape.d_model)
        self.encoder = Stack(shape, "encoder", dropout=dropout)
        self.decoder = Stack(shape, "decoder", dropout=dropout)
        self.head = None if shape.tied else nn.Linear(shape.d_model, shape.vocab_size, bias=False)

    def hidden(self, batch: Batch) -> Float[Tensor, "B T M"]:
        """The decoder's final, normed states of a laid-out batch."""
        # Every route is found before the first layer, so that a compiler sees one graph after it.
        source = _source(batch)
        reading = self.encoder.mixing(source.positions, source.visibility)
        writing, across = self._writing(batch)
        encoded = self.encoder(self.embedding(source.tokens), reading)
        crossing = Crossing(mixing=across, memory=self.decoder.memory(encoded))
        return self.decoder(self.embedding(batch.tokens), writing, crossing=crossing)

    @property
    def carries(self) -> bool:
        """Whether targets can go on from a context that was read once: with every mixer."""
        return True

    def read(self, batch: Batch) -> Carried:
        """Per layer the keys and values of every row's source, read once."""
        source = _source(batch)
        reading = self.encoder.mixing(source.positions, source.visibility)
        encoded = self.encoder(self.embedding(source.tokens), reading)
        return tuple(self.decoder.memory(encoded))

    def go_on(
        self, batch: Batch, carried: Carried, rows: Int64[Tensor, " B"]
    ) -> Float[Tensor, "B T M"]:
        """The decoder's states where row b reads the source `rows[b]` of those that were read; the
        batch's own source says which of its keys are seen.
        """
        writing, across = self._writing(batch)
        crossing = Crossing(mixing=across, memory=_Chosen(carried, rows))
        return self.decoder(self.embedding(batch.tokens), writing, crossing=crossing)

    def _writing(self, batch: Batch) -> tuple[Mixing, Mixing]:
        """The decoder's routes: over itself, and across."""
        own = self.decoder.mixing(batch.positions, batch.visibility)
        return own, self.decoder.crossing(_source(batch).cross)


class _Chosen(Sequence):
    """Every layer's keys and values once for each target: copied when the layer asks for them, so
    that only one layer's copies are there at a time.
    """

    def __init__(self, carried: Carried, rows: Int64[Tensor, " B"]) -> None:
        self._carried, self._rows = carried, rows

    def __len__(self) -> int:
        return len(self._carried)

    def __getitem__(self, layer: int) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        key, value = self._carried[layer]
        return key.index_select(0, self._rows), value.index_select(0, self._rows)


def _source(batch: Batch) -> SourceSide:
    if batch.source is None:
        raise ValueError(
            "the batch has no source; legal: one laid out for architecture 'encoder_decoder'"
        )
    return batch.source
