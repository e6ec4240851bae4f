"""Tokenizers with the study's id layout: pad 0, end of sequence 1, sentinels last and descending.

Owns training a byte-level BPE, laying out a foreign `tokenizer.json` once, and the digest by which
checkpoints and corpora recognise their tokenizer. The algorithms are those of `tokenizers`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Fast
from tokenizers import decoders, models, pre_tokenizers, trainers

PAD = 0
END_OF_SEQUENCE = 1
PAD_TOKEN = "<pad>"
END_TOKEN = "</s>"
# how published tokenizers call the two, the likeliest first
_PAD_NAMES = (PAD_TOKEN, "[PAD]", "<|pad|>")
_END_NAMES = (END_TOKEN, "<|endoftext|>", "<eos>", "<|end_of_text|>", "[EOS]", "[SEP]")


def sentinel_token(index: int) -> str:
    return f"<extra_id_{index}>"


class Tokenizer:
    """Text to ids and back. No special token is ever added, and none is ever read out of text: a
    document that holds the letters `</s>` is spelled, not ended.
    """

    pad = PAD
    eos = END_OF_SEQUENCE

    def __init__(self, fast: Fast) -> None:
        fast.encode_special_tokens = True
        fast.no_padding()
        fast.no_truncation()
        self._fast = fast
        self.vocab_size: int = fast.get_vocab_size()
        self.num_sentinels = self._count_sentinels()
        self.digest = hashlib.sha256(self._json().encode()).hexdigest()
        if fast.id_to_token(PAD) is None or fast.id_to_token(END_OF_SEQUENCE) is None:
            raise ValueError("a tokenizer needs a pad token with id 0 and an end token with id 1")

    def encode(self, text: str) -> list[int]:
        return self._fast.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [
            each.ids for each in self._fast.encode_batch_fast(list(texts), add_special_tokens=False)
        ]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of the ids; pad, end of sequence and sentinels are left out."""
        return self._fast.decode([int(each) for each in ids], skip_special_tokens=True)

    def decode_batch(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """As `decode`, of many rows at once."""
        return self._fast.decode_batch(list(rows), skip_special_tokens=True)

    def sentinel(self, index: int) -> int:
        """The id of sentinel `index`; sentinel 0 is the last id of the vocabulary."""
        if not 0 <= index < self.num_sentinels:
            raise ValueError(f"sentinel {index}; legal: 0 to {self.num_sentinels - 1}")
        return self.vocab_size - 1 - index

    def save(self, path: Path) -> None:
        Path(path).write_text(self._json(), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        path = Path(path)
        if not path.is_file():
            raise ValueError(f"{path}: no such tokenizer")
        return cls.parse(path.read_text(encoding="utf-8"), name=str(path))

    @classmethod
    def parse(cls, text: str, *, name: str) -> Tokenizer:
        try:
            return cls(Fast.from_str(text))
        except Exception as error:  # tokenizers raises bare Exceptions
            raise ValueError(f"{name}: not a tokenizer of this study ({error})") from error

    def _json(self) -> str:
        return self._fast.to_str(pretty=False)

    def _count_sentinels(self) -> int:
        last = self.vocab_size - 1
        count = 0
        while self._fast.token_to_id(sentinel_token(count)) == last - count:
            count += 1
        return count


def check_same(tokenizer: Tokenizer, *, digest: str, owner: str) -> None:
    """Refuse a tokenizer other than the one that `owner` (a checkpoint, a corpus) was made with."""
    if tokenizer.digest != digest:
        raise ValueError(
            f"{owner} was made with the tokenizer {digest}, but this one is {tokenizer.digest}: "
            "its ids mean other tokens. Use the same corpus's tokenizer for both"
        )


def train(texts: Iterable[str], *, vocab_size: int, sentinels: int) -> Tokenizer:
    """A byte-level BPE over `texts`. Smaller than `vocab_size` where the texts have no more merges
    to give; the sentinels are last all the same.
    """
    smallest = 2 + 256 + sentinels
    if vocab_size < smallest:
        raise ValueError(
            f"vocab_size is {vocab_size}; legal: at least {smallest} "
            f"(pad, end of sequence, 256 bytes, {sentinels} sentinels)"
        )
    fast = Fast(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    fast.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - sentinels,
        special_tokens=[PAD_TOKEN, END_TOKEN],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    fast.train_from_iterator(texts, trainer=trainer)
    fast.add_special_tokens([sentinel_token(index) for index in reversed(range(sentinels))])
    return Tokenizer(fast)


def extend(text: str, *, sentinels: int) -> Tokenizer:
    """A Hugging Face `tokenizer.json` in the study's id layout.

    Its own pad, end and sentinel tokens are used where it has them and added where it lacks them;
    the other ids keep their order. A tokenizer that has the layout already (T5's) keeps every id.
    """
    form = json.loads(text)
    order = sorted(_vocabulary(form).items(), key=lambda item: item[1])
    names = [name for name, _ in order]
    have = set(names)
    pad = next((name for name in _PAD_NAMES if name in have), PAD_TOKEN)
    end = next((name for name in _END_NAMES if name in have and name != pad), END_TOKEN)
    last = [sentinel_token(index) for index in reversed(range(sentinels))]
    moved = {pad, end, *last}
    laid_out = [pad, end, *(name for name in names if name not in moved), *last]
    _lay_out(form, laid_out, special=moved)
    return Tokenizer.parse(json.dumps(form, ensure_ascii=False), name="tokenizer.json")


def _vocabulary(form: dict[str, Any]) -> dict[str, int]:
    vocabulary = form["model"]["vocab"]
    if isinstance(vocabulary, list):
        ids = {name: index for index, (name, _) in enumerate(vocabulary)}
    else:
        ids = dict(vocabulary)
    return ids | {token["content"]: token["id"] for token in form.get("added_tokens") or ()}


def _lay_out(form: dict[str, Any], names: list[str], *, special: set[str]) -> None:
    """Rewrite every id in place; all tokens enter the model's own vocabulary, since added tokens
    alone cannot have the first ids.
    """
    model = form["model"]
    ids = {name: index for index, name in enumerate(names)}
    if isinstance(model["vocab"], list):
        scores = dict(model["vocab"])
        unknown = model.get("unk_id")
        if unknown is not None:
            model["unk_id"] = ids[model["vocab"][unknown][0]]
        model["vocab"] = [[name, scores.get(name, 0.0)] for name in names]
    else:
        model["vocab"] = ids
    added = {token["content"]: token for token in form.get("added_tokens") or ()}
    for name in special - added.keys():
        added[name] = {
            "content": name,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
        }
    for name, token in added.items():
        token["id"] = ids[name]
        token["special"] = token.get("special", False) or name in special
    form["added_tokens"] = sorted(added.values(), key=lambda token: token["id"])
    # templates of special tokens carry ids of their own, and nothing here adds special tokens
    form["post_processor"] = None
    form["padding"] = form["truncation"] = None
