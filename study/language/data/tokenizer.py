"""Tokenizers with the study's id layout: pad 0, end of sequence 1, sentinels last and descending.

Owns training a byte-level BPE, laying out a foreign `tokenizer.json` once, the tokens of a text
(alone and in running text), what is lost on the way, and the digest by which checkpoints and
corpora recognise their tokenizer. The algorithms are those of `tokenizers`; whether one can be
trusted is tried in `study.language.data.tokenizer_trial`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tokenizers import Tokenizer as Fast
from tokenizers import decoders, models, pre_tokenizers, trainers

from study.language.data import tokenizer_trial
from study.language.data.tokenizer_trial import added_token, tried

PAD = 0
END_OF_SEQUENCE = 1
PAD_TOKEN = "<pad>"
END_TOKEN = "</s>"
# how published tokenizers call the two, the likeliest first
_PAD_NAMES = (PAD_TOKEN, "[PAD]", "<|pad|>")
_END_NAMES = (END_TOKEN, "<|endoftext|>", "<eos>", "<|end_of_text|>", "[EOS]", "[SEP]")


def sentinel_token(index: int) -> str:
    return f"<extra_id_{index}>"


_BEFORE_SPACE = ("a", ".", "1", ")", "é")
_BEFORE_TEXT = ("(", ".", "-", "a")
"""What may stand before a text that begins in white space, and before another, by preference."""


@dataclass(frozen=True, kw_only=True)
class Lost:
    """What became of a text. unknown: its tokens that stand for letters without one; 1 where such
    letters leave no token. altered: it decodes to another text.
    """

    unknown: int = 0
    altered: bool = False


class Tokenizer:
    """Text to ids and back. No special token is ever added unless it is asked for, and none is ever
    read out of text: a document that holds the letters `</s>` is spelled, not ended.
    """

    pad = PAD
    eos = END_OF_SEQUENCE

    def __init__(self, fast: Fast, *, controls: Iterable[int] = (PAD, END_OF_SEQUENCE)) -> None:
        self._fast = fast
        self.trial = tried(fast, controls=controls)
        self.vocab_size: int = fast.get_vocab_size()
        self.num_sentinels = self._count_sentinels()
        # Tokenizers that are taken as they are keep the digest that they always had.
        own = self.trial.encoder is fast and self.trial.alike
        form = self._json() if own else f"{self._json()}\0{tokenizer_trial.VERSION}"
        self.digest = hashlib.sha256(form.encode()).hexdigest()

    def encode(self, text: str) -> list[int]:
        found = self.trial.encoder.encode(text, add_special_tokens=False)
        return self._in_bytes(text, found.ids, special_tokens="none")

    def encode_batch(
        self, texts: Sequence[str], *, special_tokens: Literal["none", "tokenizer"] = "none"
    ) -> list[list[int]]:
        """special_tokens: `tokenizer` adds those of the tokenizer's own template."""
        texts = list(texts)
        encodings = self.trial.encoder.encode_batch_fast(
            texts, add_special_tokens=special_tokens == "tokenizer"
        )
        found = [each.ids for each in encodings]
        if self.trial.stand_in is None:
            return found
        return [
            self._in_bytes(text, ids, special_tokens=special_tokens)
            for text, ids in zip(texts, found, strict=True)
        ]

    def _in_bytes(self, text: str, ids: list[int], *, special_tokens: str) -> list[int]:
        """The ids, with the bytes of letters for which the encoder has only a stand-in."""
        stand_in, spelled = self.trial.stand_in, self.trial.byte_tokens
        if stand_in is None or stand_in not in ids:
            return ids
        whole = self.trial.encoder.encode(text, add_special_tokens=special_tokens == "tokenizer")
        pairs = zip(whole.ids, whole.tokens, strict=True)
        rows = ([spelled[b] for b in t.encode()] if i == stand_in else [i] for i, t in pairs)
        return [each for row in rows for each in row]

    def encode_continuations(
        self, texts: Sequence[str], *, after: Sequence[str]
    ) -> list[list[int]]:
        """Tokens of each text as it stands in running text, where no token spans its beginning.

        after: what comes before each, of which only its last character counts, and that only where
        it is the white space before a text that brings none.
        """
        if self.trial.alike:
            return self.encode_batch(texts)
        heads: dict[str, list[int]] = {}
        found: list[list[int] | None] = [None] * len(texts)
        marks = [_before(text, context) for text, context in zip(texts, after, strict=True)]
        for place in range(max(map(len, marks), default=0)):
            left = [index for index, row in enumerate(found) if row is None]
            wholes = self.encode_batch([_at(marks[index], place) + texts[index] for index in left])
            for index, whole in zip(left, wholes, strict=True):
                mark = _at(marks[index], place)
                # Some normalisers make one space of a line's end and of what they put first.
                for head in dict.fromkeys((mark, mark.rstrip() or mark)):
                    if head not in heads:
                        heads[head] = self.encode(head)
                    size = len(heads[head])
                    rest = whole[size:]
                    if whole[:size] == heads[head] and (rest or not self.encode(texts[index])):
                        found[index] = rest
                        break
        if None in found:
            raise ValueError(
                f"{texts[found.index(None)]!r:.80} has no tokens of its own in running text; "
                "legal: a tokenizer that does not join it to whatever comes before"
            )
        return [row for row in found if row is not None]

    def lost(self, texts: Sequence[str], rows: Sequence[Sequence[int]]) -> list[Lost]:
        """What became of each text, whose tokens are given without special ones."""
        if self.trial.reversible:
            return [Lost()] * len(texts)
        found = []
        for text, ids, back in zip(texts, rows, self.decode_batch(rows), strict=True):
            unknown = list(ids).count(self.trial.unknown) if self.trial.unknown is not None else 0
            altered = back != text
            found.append(
                Lost(unknown=unknown or int(altered and self.trial.drops), altered=altered)
            )
        return found

    def beyond(self, size: int) -> dict[str, int]:
        """Entries that text can give and for which `size` embeddings have no row."""
        return tokenizer_trial.occurring(self._fast, self.trial, beyond=size)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of the ids; pad, end of sequence and sentinels are left out."""
        return self._fast.decode([int(each) for each in ids], skip_special_tokens=True)

    def decode_batch(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """As `decode`, of many rows at once."""
        return self._fast.decode_batch([list(row) for row in rows], skip_special_tokens=True)

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
            fast = Fast.from_str(text)
            if fast.id_to_token(PAD) is None or fast.id_to_token(END_OF_SEQUENCE) is None:
                raise ValueError("it needs a pad token with id 0 and an end token with id 1")
            return cls(fast)
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


def _before(text: str, context: str) -> tuple[str, ...]:
    """What a text may stand behind, by preference."""
    if text[:1].isspace():
        return _BEFORE_SPACE
    own = context[-1:] if context[-1:].isspace() else "\n"
    return (f"a{own}", own, *_BEFORE_TEXT)


def _at(marks: tuple[str, ...], place: int) -> str:
    return marks[min(place, len(marks) - 1)]


def count_lost(
    account: dict, tokenizer: Tokenizer, *, texts: Sequence[str], rows: Sequence[Sequence[int]]
) -> None:
    """Count in `account` the texts with letters that have no token (`unknown`) and those that
    decode to another text (`altered`), where a tokenizer can have such.
    """
    if tokenizer.trial.reversible:
        return
    found = tokenizer.lost(texts, rows)
    account["unknown"] = account.get("unknown", 0) + sum(each.unknown > 0 for each in found)
    account["altered"] = account.get("altered", 0) + sum(each.altered for each in found)


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


def extend(text: str, *, sentinels: int, name: str = "tokenizer.json") -> Tokenizer:
    """A Hugging Face `tokenizer.json` in the study's id layout; `name` is what errors call it.

    Its own pad, end and sentinel tokens are used where it has them and added where it lacks them;
    the other ids keep their order. A tokenizer that has the layout already (T5's) keeps every id.
    """
    try:
        form = json.loads(text)
        order = sorted(_vocabulary(form).items(), key=lambda item: item[1])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{name}: not a tokenizer.json of `tokenizers` ({error!r})") from error
    names = [each for each, _ in order]
    have = set(names)
    pad = next((each for each in _PAD_NAMES if each in have), PAD_TOKEN)
    end = next((each for each in _END_NAMES if each in have and each != pad), END_TOKEN)
    last = [sentinel_token(index) for index in reversed(range(sentinels))]
    moved = {pad, end, *last}
    special = moved | (_in_templates(form.get("post_processor")) & have)
    laid_out = [pad, end, *(each for each in names if each not in moved), *last]
    _lay_out(form, laid_out, special=special)
    return Tokenizer.parse(json.dumps(form, ensure_ascii=False), name=name)


def _in_templates(form: Any) -> set[str]:
    """Names of what a post-processor puts around texts: marks, whatever the file calls them."""
    if isinstance(form, list):
        return set().union(*map(_in_templates, form))
    if not isinstance(form, dict):
        return set()
    # BERT's and RoBERTa's, a template's, and those of a sequence
    found = {form[key][0] for key in ("sep", "cls") if key in form}
    found |= set(form.get("special_tokens") or ())
    return found | _in_templates(form.get("processors"))


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
        lowest = min(scores.values(), default=0.0)  # what is new is never the better piece
        unknown = model.get("unk_id")
        if unknown is not None:
            model["unk_id"] = ids[model["vocab"][unknown][0]]
        model["vocab"] = [[name, scores.get(name, lowest)] for name in names]
    else:
        model["vocab"] = ids
    added = {token["content"]: token for token in form.get("added_tokens") or ()}
    for name in special - added.keys():
        added[name] = added_token(name, index=ids[name])
    for name, token in added.items():
        token["id"] = ids[name]
        token["special"] = token.get("special", False) or name in special
    form["added_tokens"] = sorted(added.values(), key=lambda token: token["id"])
    # templates of special tokens carry ids of their own, and nothing here adds special tokens
    form["post_processor"] = None
    form["padding"] = form["truncation"] = None
