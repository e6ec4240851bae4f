"""The encoder-decoder as transformers knows sequence-to-sequence models.

`input_ids` is the source, `decoder_input_ids` starts with the start token. Axes: B rows, T targets,
S source tokens, M model width.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional
from transformers.cache_utils import Cache, DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput

from kernels.visibility import Visibility
from study.language.huggingface.base import (
    IGNORED,
    StudyEncoderDecoderConfig,
    StudyModel,
    token_mask,
)
from study.language.layout import PAD
from study.language.model.encoder_decoder import EncoderDecoder
from study.nn.stack import Crossing


class EncoderDecoderForSeq2SeqLM(EncoderDecoder, StudyModel):
    """An encoder-decoder language model over intervals, with `generate()`."""

    config_class = StudyEncoderDecoderConfig

    def __init__(self, config: StudyEncoderDecoderConfig) -> None:
        StudyModel.__init__(self, config)
        self.assemble(config.model, dropout=config.dropout)
        self.post_init()

    def encode(
        self, input_ids: Int64[Tensor, "B S"], attention_mask: Tensor | None = None
    ) -> Float[Tensor, "B S M"]:
        """The encoder's final states; the source may be padded on either side."""
        first, last = _extent(input_ids, attention_mask)
        index = torch.arange(input_ids.shape[1], dtype=torch.int32, device=input_ids.device)
        inside = (index >= first) & (index < last)
        visibility = Visibility.build(
            torch.where(inside, first, last),
            last.expand(-1, len(index)).contiguous(),
            num_keys=len(index),
        )
        mixing = self.encoder.mixing((index - first).clamp(min=0), visibility)
        return self.encoder(self.embedding(input_ids.masked_fill(~inside, PAD)), mixing)

    def get_encoder(self, modality: str | None = None) -> Any:
        """What `generate()` calls once per prompt."""
        return _EncoderCall(self)

    def forward(
        self,
        input_ids: Int64[Tensor, "B S"] | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Int64[Tensor, "B T"] | None = None,
        decoder_attention_mask: Tensor | None = None,
        labels: Int64[Tensor, "B T"] | None = None,
        encoder_outputs: Any = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        **unused: Any,
    ) -> Seq2SeqLMOutput:
        """Scores of what follows each decoder input; labels are what it should be, -100 ignored.

        Without `decoder_input_ids` the labels, shifted right, are the decoder's inputs.
        """
        if decoder_input_ids is None:
            if labels is None:
                raise ValueError("neither decoder_input_ids nor labels; legal: at least one")
            decoder_input_ids = functional.pad(labels, (1, -1), value=PAD)
            decoder_input_ids = decoder_input_ids.masked_fill(decoder_input_ids == IGNORED, PAD)
        if use_cache and past_key_values is None:
            past_key_values = EncoderDecoderCache(DynamicCache(), DynamicCache())
        if past_key_values is not None and not isinstance(past_key_values, EncoderDecoderCache):
            raise ValueError(
                f"past_key_values is {type(past_key_values).__name__}; legal: EncoderDecoderCache"
            )
        if encoder_outputs is None:
            if input_ids is None:
                raise ValueError("neither input_ids nor encoder_outputs; legal: one of them")
            encoder_outputs = BaseModelOutput(
                last_hidden_state=self.encode(input_ids, attention_mask)  # type: ignore[arg-type]
            )
        encoded = encoder_outputs[0]
        hidden = self._decode(
            decoder_input_ids,
            decoder_attention_mask,
            crossing=self._crossing(encoded, attention_mask, decoder_input_ids, past_key_values),
            cache=past_key_values,
        )
        logits = self.logits(hidden)
        loss = None
        if labels is not None:
            loss = functional.cross_entropy(
                logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED
            )
        # transformers says FloatTensor where it takes any, and one cache where it takes two.
        return Seq2SeqLMOutput(
            loss=loss,  # type: ignore[arg-type]
            logits=logits,  # type: ignore[arg-type]
            past_key_values=past_key_values,  # type: ignore[arg-type]
            encoder_last_hidden_state=encoded,
        )

    def _crossing(
        self,
        encoded: Float[Tensor, "B S M"],
        attention_mask: Tensor | None,
        decoder_input_ids: Int64[Tensor, "B T"],
        cache: EncoderDecoderCache | None,
    ) -> Crossing:
        """Every target sees the whole source; its keys and values are computed once per cache."""
        first, last = _extent(encoded[..., 0], attention_mask)
        shape = decoder_input_ids.shape
        visibility = Visibility.build(
            first.expand(shape).contiguous(),
            last.expand(shape).contiguous(),
            num_keys=encoded.shape[1],
        )
        crossing = self.decoder.crossing(visibility)
        if cache is None:
            return Crossing(mixing=crossing, memory=self.decoder.memory(encoded))
        stored = cache.cross_attention_cache
        if not cache.is_updated.get(0):
            for layer, (key, value) in enumerate(self.decoder.memory(encoded)):
                stored.update(key, value, layer)
                cache.is_updated[layer] = True
        # Reads back what `update` stored, reordered by now where beams were.
        kept = [stored.layers[layer] for layer in range(self.config.layers)]
        memory = [(layer.keys, layer.values) for layer in kept]  # type: ignore[union-attr]
        return Crossing(mixing=crossing, memory=memory)  # type: ignore[arg-type]

    def _decode(
        self,
        tokens: Int64[Tensor, "B T"],
        attention_mask: Tensor | None,
        *,
        crossing: Crossing,
        cache: EncoderDecoderCache | None,
    ) -> Float[Tensor, "B T M"]:
        past = 0 if cache is None else cache.self_attention_cache.get_seq_length()
        keys = past + tokens.shape[1]
        real = token_mask(tokens, attention_mask, columns=keys)
        first = (~real).sum(-1, dtype=torch.int32)[:, None]
        index = torch.arange(past, keys, dtype=torch.int32, device=tokens.device)[None]
        end = torch.where(index < first, first, index + 1)
        visibility = Visibility.build(first.expand_as(end), end, num_keys=keys)
        return self.decoder(
            self.embedding(tokens.masked_fill(~real[:, past:], PAD)),
            self.decoder.mixing((index - first).clamp(min=0), visibility, past=past),
            crossing=crossing,
            caches=self.caches(None if cache is None else cache.self_attention_cache),
        )


class _EncoderCall:
    """The encoder as `generate()` wants to call it: tokens in, a model output out."""

    def __init__(self, model: EncoderDecoderForSeq2SeqLM) -> None:
        self.model = model

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **unused: Any
    ) -> BaseModelOutput:
        encoded = self.model.encode(input_ids, attention_mask)
        return BaseModelOutput(last_hidden_state=encoded)  # type: ignore[arg-type]

    __call__ = forward


def _extent(states: Tensor, attention_mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """First and one past the last real column of every row, (B, 1); refuses a mask with holes."""
    rows, columns = states.shape
    if attention_mask is None:
        first = torch.zeros(rows, 1, dtype=torch.int32, device=states.device)
        return first, torch.full_like(first, columns)
    if attention_mask.shape != (rows, columns):
        raise ValueError(f"attention_mask {tuple(attention_mask.shape)}; legal: {(rows, columns)}")
    real = attention_mask.bool()
    count = real.sum(-1, dtype=torch.int32)[:, None]
    first = real.int().argmax(-1, keepdim=True).int()
    last = first + count
    index = torch.arange(columns, device=states.device)
    if bool((real != ((index >= first) & (index < last))).any()):
        raise ValueError(
            "attention_mask of the source has holes; legal: one run of ones, padded on either side"
        )
    return first, last
