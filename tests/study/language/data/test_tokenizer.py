import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Fast
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

from study.language.data import tokenizer as tokenizers
from study.language.data.tokenizer import Tokenizer

TEXTS = ["the cat sat on the mat", "the dog sat on the cat", "naïve 🙂 the mat"] * 20


@pytest.fixture(scope="module")
def trained():
    return tokenizers.train(TEXTS, vocab_size=290, sentinels=8)


def test_layout_of_ids(trained):
    assert trained.vocab_size == 290
    assert (trained.pad, trained.eos) == (0, 1)
    assert [trained.sentinel(k) for k in range(8)] == list(range(289, 281, -1))
    assert trained.num_sentinels == 8
    with pytest.raises(ValueError, match="sentinel 8; legal: 0 to 7"):
        trained.sentinel(8)


def test_sentinels_are_last_where_the_texts_have_no_more_merges():
    small = tokenizers.train(["aa"], vocab_size=400, sentinels=4)
    assert small.vocab_size == 2 + 256 + 1 + 4
    assert small.sentinel(0) == small.vocab_size - 1
    assert small.num_sentinels == 4


def test_a_vocabulary_without_room_is_refused():
    with pytest.raises(ValueError, match="legal: at least 266"):
        tokenizers.train(TEXTS, vocab_size=265, sentinels=8)


def test_training_is_deterministic(trained):
    again = tokenizers.train(iter(TEXTS), vocab_size=290, sentinels=8)
    assert again.digest == trained.digest
    assert tokenizers.train(TEXTS[1:], vocab_size=290, sentinels=7).digest != trained.digest


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30))
def test_any_text_survives(text):
    # built once: hypothesis calls this a hundred times
    tokenizer = _shared()
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.encode_batch([text, "x"])[0] == ids
    assert not ids or 2 <= min(ids) <= max(ids) < tokenizer.vocab_size - 8


def _shared(made=[]):  # noqa: B006 - the one instance, kept on purpose
    if not made:
        made.append(tokenizers.train(TEXTS, vocab_size=290, sentinels=8))
    return made[0]


@pytest.mark.parametrize("text", ["<pad>", "</s>", "a<extra_id_0>b", "</s></s>"])
def test_special_tokens_are_never_read_out_of_text(trained, text):
    ids = trained.encode(text)
    assert not {0, 1, *(trained.sentinel(k) for k in range(8))} & set(ids)
    assert trained.decode(ids) == text


def test_that_survives_saving(trained, tmp_path):
    trained.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    assert loaded.digest == trained.digest
    assert loaded.encode("the cat </s>") == trained.encode("the cat </s>")
    assert 1 not in loaded.encode("</s>")


def test_decoding_leaves_special_tokens_out(trained):
    ids = trained.encode("the cat")
    assert trained.decode([0, *ids, trained.sentinel(0), 1, 0]) == "the cat"


def test_another_digest_is_refused(trained):
    tokenizers.check_same(trained, digest=trained.digest, owner="the checkpoint x")
    other = tokenizers.train(TEXTS, vocab_size=280, sentinels=8)
    with pytest.raises(ValueError, match=f"the checkpoint x was made with.*{trained.digest}"):
        tokenizers.check_same(other, digest=trained.digest, owner="the checkpoint x")


def test_bad_files_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.json: no such tokenizer"):
        Tokenizer.load(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(ValueError, match=r"bad\.json: not a tokenizer"):
        Tokenizer.load(tmp_path / "bad.json")


def gpt2_like():
    """No pad, its end of text last, as in GPT-2."""
    fast = Fast(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    fast.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=280, initial_alphabet=alphabet, show_progress=False)
    )
    fast.add_special_tokens(["<|endoftext|>"])
    return fast


def unigram(extra=3):
    """T5's: pad 0, end 1, unknown 2, sentinels last and descending."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁the", -2.0), ("▁cat", -2.5)]
    pieces += [("▁", -3.0)] + [(letter, -4.0) for letter in "abcdefghijklmnopqrstuvwxyz"]
    pieces += [(f"<extra_id_{k}>", 0.0) for k in reversed(range(extra))]
    fast = Fast(models.Unigram(pieces, unk_id=2))
    fast.pre_tokenizer = pre_tokenizers.Metaspace()
    fast.add_special_tokens(["<pad>", "</s>", "<unk>"])
    fast.add_special_tokens([f"<extra_id_{k}>" for k in reversed(range(extra))])
    fast.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return fast


def word_piece():
    words = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "the", "cat", "sat", "##s"]
    fast = Fast(models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    fast.normalizer = normalizers.Lowercase()
    fast.pre_tokenizer = pre_tokenizers.Whitespace()
    fast.add_special_tokens(["[UNK]", "[CLS]", "[SEP]", "[PAD]"])
    return fast


@pytest.mark.parametrize("make", [gpt2_like, unigram, word_piece])
def test_a_foreign_tokenizer_gets_the_layout_and_keeps_its_tokens(make):
    fast = make()
    extended = tokenizers.extend(fast.to_str(), sentinels=5)
    assert extended.num_sentinels == 5
    for text in ("the cat sat", "cats the cat"):
        before = fast.encode(text, add_special_tokens=False).tokens
        ids = extended.encode(text)
        assert [extended._fast.id_to_token(each) for each in ids] == before
        assert min(ids) >= 2
    again = Tokenizer.parse(extended._json(), name="again")
    assert again.digest == extended.digest


def test_t5s_layout_is_kept_id_by_id():
    fast = unigram(extra=3)
    extended = tokenizers.extend(fast.to_str(), sentinels=3)
    assert extended._fast.get_vocab() == fast.get_vocab()


def test_a_foreign_end_of_text_becomes_the_end_of_sequence():
    extended = tokenizers.extend(gpt2_like().to_str(), sentinels=2)
    assert extended._fast.id_to_token(1) == "<|endoftext|>"
    assert extended._fast.id_to_token(0) == "<pad>"
    assert 1 not in extended.encode("<|endoftext|>")


def test_unknown_words_stay_unknown():
    extended = tokenizers.extend(unigram().to_str(), sentinels=4)
    assert [extended._fast.id_to_token(each) for each in extended.encode("é")][-1] == "<unk>"
    assert json.loads(extended._json())["model"]["unk_id"] == 2
