"""Language models as transformers knows them: in its Auto classes, and as its own kind of model.

Importing this module registers the classes; `import study.auto` does so for every domain. A module
of its own, since the Auto classes take a second to import and training needs none.
"""

from __future__ import annotations

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from study.language.huggingface.base import StudyDecoderConfig, StudyEncoderDecoderConfig
from study.language.huggingface.config_file import configuration
from study.language.huggingface.decoder import DecoderForCausalLM
from study.language.huggingface.encoder_decoder import EncoderDecoderForSeq2SeqLM
from study.language.model.language_model import LanguageModel

AutoConfig.register(StudyDecoderConfig.model_type, StudyDecoderConfig, exist_ok=True)
AutoConfig.register(StudyEncoderDecoderConfig.model_type, StudyEncoderDecoderConfig, exist_ok=True)
AutoModelForCausalLM.register(StudyDecoderConfig, DecoderForCausalLM, exist_ok=True)
AutoModelForSeq2SeqLM.register(StudyEncoderDecoderConfig, EncoderDecoderForSeq2SeqLM, exist_ok=True)


def pretrained(model: LanguageModel) -> DecoderForCausalLM | EncoderDecoderForSeq2SeqLM:
    """The same tensors, not copied, as a model of transformers: with `save_pretrained` and
    `generate()`, training or evaluating as `model` does.
    """
    fields = configuration(model)
    del fields["model_type"]  # the class's own
    with torch.device("meta"):
        if model.shape.architecture == "encoder_decoder":
            dressed = EncoderDecoderForSeq2SeqLM(StudyEncoderDecoderConfig(**fields))
        else:
            dressed = DecoderForCausalLM(StudyDecoderConfig(**fields))
    dressed.load_state_dict(model.state_dict(keep_vars=True), assign=True)
    return dressed.train(model.training)
