"""Causal and prefix decoders as transformers knows decoders.

`forward` and `generate()` follow Hugging Face: the prompt comes without a start token, which the
model puts in front (training shifts right in the same way), so `logits[:, i]` predicts what follows
`input_ids[:, i]`. Padding is on the left. Axes: B rows, T tokens, C cached and new columns, M model
width.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional
from transformers.cache_utils import Cache, DynamicCache
from transformers.modeling_outputs import CausalLMOutputWithPast

from kernels.visibility import Visibility
from study.language.huggingface.base import IGNORED, StudyDecoderConfig, StudyModel, token_mask
from study.language.layout import PAD
from study.language.model.decoder import Decoder


class DecoderForCausalLM(Decoder, StudyModel):
    """A decoder-only language model over intervals, with `generate()`."""

    config_class = StudyDecoderConfig

    def __init__(self, config: StudyDecoderConfig) -> None:
        StudyModel.__init__(self, config)
        self.assemble(config.model, dropout=config.dropout)
        self.post_init()

    def forward(
        self,
        input_ids: Int64[Tensor, "B T"],
        attention_mask: Tensor | None = None,
        labels: Int64[Tensor, "B T"] | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        prefix_length: int | None = None,
        logits_to_keep: int = 0,
        **unused: Any,
    ) -> CausalLMOutputWithPast:
        """Scores of what follows each input.

        labels: aligned with `input_ids` (every labelled token is predicted, the first one from the
        start token); -100 is ignored; the loss is their mean. prefix_length: how many leading
        columns a prefix decoder sees as a whole. By default all of a prompt, or with labels the
        leading columns that carry none; a causal decoder has none.
        """
        seen = past_key_values.get_seq_length() if past_key_values is not None else 0
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache()
        # The cache holds one column more than the caller's tokens: the start token.
        columns = input_ids.shape[1] + max(seen - 1, 0)
        real = token_mask(input_ids, attention_mask, columns=columns)
        prefix = self._prefix(input_ids, labels, prefix_length, seen)
        tokens = input_ids.masked_fill(~real[:, -input_ids.shape[1] :], PAD)
        if seen == 0:
            # The start token is the pad id, so one more column puts it before each row's first
            # token, wherever left padding ends.
            tokens = functional.pad(tokens, (1, 0), value=PAD)
        hidden = self._decode(tokens, real, prefix=prefix, cache=past_key_values)
        loss = None
        if labels is not None:
            if seen:
                raise ValueError("labels with a filled past_key_values; legal: one or the other")
            scores = self.logits(hidden[:, :-1])
            loss = functional.cross_entropy(
                scores.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED
            )
        if seen == 0:
            hidden = hidden[:, 1:]
        if logits_to_keep:
            hidden = hidden[:, -logits_to_keep:]
        # transformers says FloatTensor where it takes any.
        return CausalLMOutputWithPast(
            loss=loss,  # type: ignore[arg-type]
            logits=self.logits(hidden),  # type: ignore[arg-type]
            past_key_values=past_key_values,
        )

    def _prefix(
        self, input_ids: Tensor, labels: Tensor | None, prefix_length: int | None, seen: int
    ) -> int:
        if self.config.default_visibility != "prefix" or seen:
            return 0
        if prefix_length is not None:
            if not 0 <= prefix_length <= input_ids.shape[1]:
                raise ValueError(
                    f"prefix_length is {prefix_length}; legal: 0 to {input_ids.shape[1]}"
                )
            return prefix_length
        if labels is None:
            return input_ids.shape[1]
        unlabelled = (labels == IGNORED).long().cumprod(-1).sum(-1)
        if int(unlabelled.min()) != int(unlabelled.max()):
            raise ValueError(
                f"the rows' leading unlabelled columns differ ({unlabelled.tolist()}); pad on the "
                "left so that prefixes end together, or give prefix_length"
            )
        return int(unlabelled[0])

    def _decode(
        self,
        tokens: Int64[Tensor, "B T"],
        real: Bool[Tensor, "B C"],
        *,
        prefix: int,
        cache: Cache | None,
    ) -> Float[Tensor, "B T M"]:
        """States of the newest columns, start token included, over cached and new keys."""
        keys = real.shape[1] + 1
        queries = tokens.shape[1]
        past = keys - queries
        first = (~real).sum(-1, dtype=torch.int32)[:, None]  # where a row's start token is
        index = torch.arange(past, keys, dtype=torch.int32, device=tokens.device)[None]
        end = (index + 1).clamp(min=prefix + 1 if prefix else 0)
        # Columns before the start token are padding and see nothing: [first, first).
        end = torch.where(index < first, first, end)
        visibility = Visibility.build(first.expand_as(end), end, num_keys=keys)
        mixing = self.decoder.mixing((index - first).clamp(min=0), visibility, past=past)
        return self.decoder(self.embedding(tokens), mixing, caches=self.caches(cache))

    def generate(self, inputs: Tensor | None = None, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """transformers' own; a prefix decoder's prompt is its prefix."""
        prompt = inputs if inputs is not None else kwargs.get("input_ids")
        if prompt is not None and self.config.default_visibility == "prefix":
            kwargs.setdefault("prefix_length", prompt.shape[1])
        return super().generate(inputs, *args, **kwargs)  # type: ignore[misc]
