"""Causal and prefix decoders: one class, since they are the same tensors.

`hidden` and `logits` serve training and scoring on a `study.language.layout.Batch`;
`study.language.huggingface.decoder` is the same for transformers. Axes: B rows, T tokens, M model
width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import Embedding, Linear

from study.language.model.continuation import Carried, ExtendedCaches, Kept, caches, without_shared
from study.language.model.language_model import LanguageModel
from study.language.values.model import Model
from study.nn.stack import Stack

if TYPE_CHECKING:
    from study.language.layout import Batch


class Decoder(LanguageModel):
    """A decoder-only language model over intervals."""

    def assemble(self, shape: Model, *, dropout: float) -> None:
        if shape.architecture == "encoder_decoder":
            raise ValueError(
                "architecture 'encoder_decoder' in a decoder; legal: causal_decoder, prefix_decoder"
            )
        self.shape, self.dropout = shape, dropout
        self.embedding = Embedding(shape.vocab_size, shape.d_model)
        self.decoder = Stack(shape, "decoder_only", dropout=dropout)
        self.head = None if shape.tied else Linear(shape.d_model, shape.vocab_size, bias=False)

    def hidden(self, batch: Batch) -> Float[Tensor, "B T M"]:
        """Final, normed states of a laid-out batch."""
        mixing = self.decoder.mixing(batch.positions, batch.visibility)
        return self.decoder(self.embedding(batch.tokens), mixing)

    @property
    def carries(self) -> bool:
        """Whether targets can go on from a context that was read once. A long convolution has no
        incremental form and reads the whole text anew.
        """
        return self.shape.mixer in ("attention", "ssd")

    def read(self, batch: Batch) -> tuple[Float[Tensor, "B M"], Carried]:
        """The states of every row's last column, and what later positions need of the row; rows end
        in the last column (`study.language.model.continuation.flush_right`).
        """
        kept = Kept(layers=self.shape.layers, mixer=self.shape.mixer)
        mixing = self.decoder.mixing(batch.positions, batch.visibility)
        hidden = self.decoder(self.embedding(batch.tokens), mixing, caches=kept.caches)
        return hidden[:, -1], kept.carried

    @property
    def grows(self) -> bool:
        """Whether a context can itself go on from a beginning that was read once: what is read of
        it must not depend on what follows, and its keys can be moved.
        """
        return self.shape.mixer == "attention" and self.shape.architecture == "causal_decoder"

    def read_on(
        self, batch: Batch, carried: Carried, rows: Int64[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B M"], Carried]:
        """`read`, of rows that go on (`study.language.model.continuation.own_half`, one position at
        least) from the beginnings `rows[b]` that were read.
        """
        used = (batch.segments > 0).sum(-1)
        extended = ExtendedCaches(carried, rows, spare=batch.tokens.shape[1] - used)
        past = batch.visibility.num_keys - batch.tokens.shape[1]
        mixing = self.decoder.mixing(batch.positions, batch.visibility, past=past)
        hidden = self.decoder(self.embedding(batch.tokens), mixing, caches=extended.caches)
        return hidden[torch.arange(len(used), device=used.device), used - 1], extended.carried

    def go_on(
        self, batch: Batch, carried: Carried, rows: Int64[Tensor, " B"]
    ) -> Float[Tensor, "B T M"]:
        """States of positions (`study.language.model.continuation.own_half`) that follow what
        `read` has read: row b goes on from the context `rows[b]`. What was carried can be gone on
        from again.
        """
        visibility, past = batch.visibility, batch.visibility.num_keys - batch.tokens.shape[1]
        if self.shape.mixer == "ssd":
            visibility, past = without_shared(visibility, width=past), 0
        mixing = self.decoder.mixing(batch.positions, visibility, past=past)
        before = caches(carried, rows, mixer=self.shape.mixer)
        return self.decoder(self.embedding(batch.tokens), mixing, caches=before)
