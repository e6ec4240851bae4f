"""What every architecture's model shares: a shape, an embedding and an output matrix.

Plain torch: training imports nothing of transformers. Its own kind of model, with files and
`generate()`, is `study.language.huggingface.base`'s. Axes: B rows, T tokens, M model width, V
vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from study.language.values.model import Model

if TYPE_CHECKING:
    from study.language.layout import Batch


class LanguageModel(nn.Module):
    """A model that eats laid-out batches.

    dropout: the training's, kept so that a loaded model trains on as it was; it is no part of the
    shape.
    """

    shape: Model
    dropout: float
    embedding: nn.Embedding
    head: nn.Linear | None

    def __init__(self, shape: Model, *, dropout: float) -> None:
        super().__init__()
        self.assemble(shape, dropout=dropout)

    def assemble(self, shape: Model, *, dropout: float) -> None:
        """Make the parts; apart from `__init__`, whose arguments are others in transformers.

        Raises ValueError where the shape is of another architecture.
        """
        raise NotImplementedError

    def hidden(self, batch: Batch) -> Float[Tensor, "B T M"]:
        """Final, normed states of a laid-out batch: an encoder-decoder's are its decoder's."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        return self.embedding.weight.device

    def read_out(
        self, hidden: Float[Tensor, "*B M"]
    ) -> tuple[Float[Tensor, "*B M"], Float[Tensor, "V M"]]:
        """What is multiplied to logits: (states, matrix). A tied embedding has unit variance, so
        its logits are scaled down.
        """
        if self.head is not None:
            return hidden, self.head.weight
        return hidden * self.shape.d_model**-0.5, self.embedding.weight

    def logits(self, hidden: Float[Tensor, "*B M"]) -> Float[Tensor, "*B V"]:
        """Scores of the next token."""
        return functional.linear(*self.read_out(hidden))
