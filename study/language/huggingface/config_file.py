"""A model's config.json, written without transformers, for transformers to read.

What it holds is `study.language.huggingface.base.StudyConfig`'s; importing that would cost every
process that trains two seconds, so the two files are written here and a test holds one against the
other.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from study.language.layout import END_OF_SEQUENCE, PAD
from study.language.model.language_model import LanguageModel

SPECIAL_TOKENS = {
    "pad_token_id": PAD,
    "bos_token_id": PAD,
    "eos_token_id": END_OF_SEQUENCE,
    "decoder_start_token_id": PAD,
}


def write_config(directory: Path, *, model: LanguageModel) -> None:
    """config.json and generation_config.json of the model."""
    own = configuration(model)
    _write(directory / "config.json", own)
    generation = SPECIAL_TOKENS | {"use_cache": own["use_cache"], "_from_model_config": True}
    _write(directory / "generation_config.json", generation)


def configuration(model: LanguageModel) -> dict[str, Any]:
    """The fields of `study.language.huggingface.base.StudyConfig`, all of them named."""
    shape = model.shape
    split = shape.architecture == "encoder_decoder"
    dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
    return {
        "architectures": ["EncoderDecoderForSeq2SeqLM" if split else "DecoderForCausalLM"],
        "model_type": "study_encoder_decoder" if split else "study_decoder",
        "is_encoder_decoder": split,
        "dtype": dtype,
        **asdict(shape),
        "default_visibility": "prefix" if shape.architecture == "prefix_decoder" else "causal",
        "dropout": model.dropout,
        # A mixer without an incremental form reads the whole text anew for every token.
        "use_cache": shape.mixer == "attention",
        # A tied model has no second tensor; transformers would tie by name after the fact.
        "tie_word_embeddings": False,
        **SPECIAL_TOKENS,
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
