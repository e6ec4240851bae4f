"""The study's models as transformers': configuration, loading, what `generate()` needs.

Owns `StudyConfig`, which a saved directory's config.json holds, and a `from_pretrained` that reads
safetensors only and accounts for every tensor. It owns no forward pass. Training does without:
importing transformers takes longer than importing torch.
"""

from __future__ import annotations

import os
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch
from jaxtyping import Bool, Int64
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.generation.utils import GenerationMixin

from study.language.layout import END_OF_SEQUENCE, PAD
from study.language.values.model import Architecture, Model
from study.nn.attention import KeyValues
from study.nn.initial_values import initial_values

IGNORED = -100


class StudyConfig(PreTrainedConfig):
    """A `study.language.values.model.Model` in Hugging Face's clothes.

    default_visibility is what `generate()` and a bare `forward()` give a prompt: `causal`, or
    `prefix`, under which the whole prompt sees itself. dropout is the training's, kept so that a
    loaded model trains on as it was; it is no part of the model's shape.
    """

    model_type = "study"
    keys_to_ignore_at_inference = ["past_key_values"]  # noqa: RUF012
    attribute_map = {  # noqa: RUF012
        "hidden_size": "d_model",
        "num_attention_heads": "heads",
        "num_hidden_layers": "layers",
        "head_dim": "d_head",
        "intermediate_size": "d_ff",
    }

    architecture: str = "causal_decoder"
    default_visibility: str = "causal"
    mixer: str = "attention"
    positions: str = "rope"
    layers: int = 1
    d_model: int = 64
    heads: int = 1
    d_head: int = 64
    d_ff: int = 128
    vocab_size: int = 64
    tied: bool = True
    d_state: int = 0
    blocks: int = 0
    d_filter: int = 0
    span: int = 0
    basis: int = 0
    dropout: float = 0.0
    use_cache: bool = True
    pad_token_id: int | None = PAD
    bos_token_id: int | None = PAD
    eos_token_id: int | list[int] | None = END_OF_SEQUENCE
    decoder_start_token_id: int | None = PAD
    # transformers ties by name after the fact; here a tied model simply has no second tensor.
    tie_word_embeddings: bool = False

    @property
    def model(self) -> Model:
        """The shape as a run declares it; raises ValueError on a config.json that has none."""
        if self.architecture not in get_args(Architecture):
            raise ValueError(
                f"architecture {self.architecture!r}; legal: {', '.join(get_args(Architecture))}"
            )
        return Model(**{each.name: getattr(self, each.name) for each in fields(Model)})


class StudyDecoderConfig(StudyConfig):
    """Causal and prefix decoders: the same tensors, told apart by `default_visibility`."""

    model_type = "study_decoder"


class StudyEncoderDecoderConfig(StudyConfig):
    """An encoder-decoder; `layers` is the depth of each of its two stacks."""

    model_type = "study_encoder_decoder"
    architecture: str = "encoder_decoder"
    is_encoder_decoder: bool = True


class StudyModel(PreTrainedModel, GenerationMixin):
    """What decoder and encoder-decoder share: files and caches; beside it stands a
    `study.language.model.language_model.LanguageModel`.
    """

    config: StudyConfig  # type: ignore[assignment]
    config_class = StudyConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    supports_gradient_checkpointing = False
    embedding: nn.Embedding
    head: nn.Linear | None
    _supports_sdpa = True

    @torch.no_grad()
    def initialize_weights(self) -> None:
        """Give every tensor that was not loaded its first values, from torch's global generator;
        `study.language.model.build.build` draws from a seed instead.
        """
        for name, parameter in self.named_parameters():
            if parameter.is_meta or getattr(parameter, "_is_hf_initialized", False):
                continue
            parameter.copy_(initial_values(name, parameter.shape, self.config.model, None))

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, pretrained_model_name_or_path: str | os.PathLike[str], *args: Any, **kwargs: Any
    ) -> Any:
        """transformers' own, with safetensors only and every tensor accounted for."""
        if kwargs.pop("use_safetensors", True) is not True:
            raise ValueError(
                "use_safetensors=False would read a pickle, which can run code; legal: safetensors"
            )
        _refuse_pickle(Path(pretrained_model_name_or_path))
        wants_info = kwargs.pop("output_loading_info", False)
        kwargs["ignore_mismatched_sizes"] = True  # whose shapes differ is told by name below
        model, info = super().from_pretrained(  # type: ignore[misc]
            pretrained_model_name_or_path,
            *args,
            use_safetensors=True,
            output_loading_info=True,
            **kwargs,
        )
        gaps = {name: sorted(map(str, info[name])) for name in _GAPS if info.get(name)}
        if gaps:
            raise ValueError(
                f"{pretrained_model_name_or_path} does not hold this model's tensors: "
                + "; ".join(f"{name}: {', '.join(keys)}" for name, keys in gaps.items())
            )
        return (model, info) if wants_info else model

    def caches(self, cache: Cache | None) -> list[KeyValues] | None:
        """How each layer's keys and values pass through `generate()`'s cache."""
        if cache is None:
            return None
        return [partial(_through, cache, layer) for layer in range(self.config.layers)]

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def get_output_embeddings(self) -> nn.Module:
        return self.embedding if self.head is None else self.head


def _through(cache: Cache, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    return cache.update(key, value, layer)


def token_mask(
    tokens: Int64[Tensor, "B T"], attention_mask: Tensor | None, *, columns: int
) -> Bool[Tensor, "B C"]:
    """True on tokens, over the cached and the new columns; refuses padding that is not on the
    left.
    """
    if attention_mask is None:
        return torch.ones(len(tokens), columns, dtype=torch.bool, device=tokens.device)
    if attention_mask.shape != (len(tokens), columns):
        raise ValueError(
            f"attention_mask {tuple(attention_mask.shape)}; legal: {(len(tokens), columns)}"
        )
    real = attention_mask.bool()
    right = (real[:, :-1] & ~real[:, 1:]).any(-1)
    if bool(right.any()):
        raise ValueError(
            f"row {int(right.nonzero()[0])} of attention_mask is 0 after a 1; legal: padding on "
            "the left only, since positions are counted from a row's first token"
        )
    return real


_GAPS = ("missing_keys", "unexpected_keys", "mismatched_keys")


def _refuse_pickle(directory: Path) -> None:
    """Name the pickle that lies where safetensors are expected, instead of reading it."""
    if not directory.is_dir() or any(directory.glob("*.safetensors")):
        return
    pickles = sorted(
        path.name for path in directory.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".ckpt")
    )
    found = f"it holds {', '.join(pickles)}, a pickle, which is never loaded" if pickles else ""
    raise ValueError(f"{directory} has no model.safetensors" + (f": {found}" if found else ""))
