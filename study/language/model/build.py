"""Models of the study, built from their shapes.

The classes live in `study.language.model.decoder` and `study.language.model.encoder_decoder`, what
they share in `study.language.model.language_model`; `study.auto` turns them into transformers'.
"""

from __future__ import annotations

import torch

from study.language.model.decoder import Decoder
from study.language.model.encoder_decoder import EncoderDecoder
from study.language.model.language_model import LanguageModel
from study.language.values.model import Model
from study.nn.initial_values import initial_values, seeded

__all__ = ["Decoder", "EncoderDecoder", "LanguageModel", "build", "empty"]


def empty(shape: Model, *, dropout: float) -> LanguageModel:
    """The model on the meta device: names and shapes without memory."""
    if not 0.0 <= dropout < 1.0:
        raise ValueError(f"dropout is {dropout!r}; legal: 0 <= dropout < 1")
    family = EncoderDecoder if shape.architecture == "encoder_decoder" else Decoder
    with torch.device("meta"):
        return family(shape, dropout=dropout)


@torch.no_grad()
def build(shape: Model, *, dropout: float, seed: int) -> LanguageModel:
    """A freshly initialised model in training mode. The values depend on `seed` and the tensors'
    names alone; torch's global generator is neither read nor moved.
    """
    built = empty(shape, dropout=dropout).to_empty(device="cpu")
    for name, parameter in built.named_parameters():
        parameter.copy_(initial_values(name, parameter.shape, shape, seeded(name, seed)))
    return built.train()
