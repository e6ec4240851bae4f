"""Checkpoints from elsewhere under the scoring rule: any causal or sequence-to-sequence model that
transformers knows, with its own tokenizer, special tokens and limits.

Owns loading (safetensors only, local files only, no code of the checkpoint is run) and the passes
of such a model; what it is tried on first is `study.language.scores.checkpoint_trial`'s. It is
called as its authors call it: a causal model with no mask and padding on the right, which it cannot
see; an encoder with a mask. Contexts that are read once have equal lengths, so that no position and
no mask has to be told. A model whose cache is not keys and values alone (windows, state spaces)
reads the context anew for every target.

Axes: N wanted positions, V vocabulary. States are logits here, since what lies between a model's
last states and its logits is its own.
"""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from tokenizers import Tokenizer as Fast
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer
from transformers.cache_utils import DynamicCache, DynamicLayer
from transformers.modeling_outputs import BaseModelOutput

from study.language.data.tokenizer import Tokenizer
from study.language.scores import checkpoint_trial
from study.language.scores.passes import Piece
from study.language.values.model import Architecture
from study.sources.weight_files import PRECISION, check_finite, read_config, stored_tensors

LOGITS_OF_A_PASS = 1 << 28
"""Of a pass that gives logits at every position, in float32 1 GiB."""
_LENGTHS = ("n_positions", "max_position_embeddings", "n_ctx")
_UNSET = 1_000_000
"""Tokenizers without a limit call a number far beyond this their limit."""


class ForeignTokenizer(Tokenizer):
    """A tokenizer as its checkpoint has it: no id is moved. Raises ValueError where it can't be
    trusted (`study.language.data.tokenizer_trial`).

    end: the id of its end of sequence. prefix: of its beginning of sequence, or the end without
    one.
    """

    def __init__(self, fast: Fast, *, end: int, prefix: int) -> None:
        super().__init__(fast, controls=(end, prefix))
        self.eos = end
        self.prefix = prefix


class CausalPasses:
    """Passes of a causal model from elsewhere; its context is never empty."""

    equal_lengths = True
    grows = False

    def __init__(self, model: Any) -> None:
        self.model = model
        self.device = model.device
        self.limit = max(LOGITS_OF_A_PASS // model.config.get_text_config().vocab_size, 1)
        asked = inspect.signature(model.forward).parameters
        self._last = {"logits_to_keep": 1} if "logits_to_keep" in asked else {}
        self.carries = self._keeps_keys()

    def parameters(self):
        return self.model.parameters()

    def widths(self, piece: Piece) -> tuple[int, int]:
        return len(piece.context), len(piece.wanted) - 1

    def logits(self, states: Float[Tensor, "N V"]) -> Float[Tensor, "N V"]:
        return states

    def whole(self, pieces: Sequence[Piece]) -> Float[Tensor, "N V"]:
        rows = [(*piece.context, *piece.wanted[:-1]) for piece in pieces]
        logits = self.model(input_ids=_padded(rows, self.device)).logits
        first = [len(piece.context) - 1 for piece in pieces]
        return torch.cat(
            [
                logits[row, begin : begin + len(piece.wanted)]
                for row, (begin, piece) in enumerate(zip(first, pieces, strict=True))
            ]
        )

    def read(self, contexts: Sequence[tuple[int, ...]]) -> Any:
        tokens = torch.tensor(contexts, device=self.device)
        found = self.model(input_ids=tokens, use_cache=True, **self._last)
        return found.logits[:, -1], found.past_key_values

    def own(self, read: Any, rows: Sequence[int], pieces: Sequence[Piece]) -> Float[Tensor, "N V"]:
        last, cache = read
        index = torch.tensor(rows, device=self.device)
        states = last[index][:, None]
        if any(len(piece.wanted) > 1 for piece in pieces):
            # A model adds to the cache that it is given.
            own = copy.deepcopy(cache)
            own.batch_select_indices(index)
            tokens = _padded([piece.wanted[:-1] for piece in pieces], self.device)
            found = self.model(input_ids=tokens, past_key_values=own, use_cache=True)
            states = torch.cat([states, found.logits], 1)
        return torch.cat([states[row, : len(each.wanted)] for row, each in enumerate(pieces)])

    def _keeps_keys(self) -> bool:
        with torch.inference_mode():
            tokens = torch.zeros(1, 1, dtype=torch.long, device=self.device)
            cache = getattr(self.model(input_ids=tokens, use_cache=True), "past_key_values", None)
        return isinstance(cache, DynamicCache) and all(
            type(layer) is DynamicLayer for layer in cache.layers
        )


class Seq2SeqPasses:
    """Passes of a sequence-to-sequence model from elsewhere; its source is never empty."""

    equal_lengths = False
    carries = True
    grows = False

    def __init__(self, model: Any) -> None:
        self.model = model
        self.device = model.device
        self.limit = max(LOGITS_OF_A_PASS // model.config.get_text_config().vocab_size, 1)
        self._start: int = model.config.decoder_start_token_id

    def parameters(self):
        return self.model.parameters()

    def widths(self, piece: Piece) -> tuple[int, int]:
        return len(piece.context), len(piece.wanted)

    def logits(self, states: Float[Tensor, "N V"]) -> Float[Tensor, "N V"]:
        return states

    def whole(self, pieces: Sequence[Piece]) -> Float[Tensor, "N V"]:
        read = self.read([piece.context for piece in pieces])
        return self.own(read, range(len(pieces)), pieces)

    def read(self, contexts: Sequence[tuple[int, ...]]) -> Any:
        tokens = _padded(contexts, self.device)
        lengths = torch.tensor([len(each) for each in contexts], device=self.device)
        mask = (torch.arange(tokens.shape[1], device=self.device) < lengths[:, None]).long()
        encoder = self.model.get_encoder()
        return encoder(input_ids=tokens, attention_mask=mask).last_hidden_state, mask

    def own(self, read: Any, rows: Sequence[int], pieces: Sequence[Piece]) -> Float[Tensor, "N V"]:
        encoded, mask = (each[torch.tensor(list(rows), device=self.device)] for each in read)
        inputs = _padded([(self._start, *piece.wanted[:-1]) for piece in pieces], self.device)
        logits = self.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded),
            attention_mask=mask,
            decoder_input_ids=inputs,
            use_cache=False,
        ).logits
        return torch.cat([logits[row, : len(each.wanted)] for row, each in enumerate(pieces)])


def _padded(rows: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """Rows of token ids, padded on the right with an id that is there and that nobody sees."""
    padded = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for row, tokens in enumerate(rows):
        padded[row, : len(tokens)] = torch.tensor(tokens, dtype=torch.long)
    return padded.to(device)


def load_model(
    directory: Path, *, architecture: Architecture, device: str
) -> tuple[Any, tuple[str, ...]]:
    """(the passes of a checkpoint's model, in float32; tensors that its model does not need).
    Raises ValueError where it can't be run here or a tensor is not accounted for, and where it does
    not read what its architecture says.
    """
    config = read_config(directory)
    tensors = stored_tensors(directory)
    split = architecture == "encoder_decoder"
    kind: Any = AutoModelForSeq2SeqLM if split else AutoModelForCausalLM
    with _named(directory, architecture):
        model, info = kind.from_pretrained(
            directory,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=getattr(torch, PRECISION),
            output_loading_info=True,
            # Whose shapes differ is told by name below; transformers tells the log.
            ignore_mismatched_sizes=True,
        )
        left_out = checkpoint_trial.account(model, tensors, info=info, config=config)
        model = model.to(torch.device(device)).eval()
        check_finite(model.state_dict(), owner="its model")
        with torch.inference_mode():
            (checkpoint_trial.probe_seq2seq if split else checkpoint_trial.probe_causal)(model)
        return (Seq2SeqPasses(model) if split else CausalPasses(model)), left_out


@contextmanager
def _named(directory: Path, architecture: Architecture) -> Iterator[None]:
    """Whatever transformers raises on a checkpoint (it asserts, indexes and divides, and misses
    packages) is a refusal of that checkpoint.
    """
    try:
        yield
    except (MemoryError, torch.cuda.OutOfMemoryError):
        raise
    except Exception as error:
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise ValueError(
            f"{directory} cannot be opened as a {architecture}: {kind}{error}"
        ) from error


def load_tokenizer(directory: Path) -> ForeignTokenizer:
    """A checkpoint's own tokenizer. Raises ValueError where it has no end of sequence, is not one
    of `tokenizers`, or can't be trusted.
    """
    try:
        found = AutoTokenizer.from_pretrained(
            directory, local_files_only=True, trust_remote_code=False
        )
    except (ValueError, KeyError, OSError) as error:
        raise ValueError(f"{directory}: its tokenizer cannot be read: {error}") from error
    backend = getattr(found, "backend_tokenizer", None)
    if backend is None:
        raise ValueError(f"{directory} has a {type(found).__name__}; legal: one of `tokenizers`")
    end = found.eos_token_id
    if end is None:
        raise ValueError(f"{directory}: its tokenizer names no eos_token; legal: one that does")
    prefix = end if found.bos_token_id is None else found.bos_token_id
    # A copy: this project never reads special tokens out of text, the original may.
    try:
        return ForeignTokenizer(Fast.from_str(backend.to_str()), end=end, prefix=prefix)
    except ValueError as error:
        raise ValueError(f"{directory / 'tokenizer.json'}: {error}") from error


def longest(config: Any, directory: Path, *, default: int) -> int:
    """The positions that a model can read, from its configuration, else its tokenizer's."""
    text = config.get_text_config()
    for name in _LENGTHS:
        if isinstance(value := getattr(text, name, None), int) and value > 0:
            return value
    file = directory / "tokenizer_config.json"
    if file.is_file():
        value = json.loads(file.read_text(encoding="utf-8")).get("model_max_length")
        if isinstance(value, int) and 0 < value < _UNSET:
            return value
    return default
