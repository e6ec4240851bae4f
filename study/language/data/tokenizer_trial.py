"""A tokenizer is tried before it is trusted: which tokens can text give, and what is lost?

Owns the *encoder*, the tokenizer with what no text may give taken out of it (ids stay), and what a
trial finds out. What an id means is `study.language.data.tokenizer`'s.

- `tokenizers` can be told not to look for special tokens in text, but a model still finds them
  among its own entries: Unigram as pieces, WordLevel and WordPiece as words, BPE as merges or,
  under `ignore_merges`, as words. The encoder's model lacks them, and Unigram's the pieces that
  spell bytes. Nothing else changes: no score, and no merge or entry that another text could use.
- What draws at random (BPE dropout) is taken out.
- A normaliser or pre-tokeniser may put a space before every text. Such a tokenizer is not *alike*:
  a text has other tokens in running text than at a text's beginning.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer as Fast
from tokenizers import decoders, models, pre_tokenizers

VERSION = 2
"""Of encodings that are other than those of `tokenizers` alone; part of such tokenizers' digest."""
BYTE_PIECES = tuple(f"<0x{byte:02X}>" for byte in range(256))
"""How tokenizers of sentencepiece's kind spell the bytes of letters that they have no token for."""
_RUNNING = (
    ("a", " good"), ("a", " 1"), ("a", " ("), ("\n", "good"), ("\n", "1"), ("\t", "good"),
)  # fmt: skip
"""What stands before a text, and the text."""
_PROBES = ("the cat's 12 mats, Naïve\n\tand unhappily!", "\U0010fffd", "", *map("".join, _RUNNING))


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """What was found out about a tokenizer.

    encoder: gives the tokens of text. controls: ids that text can't give. stand_in: the encoder's
    token for letters that are spelled in bytes after it, by byte_tokens. unknown: the token of
    letters that have none. drops: such letters leave no trace. alike: a text has the same tokens in
    running text as on its own. reversible: every text decodes to itself. marks: ids before and
    after a text where special tokens are added. cures: what was taken out, in words.
    """

    encoder: Fast
    controls: frozenset[int]
    stand_in: int | None
    byte_tokens: tuple[int, ...]
    unknown: int | None
    drops: bool
    alike: bool
    reversible: bool
    marks: tuple[tuple[int, ...], tuple[int, ...]]
    cures: tuple[str, ...]


def tried(fast: Fast, *, controls: Iterable[int]) -> Trial:
    """Raises ValueError where a text would have no tokens, several encodings, or special tokens.

    controls: ids that mark something, beside the special tokens that the tokenizer names itself.
    """
    try:
        return _tried(fast, controls=controls)
    except BaseException as error:
        # tokenizers raises bare Exceptions, and panics that are no Exceptions
        if type(error) is Exception or type(error).__name__ == "PanicException":
            raise ValueError(f"there is text that it cannot encode: {error}") from error
        raise


def _tried(fast: Fast, *, controls: Iterable[int]) -> Trial:
    fast.encode_special_tokens = True
    fast.no_padding()
    fast.no_truncation()
    cures = []
    if isinstance(fast.model, models.BPE) and fast.model.dropout:
        cures.append(f"BPE dropout {fast.model.dropout:.4g} taken out")
        fast.model.dropout = None
    model: Any = fast.model
    marks = _marks(fast)
    unigram, stand_in = isinstance(model, models.Unigram), None
    form = json.loads(fast.to_str()) if unigram else None
    if form is not None:
        unknown, falls_back = form["model"]["unk_id"], bool(form["model"].get("byte_fallback"))
    else:
        unknown = None if model.unk_token is None else fast.token_to_id(model.unk_token)
        falls_back = isinstance(model, models.BPE) and model.byte_fallback
    found = [fast.token_to_id(each) for each in BYTE_PIECES] if falls_back else []
    pieces = [each for each in found if each is not None]
    named = _special(fast)
    for own in (*controls, *marks[0], *marks[1], *(() if unknown is None else (unknown,))):
        if (name := fast.id_to_token(own)) is not None:
            named[name] = own
    encoder = fast
    if unigram or _spelled(fast, named, unknown) or _bytes_spelled(fast, pieces):
        if unigram and len(pieces) == len(BYTE_PIECES):
            # The encoder has no pieces to spell bytes with.
            stand_in = pieces[0] if unknown is None else unknown
        gone = named.keys() | (set(BYTE_PIECES) if falls_back else set())
        form = json.loads(fast.to_str()) if form is None else form
        encoder = _encoder(fast, form, gone, unknown=unknown if stand_in is None else stand_in)
        cures.append("special tokens taken out of what text can give")
    first, second = ([_ids(encoder, each) for each in _PROBES] for _ in range(2))
    if first != second:
        raise ValueError("it gives one text several encodings; legal: one")
    spelled = _spelled(encoder, named, unknown if stand_in is None else stand_in)
    if spelled := spelled or _bytes_spelled(encoder, pieces):
        raise ValueError(f"text that spells its {spelled[0]!r} gives that token; legal: letters")
    complete = None not in map(fast.token_to_id, pre_tokenizers.ByteLevel.alphabet())
    whole = len(pieces) == len(BYTE_PIECES)
    unknown = None if whole else unknown
    return Trial(
        encoder=encoder,
        controls=frozenset(named.values()) - {unknown, *pieces},
        stand_in=stand_in,
        byte_tokens=() if stand_in is None else tuple(pieces),
        unknown=unknown,
        drops=isinstance(model, models.BPE) and unknown is None and not (complete or whole),
        alike=all(_ids(encoder, a + b) == _ids(encoder, a) + _ids(encoder, b) for a, b in _RUNNING),
        reversible=complete and _is_byte_level(fast),
        marks=marks,
        cures=tuple(cures),
    )


def _ids(fast: Fast, text: str) -> list[int]:
    return fast.encode(text, add_special_tokens=False).ids


def _special(fast: Fast) -> dict[str, int]:
    added = fast.get_added_tokens_decoder()
    return {token.content: index for index, token in added.items() if token.special}


def _marks(fast: Fast) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What stands before and after a text under the tokenizer's own template."""
    for text in _PROBES:
        bare, dressed = _ids(fast, text), fast.encode(text).ids
        for at in range(len(dressed) - len(bare) + 1):
            if bare and dressed[at : at + len(bare)] == bare:
                return tuple(dressed[:at]), tuple(dressed[at + len(bare) :])
    return (), ()


def _spelled(fast: Fast, named: Mapping[str, int], unknown: int | None) -> list[str]:
    """Names that text can spell. Of the unknown token nobody can say: an unknown name gives it."""
    return [
        name
        for name, own in named.items()
        if own != unknown
        and any(own in _ids(fast, text) for text in (name, f"a {name} a", f"a{name}a"))
    ]


def _bytes_spelled(fast: Fast, pieces: Collection[int]) -> list[str]:
    """Byte pieces that text can spell, of those whose bytes are in no plain letter."""
    high = BYTE_PIECES[128:]
    texts = (high[0], " ".join(high), "a".join(high))
    known = {fast.token_to_id(each): each for each in high} if pieces else {}
    return [known[own] for text in texts if known for own in _ids(fast, text) if own in known]


def _encoder(fast: Fast, form: dict[str, Any], named: Set[str], *, unknown: int | None) -> Fast:
    """The tokenizer, whose form this is, without the named entries. Where the model needs an entry
    all the same, it is called by the one name that no text spells, the empty one.
    """
    model, added = form["model"], form["added_tokens"]
    if isinstance(model["vocab"], list):
        gone = named & {name for name, _ in model["vocab"]}
        model["vocab"] = [["" if n in gone else n, score] for n, score in model["vocab"]]
        model["unk_id"] = unknown
        lost = []
    else:
        # Byte pieces are looked up by name.
        gone = (named & model["vocab"].keys()) - set(BYTE_PIECES)
        # Added tokens without an entry get the next ids in turn. Those that lose theirs come first
        # and get what is left free at the end, so that no other token moves.
        lost = sorted(gone - {model.get("unk_token")})
        entries = {name: own for name, own in model["vocab"].items() if name not in gone}
        if model.get("unk_token") in gone:
            model["unk_token"], entries[""] = "", unknown
        model["vocab"] = entries
        if "merges" in model:
            model["merges"] = [
                each for each in model["merges"] if not {*each, "".join(each)} & named
            ]
    # A mark that the file does not call special would be looked for in text.
    kept = [
        token | {"special": token["special"] or token["content"] in named}
        for token in added
        if token["content"] not in gone
    ]
    form["added_tokens"] = [added_token(name, index=0) for name in lost] + kept
    encoder = Fast.from_str(json.dumps(form))
    encoder.encode_special_tokens = True
    for name in (token["content"] for token in kept if not token["special"]):
        if encoder.token_to_id(name) != fast.token_to_id(name):
            raise ValueError(f"its added token {name!r} cannot keep its id")
    return encoder


def added_token(name: str, *, index: int) -> dict[str, Any]:
    """A special token as a `tokenizer.json` lists it."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": index, "content": name, **flags, "special": True}


def occurring(fast: Fast, trial: Trial, *, beyond: int) -> dict[str, int]:
    """Entries with the id `beyond` and later that text can give."""
    over = {
        name: own
        for name, own in fast.get_vocab().items()
        if own >= beyond and own not in trial.controls
    }
    if not over or not isinstance(fast.model, models.BPE) or fast.model.ignore_merges:
        return over
    if fast.model.continuing_subword_prefix or fast.model.end_of_word_suffix:
        return over
    # What no merge makes is made of nothing, unless it is a letter, a byte, or looked for in text.
    made = {"".join(each) for each in json.loads(fast.to_str())["model"]["merges"]}
    made |= {*BYTE_PIECES, *(each.content for each in fast.get_added_tokens_decoder().values())}
    return {n: own for n, own in over.items() if len(n) == 1 or n in made or own == trial.unknown}


def _is_byte_level(fast: Fast) -> bool:
    """Bytes in, the same bytes out: nothing normalises, splits away or adds."""
    before = fast.pre_tokenizer
    return (
        isinstance(fast.model, models.BPE)
        and fast.normalizer is None
        and isinstance(before, pre_tokenizers.ByteLevel)
        and not before.add_prefix_space
        and isinstance(fast.decoder, decoders.ByteLevel)
        and all(token.special for token in fast.get_added_tokens_decoder().values())
    )
