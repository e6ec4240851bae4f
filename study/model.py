"""Models of the study, built from their shapes.

The classes live in `study.decoder` and `study.encoder_decoder`, their files and first values in
`study.pretrained`; `study.auto` tells transformers of them.
"""

from __future__ import annotations

import torch

from study.decoder import DecoderForCausalLM
from study.encoder_decoder import EncoderDecoderForSeq2SeqLM
from study.pretrained import (
    StudyConfig,
    StudyEncoderDecoderConfig,
    configuration,
    initial_values,
    seeded,
)
from study.run import Model

__all__ = [
    "DecoderForCausalLM",
    "EncoderDecoderForSeq2SeqLM",
    "LanguageModel",
    "StudyConfig",
    "build",
    "empty",
]

LanguageModel = DecoderForCausalLM | EncoderDecoderForSeq2SeqLM


def empty(model: Model, *, dropout: float) -> LanguageModel:
    """The model on the meta device: names and shapes without memory."""
    config = configuration(model, dropout=dropout)
    with torch.device("meta"):
        if isinstance(config, StudyEncoderDecoderConfig):
            return EncoderDecoderForSeq2SeqLM(config)
        return DecoderForCausalLM(config)  # type: ignore[arg-type]


@torch.no_grad()
def build(model: Model, *, dropout: float, seed: int) -> LanguageModel:
    """A freshly initialised model in training mode. The values depend on `seed` and the tensors'
    names alone; torch's global generator is neither read nor moved.
    """
    built = empty(model, dropout=dropout).to_empty(device="cpu")
    for name, parameter in built.named_parameters():
        parameter.copy_(initial_values(name, parameter.shape, model, seeded(name, seed)))
    return built.train()
