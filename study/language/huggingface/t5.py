"""T5 1.1 checkpoints of transformers, in and out: the same weights under the other's names.

With `t5_bias` the encoder-decoder computes T5's equations (gated-gelu): in float64 to 1e-12 of the
largest logit, and in float32 no farther from them than twice what transformers'
`T5ForConditionalGeneration` is, whatever the depth and the length; so what the two differ by is
rounding, which grows with both (1.6e-5 was seen at 4 layers and 400 tokens). transformers itself
rounds its norms and its softmax to float32 in float64 too. Tied T5 scales its output by
d_model ** -0.5, untied T5 (1.1) does not; `Model.tied` means both. Files are safetensors.

Owns the correspondence of names and of configurations, and what cannot be carried over is refused.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import T5Config

from study.language.layout import END_OF_SEQUENCE, PAD
from study.language.model.build import empty
from study.language.model.encoder_decoder import EncoderDecoder
from study.language.values.model import Model
from study.nn.stack import NORM_EPSILON
from study.sources.weight_files import PRECISION, check_finite, read_config, stored_tensors

_ATTENTION = {"q": "query", "k": "key", "v": "value", "o": "output"}
_MLP = {"wi_0": "gate", "wi_1": "up", "wo": "down"}
# Copies of the embedding that some checkpoints carry, and a table that T5 never reads.
_ECHOES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")
_IGNORED = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"


def names(model: Model) -> dict[str, str]:
    """T5's name of every tensor of ours."""
    if model.architecture != "encoder_decoder" or model.positions != "t5_bias":
        raise ValueError(
            f"a {model.architecture} with positions {model.positions!r} is no T5; "
            "legal: encoder_decoder with 't5_bias'"
        )
    theirs = {"embedding.weight": "shared.weight"}
    if not model.tied:
        theirs["head.weight"] = "lm_head.weight"
    for side in ("encoder", "decoder"):
        bias = f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        theirs[f"{side}.positions.table"] = bias
        theirs[f"{side}.norm.weight"] = f"{side}.final_layer_norm.weight"
        sublayers = [("attention", "SelfAttention", _ATTENTION)]
        if side == "decoder":
            sublayers.append(("cross", "EncDecAttention", _ATTENTION))
        sublayers.append(("mlp", "DenseReluDense", _MLP))
        for layer in range(model.layers):
            for place, (ours, their, leaves) in enumerate(sublayers):
                block, mine = f"{side}.block.{layer}.layer.{place}", f"{side}.layers.{layer}"
                theirs[f"{mine}.{ours}_norm.weight"] = f"{block}.layer_norm.weight"
                for short, leaf in leaves.items():
                    theirs[f"{mine}.{ours}.{leaf}.weight"] = f"{block}.{their}.{short}.weight"
    return theirs


def model_from_config(config: T5Config) -> Model:
    """The shape of a T5; raises ValueError naming what has no counterpart here."""
    needed = {
        "feed_forward_proj": "gated-gelu",
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
        "layer_norm_epsilon": NORM_EPSILON,
        "num_decoder_layers": config.num_layers,
        "pad_token_id": PAD,
        "eos_token_id": END_OF_SEQUENCE,
        "decoder_start_token_id": PAD,
    }
    for key, legal in needed.items():
        found = getattr(config, key, legal)
        if found != legal:
            raise ValueError(f"T5's {key} is {found!r}; legal here: {legal!r}")
    return Model(
        architecture="encoder_decoder",
        mixer="attention",
        positions="t5_bias",
        layers=config.num_layers,
        d_model=config.d_model,
        heads=config.num_heads,
        d_head=config.d_kv,
        d_ff=config.d_ff,
        vocab_size=config.vocab_size,
        # transformers 5 reports every T5 as tied and keeps what the file said in this attribute.
        tied=bool(getattr(config, "scale_decoder_outputs", True)),
    )


def config_from_model(model: Model, *, dropout: float) -> dict[str, object]:
    """The config.json of `model` as a T5. A plain dict: transformers 5 would write every T5 as
    tied.
    """
    names(model)
    return {
        "architectures": ["T5ForConditionalGeneration"],
        "model_type": "t5",
        "d_model": model.d_model,
        "d_kv": model.d_head,
        "d_ff": model.d_ff,
        "num_layers": model.layers,
        "num_decoder_layers": model.layers,
        "num_heads": model.heads,
        "vocab_size": model.vocab_size,
        "feed_forward_proj": "gated-gelu",
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
        "layer_norm_epsilon": NORM_EPSILON,
        "dropout_rate": dropout,
        "is_encoder_decoder": True,
        "tie_word_embeddings": model.tied,
        "pad_token_id": PAD,
        "eos_token_id": END_OF_SEQUENCE,
        "decoder_start_token_id": PAD,
    }


def state_from_t5(state: dict[str, Tensor], *, model: Model) -> dict[str, Tensor]:
    """Our state out of T5's. Raises ValueError on a missing, surplus or misshapen tensor."""
    rest = dict(state)
    rest.pop(_IGNORED, None)
    shared = rest.get("shared.weight")
    if shared is None:
        raise ValueError("the T5 state lacks shared.weight")
    if not model.tied:
        # Untied by the configuration, with one matrix in the file: it serves as both.
        rest.setdefault("lm_head.weight", shared.clone())
    shapes = {name: each.shape for name, each in empty(model, dropout=0.0).state_dict().items()}
    ours: dict[str, Tensor] = {}
    for name, theirs in names(model).items():
        if theirs not in rest:
            raise ValueError(f"the T5 state lacks {theirs}")
        values = rest.pop(theirs)
        if values.shape != shapes[name]:
            raise ValueError(
                f"{theirs} is {tuple(values.shape)}; legal for this model: {tuple(shapes[name])}"
            )
        ours[name] = values
    for name in [name for name in _ECHOES if name in rest]:
        if not torch.equal(rest.pop(name), shared):
            raise ValueError(f"{name} differs from shared.weight; legal: one embedding")
    if rest:
        raise ValueError(f"the T5 state holds {', '.join(sorted(rest))}, which has no place here")
    return ours


def state_to_t5(state: dict[str, Tensor], *, model: Model) -> dict[str, Tensor]:
    """T5's state out of ours."""
    theirs = names(model)
    if state.keys() != theirs.keys():
        odd = sorted(state.keys() ^ theirs.keys())
        raise ValueError(f"missing or surplus in the state: {', '.join(odd)}")
    return {theirs[name]: values for name, values in state.items()}


def import_t5(directory: Path, *, dropout: float) -> EncoderDecoder:
    """A transformers T5 directory as a model of the study, in float32 whatever its files are
    written in, and in evaluation mode.
    """
    read_config(directory)
    files = {each.file for each in stored_tensors(directory).values()}
    model = model_from_config(T5Config.from_json_file(directory / "config.json"))
    state = {
        name: values.to(getattr(torch, PRECISION)) if values.is_floating_point() else values
        for file in sorted(files)
        for name, values in load_file(file).items()
    }
    check_finite(state, owner=directory)
    built = empty(model, dropout=dropout)
    assert isinstance(built, EncoderDecoder)
    built.load_state_dict(state_from_t5(state, model=model), assign=True)
    return built.eval()


def export_t5(model: EncoderDecoder, directory: Path) -> None:
    """Write `model` as a directory that `T5ForConditionalGeneration.from_pretrained` reads."""
    shape = model.shape
    config = config_from_model(shape, dropout=model.dropout)
    state = {name: each.contiguous() for name, each in model.state_dict().items()}
    directory.mkdir(parents=True, exist_ok=True)
    weights = state_to_t5(state, model=shape)
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    text = json.dumps(config, indent=2) + "\n"
    (directory / "config.json").write_text(text, encoding="utf-8")
