"""A language checkpoint as a directory of transformers: written, and opened as its kind of model.

Owns which class reads a directory, and what is refused before it does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from study.language.huggingface.config_file import write_config
from study.sources.weight_files import PRECISION, check_finite, read_config, stored_tensors
from study.train.checkpoint import write_weights

if TYPE_CHECKING:
    from study.language.model.language_model import LanguageModel
    from study.store.directory import RunDirectory


def write_model(directory: Path, *, model: LanguageModel) -> None:
    """config.json and weights, as transformers reads them."""
    write_config(directory, model=model)
    write_weights(directory, model=model)


def load_model(directory: RunDirectory, step: int) -> LanguageModel:
    """The model of a finished run's checkpoint, digests checked, in evaluation mode."""
    return read_model(directory.checkpoint(step))


def read_model(directory: Path) -> LanguageModel:
    """A checkpoint or any directory that `save_pretrained` wrote, in evaluation mode and in float32
    whatever its files are written in; transformers' own kind of model.
    """
    from study.language.huggingface.base import StudyDecoderConfig, StudyEncoderDecoderConfig
    from study.language.huggingface.decoder import DecoderForCausalLM
    from study.language.huggingface.encoder_decoder import EncoderDecoderForSeq2SeqLM

    kind = read_config(directory).get("model_type")
    stored_tensors(directory)
    families = {
        StudyDecoderConfig.model_type: DecoderForCausalLM,
        StudyEncoderDecoderConfig.model_type: EncoderDecoderForSeq2SeqLM,
    }
    if kind not in families:
        raise ValueError(
            f"{directory / 'config.json'}: model_type is {kind!r}; legal: {', '.join(families)}"
        )
    try:
        model = families[kind].from_pretrained(
            directory,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=getattr(torch, PRECISION),
        )
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError) as error:
        raise ValueError(
            f"{directory}: its config.json is no model's here: {type(error).__name__}: {error}"
        ) from error
    check_finite(model.state_dict(), owner=directory)
    return model.eval()
