"""Checkpoints that this project's scorer and lm-eval's `HFLM` open, with the movies' tokenizer.

Weights are new: what is timed does not depend on what a model has learned, and equal answers are
equal for any weights.
"""

from __future__ import annotations

from pathlib import Path

from bench.corpora import decoder, encoder_decoder, movies, opened
from bench.row import Bench
from study.language.huggingface.export import write_tokenizer
from study.language.huggingface.opened import write_model
from study.language.huggingface.t5 import export_t5
from study.language.model.build import EncoderDecoder, build
from study.language.values.model import Architecture


def checkpoint(architecture: Architecture, bench: Bench, *, width: int, layers: int) -> Path:
    """A directory with a decoder of this project's own classes, or an encoder-decoder as a T5."""
    tokenizer = opened(movies().CORPUS, bench).tokenizer
    shape = decoder if architecture == "causal_decoder" else encoder_decoder
    model = build(shape(width=width, layers=layers), dropout=0.0, seed=0).eval()
    directory = bench.folder / architecture
    directory.mkdir()
    if architecture == "encoder_decoder":
        assert isinstance(model, EncoderDecoder)
        export_t5(model, directory)
    else:
        write_model(directory, model=model)
    tokenizer.save(directory / "tokenizer.json")
    write_tokenizer(directory / "tokenizer.json", directory)
    return directory
