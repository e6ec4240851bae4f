"""Importing this module tells transformers' Auto classes of the study's models.

    import study.auto
    model = AutoModelForCausalLM.from_pretrained(DIRECTORY)

A module of its own, since the Auto classes take a second to import and training needs none.
"""

from __future__ import annotations

from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from study.decoder import DecoderForCausalLM
from study.encoder_decoder import EncoderDecoderForSeq2SeqLM
from study.pretrained import StudyDecoderConfig, StudyEncoderDecoderConfig

AutoConfig.register(StudyDecoderConfig.model_type, StudyDecoderConfig, exist_ok=True)
AutoConfig.register(StudyEncoderDecoderConfig.model_type, StudyEncoderDecoderConfig, exist_ok=True)
AutoModelForCausalLM.register(StudyDecoderConfig, DecoderForCausalLM, exist_ok=True)
AutoModelForSeq2SeqLM.register(StudyEncoderDecoderConfig, EncoderDecoderForSeq2SeqLM, exist_ok=True)
