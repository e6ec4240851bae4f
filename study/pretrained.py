"""The part of a model that is about files and beginnings: configuration, first values, loading.

Owns `StudyConfig`, which a saved directory's config.json holds, the rule that gives every tensor
its first values, and a `from_pretrained` that reads safetensors only and accounts for every tensor.
It owns no forward pass.
"""

from __future__ import annotations

import hashlib
import math
import os
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.generation.utils import GenerationMixin

from study.implicit_filter import FEATURES
from study.mixers import KeyValues
from study.run import Architecture, Model

PAD = 0
END_OF_SEQUENCE = 1
IGNORED = -100


class StudyConfig(PreTrainedConfig):
    """A `study.run.Model` in Hugging Face's clothes.

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
        return Model(
            architecture=self.architecture,  # type: ignore[arg-type]
            mixer=self.mixer,  # type: ignore[arg-type]
            positions=self.positions,  # type: ignore[arg-type]
            layers=self.layers,
            d_model=self.d_model,
            heads=self.heads,
            d_head=self.d_head,
            d_ff=self.d_ff,
            vocab_size=self.vocab_size,
            tied=self.tied,
            d_state=self.d_state,
            blocks=self.blocks,
            d_filter=self.d_filter,
            span=self.span,
            basis=self.basis,
        )


class StudyDecoderConfig(StudyConfig):
    """Causal and prefix decoders: the same tensors, told apart by `default_visibility`."""

    model_type = "study_decoder"


class StudyEncoderDecoderConfig(StudyConfig):
    """An encoder-decoder; `layers` is the depth of each of its two stacks."""

    model_type = "study_encoder_decoder"
    architecture: str = "encoder_decoder"
    is_encoder_decoder: bool = True


def configuration(model: Model, *, dropout: float) -> StudyConfig:
    """The configuration that describes `model`."""
    if not 0.0 <= dropout < 1.0:
        raise ValueError(f"dropout is {dropout!r}; legal: 0 <= dropout < 1")
    kind = (
        StudyEncoderDecoderConfig if model.architecture == "encoder_decoder" else StudyDecoderConfig
    )
    return kind(
        architecture=model.architecture,
        default_visibility="prefix" if model.architecture == "prefix_decoder" else "causal",
        mixer=model.mixer,
        positions=model.positions,
        layers=model.layers,
        d_model=model.d_model,
        heads=model.heads,
        d_head=model.d_head,
        d_ff=model.d_ff,
        vocab_size=model.vocab_size,
        tied=model.tied,
        d_state=model.d_state,
        blocks=model.blocks,
        d_filter=model.d_filter,
        span=model.span,
        basis=model.basis,
        # a mixer without an incremental form reads the whole text anew for every token
        use_cache=model.mixer == "attention",
        dropout=dropout,
    )


def initial_values(
    name: str, shape: torch.Size, model: Model, generator: torch.Generator | None
) -> Tensor:
    """A tensor's first values: T5's initialisation (Raffel et al. 2020; t5x for the untied head).

    | tensor                     | standard deviation                                      |
    |----------------------------|---------------------------------------------------------|
    | embedding                  | 1                                                       |
    | query                      | (d_model d_head) ** -0.5 under T5's schemes; elsewhere, |
    |                            | where scores are scaled, d_model ** -0.5                |
    | key, value, gate, up, head | d_model ** -0.5                                         |
    | write, read, step          | d_model ** -0.5                                         |
    | short                      | taps ** -0.5                                            |
    | output                     | (heads d_head) ** -0.5                                  |
    | down                       | d_ff ** -0.5                                            |
    | position tables            | d_model ** -0.5; the half-table for later keys is zero  |
    | norms, skip                | all ones                                                |
    | stacks of blocks           | (inputs of a block) ** -0.5                             |

    A state-space mixer's decay is drawn log-uniformly in [1, 16] and its step, through softplus, in
    [0.001, 0.1] (Dao and Gu 2024). A filter's network begins with torch's deviations for a linear
    layer and with frequencies of 10 (Poli et al. 2023); its taps so that a channel's squares sum to
    about 1. Learned bases begin as the monomials, the identity.
    """
    leaf = name.split(".")[-2] if name.endswith(".weight") else name.split(".")[-1]
    match leaf:
        case "low_digits" | "high_digits":
            return torch.eye(shape[1]).expand(shape).clone()
        case _ if len(shape) == 3:
            deviation = shape[2] ** -0.5
        case "first" | "second" | "third" if name.endswith(".weight"):
            deviation = (3 * shape[1]) ** -0.5
        case "taps":
            deviation = 5.5 * (shape[1] * model.span) ** -0.5
        case "bias":
            deviation = (3 * FEATURES) ** -0.5
        case "frequency":
            return torch.full(shape, 10.0)
        case "embedding":
            deviation = 1.0
        case "query" if model.positions in ("t5_bias", "t5_bias_paper"):
            deviation = (model.d_model * model.d_head) ** -0.5
        case "query" | "key" | "value" | "gate" | "up" | "head" | "table":
            deviation = model.d_model**-0.5
        case "write" | "read" | "step":
            deviation = model.d_model**-0.5
        case "short":
            deviation = shape[1] ** -0.5
        case "log_decay":
            return torch.empty(shape).uniform_(1.0, 16.0, generator=generator).log()
        case "step_bias":
            low, high = math.log(1e-3), math.log(1e-1)
            step = torch.empty(shape).uniform_(low, high, generator=generator).exp()
            return step + torch.log(-torch.expm1(-step))  # softplus, backwards
        case "skip":
            return torch.ones(shape)
        case "output":
            deviation = (model.heads * model.d_head) ** -0.5
        case "down":
            deviation = model.d_ff**-0.5
        case "later":
            return torch.zeros(shape)
        case _ if leaf.endswith("norm"):
            return torch.ones(shape)
        case _:
            raise ValueError(f"no initialisation is known for {name!r}")
    return torch.empty(shape).normal_(0.0, deviation, generator=generator)


def seeded(name: str, seed: int) -> torch.Generator:
    """A generator of the tensor's own: equally named tensors begin alike in every architecture."""
    digest = hashlib.sha256(f"initialise/{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


class StudyModel(PreTrainedModel, GenerationMixin):
    """What decoder and encoder-decoder share: files, first values, the output matrix."""

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
        `study.model.build` draws from a seed instead.
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

    def read_out(
        self, hidden: Float[Tensor, "*B M"]
    ) -> tuple[Float[Tensor, "*B M"], Float[Tensor, "V M"]]:
        """What is multiplied to logits: (states, matrix). A tied embedding has unit variance, so
        its logits are scaled down.
        """
        if self.head is not None:
            return hidden, self.head.weight
        return hidden * self.config.d_model**-0.5, self.embedding.weight

    def logits(self, hidden: Float[Tensor, "*B M"]) -> Float[Tensor, "*B V"]:
        """Scores of the next token."""
        return functional.linear(*self.read_out(hidden))

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


def real_tokens(
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
