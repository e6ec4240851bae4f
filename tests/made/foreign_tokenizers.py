"""Tokenizers of every kind that others publish, in small. Ids 0, 1 and 2 are marks, never text."""

from tokenizers import (
    AddedToken,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from tokenizers import Tokenizer as Fast

LETTERS = [*"abcdefghijklmnopqrstuvwxyzAEPSDx0123456789:?.<>/_[]|"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
MARKS = ("<pad>", "</s>", "<unk>")


def _marked(fast, names=MARKS):
    fast.add_special_tokens(list(names))
    return fast


def unigram(*, scheme="always", split=True, fallback=False):
    """sentencepiece's, as T5 has it: control pieces have the best score of all."""
    pieces = [(name, 0.0) for name in MARKS]
    pieces += [(name, 0.0) for name in BYTES] if fallback else []
    pieces += [("▁good", -2.5), ("▁was", -2.7), ("▁bad", -2.8), ("oo", -3.1), ("▁", -3.0)]
    pieces += [(letter, -4.0 - k / 16) for k, letter in enumerate(dict.fromkeys(LETTERS))]
    fast = Fast(models.Unigram(pieces, unk_id=2, byte_fallback=fallback))
    fast.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split)
    fast.decoder = decoders.Metaspace(prepend_scheme=scheme, split=split)
    if fallback:
        fast.decoder = decoders.Sequence([decoders.ByteFallback(), fast.decoder])
    fast.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return _marked(fast)


def unigram_in_bytes():
    return unigram(fallback=True)


def unigram_whole():
    return unigram(scheme="first", split=False)


def t5():
    """A line's end is a space, and no white space ends a text."""
    fast = unigram()
    lines = normalizers.Replace("\n", " ")
    fast.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), lines, normalizers.Strip(left=False, right=True)]
    )
    return fast


def llama(*, fallback=True):
    """A normaliser puts a space before every text; nothing splits it into words."""
    merges = [("▁", "g"), ("o", "o"), ("▁g", "oo"), ("▁goo", "d"), ("a", "d"), ("▁", "▁")]
    entries = ["<unk>", "</s>", "<s>", *(BYTES if fallback else ()), *LETTERS, "▁"]
    entries += [a + b for a, b in merges]
    ids = {name: index for index, name in enumerate(dict.fromkeys(entries))}
    fast = Fast(models.BPE(ids, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=fallback))
    fast.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    fast.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    fast.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 2)]
    )
    return _marked(fast, ("<unk>", "</s>", "<s>"))


def byte_level(*, prefix=False):
    fast = Fast(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    fast.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=280,
        special_tokens=list(MARKS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    fast.train_from_iterator(["was it good? it was bad , a good one"] * 9, trainer=trainer)
    return fast


def roberta():
    return byte_level(prefix=True)


def words():
    names = [*MARKS, "was", "it", "good", "bad", "?", "a", "b"]
    ids = {name: index for index, name in enumerate(names)}
    fast = Fast(models.WordLevel(ids, unk_token="<unk>"))
    fast.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    _marked(fast)
    fast.add_special_tokens(["<mask>"])  # beyond the model's own entries
    fast.add_tokens(["<tag>"])
    return fast


def word_pieces():
    names = ["[PAD]", "[SEP]", "[UNK]", "was", "it", "good", "bad", "[", "##S", "##E", "##P", "##]"]
    ids = {name: index for index, name in enumerate(names)}
    fast = Fast(models.WordPiece(ids, unk_token="[UNK]"))
    fast.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast.decoder = decoders.WordPiece()
    _marked(fast, ("[PAD]", "[SEP]", "[UNK]"))
    fast.add_tokens([AddedToken("<tag>", single_word=True)])
    return fast


def whole_words():
    """As Llama 3: a word that is an entry is one token, whatever the merges say."""
    names = [*MARKS, *dict.fromkeys(LETTERS), "good"]
    ids = {name: index for index, name in enumerate(names)}
    fast = Fast(models.BPE(ids, [], unk_token="<unk>", ignore_merges=True))
    fast.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return _marked(fast)


def merged():
    """Its merges spell its end of sequence."""
    merges = [("<", "/"), ("</", "s"), ("</s", ">"), ("o", "o")]
    names = [*MARKS, *dict.fromkeys([*LETTERS, "▁", *(a + b for a, b in merges)])]
    ids = {name: index for index, name in enumerate(dict.fromkeys(names))}
    fast = Fast(models.BPE(ids, merges, unk_token="<unk>"))
    fast.normalizer = normalizers.Replace(" ", "▁")
    fast.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    return _marked(fast)


KINDS = (
    unigram, unigram_in_bytes, unigram_whole, t5, llama, byte_level, roberta, words, word_pieces,
    whole_words, merged,
)  # fmt: skip
