"""What text may give under tokenizers of every kind, and what a trial says of one."""

import json
import re

import foreign_tokenizers as foreign
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Fast
from tokenizers import decoders, models, normalizers, pre_tokenizers

from study.language.data import tokenizer as tokenizers
from study.language.data.tokenizer import Lost, Tokenizer

LAID_OUT: dict = {}


def opened(make, *, sentinels=3):
    """As a corpus gets it, once a kind."""
    if make not in LAID_OUT:
        LAID_OUT[make] = tokenizers.extend(make().to_str(), sentinels=sentinels)
    return LAID_OUT[make]


def plain(tokenizer):
    """`tokenizers` alone, told not to look for special tokens."""
    fast = Fast.from_str(tokenizer._json())
    fast.encode_special_tokens = True
    return fast


@pytest.mark.parametrize("make", foreign.KINDS, ids=lambda make: make.__name__)
def test_a_mark_that_a_text_spells_is_spelled(make):
    tokenizer = opened(make)
    known = tokenizer._fast.get_added_tokens_decoder()
    marks = {index: token.content for index, token in known.items() if token.special}
    unknown = tokenizer.trial.unknown
    assert {0, 1, tokenizer.sentinel(0)} <= marks.keys()
    for name in marks.values():
        for text in (name, f"was {name} good", f"a{name}b", name + name):
            ids = tokenizer.encode(text)
            assert not (marks.keys() - {unknown}) & set(ids), text
            assert tokenizer.encode_batch([text, "x"])[0] == ids
            if unknown not in ids and make not in (foreign.words, foreign.whole_words):
                assert tokenizer.decode(ids).strip() == text


def test_the_letters_of_a_mark_are_its_tokens():
    tokenizer = opened(foreign.unigram)
    tokens = [tokenizer._fast.id_to_token(each) for each in tokenizer.encode("was</s>")]
    assert tokens == ["▁was", "<", "/", "s", ">"]
    # the unknown token's own name is letters too, and a letter without a token is unknown
    assert tokenizer.trial.unknown not in tokenizer.encode("a<unk>b")
    assert tokenizer.encode("é") == [*tokenizer.encode(""), tokenizer._fast.token_to_id("▁"), 2]


MARK = re.compile(r"<[a-z_/|0-9x]*>|\[[A-Z]*\]", re.IGNORECASE)
SNIPPETS = ["was", " it", "good", "<", ">", "/s", "\n", " ", "  ", "<tag>", "é", "日本", "oo", "x"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(SNIPPETS) | st.text(max_size=4), max_size=12).map("".join))
def test_a_text_that_spells_no_mark_has_the_tokens_it_always_had(text):
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    if MARK.search(text.replace("<tag>", "")):
        return
    for make in foreign.KINDS:
        tokenizer = opened(make)
        if make not in PLAIN:
            PLAIN[make] = plain(tokenizer)
        assert tokenizer.encode(text) == PLAIN[make].encode(text, add_special_tokens=False).ids
        assert tokenizer.encode_batch([text]) == [tokenizer.encode(text)]


PLAIN: dict = {}


def test_bytes_are_no_text_either():
    """`<0x41>` is six letters; letters without a token are their bytes."""
    tokenizer = opened(foreign.unigram_in_bytes)
    name = tokenizer._fast.id_to_token
    assert [name(each) for each in tokenizer.encode("<0x41>é")] == [
        *("▁", "<", "0", "x", "4", "1", ">"),
        *("<0xC3>", "<0xA9>"),
    ]
    assert tokenizer.decode(tokenizer.encode("<0x41>é 日")) == "<0x41>é 日"
    assert tokenizer.trial.unknown is None


def test_other_added_tokens_stay_text_and_keep_their_ids():
    for make in (foreign.words, foreign.word_pieces):
        fast = make()
        tokenizer = Tokenizer(make(), controls=(0, 1))
        tag = fast.token_to_id("<tag>")
        assert tag == len(fast.get_vocab()) - 1
        assert tokenizer.trial.encoder is not tokenizer._fast
        assert tokenizer.encode("was <tag> good")[1] == tag
        assert tokenizer.trial.encoder.token_to_id("<tag>") == tag


def test_a_mark_that_its_file_calls_no_special_token_is_one():
    form = json.loads(foreign.llama().to_str())
    for token in form["added_tokens"]:
        token["special"] = False
    laid_out = tokenizers.extend(json.dumps(form), sentinels=2)
    assert laid_out._fast.token_to_id("<s>") not in laid_out.encode("was <s> good")
    assert laid_out.decode(laid_out.encode("was <s> good")) == "was <s> good"
    # neither in the model's vocabulary nor special: the tokenizer's own file is taken as it is
    form = json.loads(foreign.words().to_str())
    tag = next(token for token in form["added_tokens"] if token["content"] == "<tag>")
    marked = Tokenizer(Fast.from_str(json.dumps(form)), controls=(1, tag["id"]))
    assert marked.encode("was <tag> good") == [3, 2, 5]


def test_a_saved_file_is_a_plain_one(tmp_path):
    """The corpus's tokenizer.json names every token, and opens to the same tokens."""
    for make in foreign.KINDS:
        tokenizer = opened(make)
        tokenizer.save(tmp_path / "tokenizer.json")
        theirs = Fast.from_file(str(tmp_path / "tokenizer.json"))
        assert theirs.token_to_id(tokenizer._fast.id_to_token(1)) == 1
        again = Tokenizer.load(tmp_path / "tokenizer.json")
        assert again.digest == tokenizer.digest
        assert again.encode("was it </s> good") == tokenizer.encode("was it </s> good")
        assert again.decode([0, *again.encode("good"), 1]) == again.decode(again.encode("good"))


def test_dropout_is_taken_out_and_said():
    text = "the cat sat on the mat and the other cat sat there too"
    form = json.loads(tokenizers.train([text] * 50, vocab_size=300, sentinels=4)._json())
    whole = tokenizers.extend(json.dumps(form), sentinels=4)
    form["model"]["dropout"] = 0.3
    tokenizer = tokenizers.extend(json.dumps(form), sentinels=4)
    assert {tuple(tokenizer.encode(text)) for _ in range(100)} == {tuple(whole.encode(text))}
    assert tokenizer.trial.cures == ("BPE dropout 0.3 taken out",)
    assert json.loads(tokenizer._json())["model"]["dropout"] is None
    assert whole.trial.cures == ()


def test_lengths_and_padding_of_a_file_are_no_part_of_a_text():
    fast = foreign.llama()
    fast.enable_truncation(max_length=3)
    fast.enable_padding(length=9, pad_id=1)
    tokenizer = Tokenizer(Fast.from_str(fast.to_str()))
    assert tokenizer.encode("was it good") == Tokenizer(foreign.llama()).encode("was it good")


@pytest.mark.parametrize(
    "model",
    [
        models.WordLevel({"<pad>": 0, "</s>": 1, "a": 2}, unk_token="<unk>"),
        models.WordPiece({"<pad>": 0, "</s>": 1, "a": 2}, unk_token="[UNK]"),
        models.Unigram([("<pad>", 0.0), ("</s>", 0.0), ("a", -1.0)]),
    ],
    ids=["WordLevel", "WordPiece", "Unigram"],
)
def test_one_that_cannot_encode_a_text_is_refused_by_name(model):
    text = Fast(model).to_str()
    with pytest.raises(ValueError, match=r"bad\.json: .*text that it cannot encode"):
        tokenizers.extend(text, sentinels=2, name="bad.json")


def test_one_that_ends_in_a_panic_is_refused(capfd):
    """A normaliser that leaves nothing of an added token stops `tokenizers` itself."""
    fast = foreign.byte_level()
    fast.normalizer = normalizers.Strip()
    fast.add_tokens(["<tag>", "   "])
    with pytest.raises(ValueError, match="text that it cannot encode"):
        Tokenizer(fast)


def test_what_is_no_tokenizer_is_refused_by_name():
    for text in ("{", "[]", "{}", '{"model": {"vocab": 3}}'):
        with pytest.raises(ValueError, match=r"odd\.json: not a tokenizer"):
            tokenizers.extend(text, sentinels=2, name="odd.json")


CONTEXTS = ("was it good?", "was it good?\n", "was it\t", "was it bad ?\n\n")


@pytest.mark.parametrize("make", foreign.KINDS, ids=lambda make: make.__name__)
def test_a_continuation_has_the_tokens_of_running_text(make):
    tokenizer = opened(make)
    for context in CONTEXTS:
        for answer in ("good", "bad 1", "<a", "oo"):
            text = answer if context[-1].isspace() else f" {answer}"
            (own,) = tokenizer.encode_continuations([text], after=[context])
            running = tokenizer.encode(context + text)
            assert own, (context, text)
            assert own == running[len(running) - len(own) :], (context, text)
            # neither more than the answer nor less
            if not tokenizer.lost([context + text], [running])[0].altered:
                assert tokenizer.decode([*tokenizer.encode(context), *own]) == context + text


def test_a_continuation_by_hand():
    def tokens(make, text, context):
        tokenizer = opened(make)
        (own,) = tokenizer.encode_continuations([text], after=[context])
        return [tokenizer._fast.id_to_token(each) for each in own]

    assert tokens(foreign.llama, " good", "was it?") == ["▁good"]
    assert tokens(foreign.llama, "good", "was it?\n") == ["g", "oo", "d"]
    assert tokens(foreign.llama, "  good", "was it?") == ["▁", "▁good"]
    # T5 makes a space of the line's end
    assert tokens(foreign.t5, "good", "was it?\n") == ["▁good"]
    assert tokens(foreign.t5, " good", "was it?") == ["▁good"]
    # its context has lost the tab, which has no token
    assert tokens(foreign.t5, "oo", "was it?\t") == ["<unk>", "oo"]
    assert tokens(foreign.roberta, "x", "was it?\n") == ["x"]
    assert tokens(foreign.roberta, " x", "was it?") == ["Ġ", "x"]
    assert opened(foreign.llama).encode_continuations([], after=[]) == []
    assert opened(foreign.llama).encode_continuations([""], after=["a"]) == [[]]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from([*SNIPPETS, "</s>", "\u0301", "\u3000"]), max_size=5).map("".join))
def test_every_text_has_a_continuation(text):
    for make in foreign.KINDS:
        tokenizer = opened(make)
        (own,) = tokenizer.encode_continuations([text], after=["was"])
        assert own or not tokenizer.encode(text) or not text.strip()
        assert not tokenizer.trial.controls & set(own)


def test_two_unknown_letters_at_a_border_are_two():
    """Unknown letters in a row are one token; a target's own is never lost in its context's."""
    tokenizer = opened(foreign.unigram)
    assert tokenizer.encode_continuations(["é"], after=["日\n"]) == [[tokenizer.trial.unknown]]


def test_tokenizers_that_change_nothing_are_taken_as_they_are():
    own = tokenizers.train(["the cat"] * 9, vocab_size=280, sentinels=2)
    assert own.trial.encoder is own._fast
    assert own.trial.alike
    assert own.trial.reversible
    assert own.trial.cures == ()
    other = {make for make in foreign.KINDS if not opened(make).trial.alike}
    whole = {foreign.unigram, foreign.unigram_in_bytes, foreign.unigram_whole}
    assert other == {*whole, foreign.t5, foreign.llama, foreign.roberta}


def test_what_is_lost_is_counted():
    lost = opened(foreign.unigram).lost
    texts = ["was good", "é and ü", "was  \n", " good"]
    rows = [opened(foreign.unigram).encode(each) for each in texts]
    assert lost(texts, rows) == [
        Lost(),
        Lost(unknown=2, altered=True),
        Lost(unknown=1, altered=True),
        Lost(altered=True),
    ]
    assert lost(["good"], [[3, 4]])[0].altered
    pieces = opened(foreign.word_pieces)
    assert pieces.lost(["zzz good"], [pieces.encode("zzz good")])[0].unknown == 1
    account: dict = {}
    tokenizers.count_lost(account, opened(foreign.unigram), texts=texts, rows=rows)
    assert account == {"unknown": 2, "altered": 3}
    own = tokenizers.train(["the cat"] * 9, vocab_size=280, sentinels=2)
    account = {}
    tokenizers.count_lost(account, own, texts=["é"], rows=[own.encode("é")])
    assert account == {}


def test_letters_that_leave_no_token_are_counted():
    fast = Fast(models.BPE({"<pad>": 0, "</s>": 1, "a": 2, "b": 3, "Ġ": 4}, []))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    tokenizer = Tokenizer(fast)
    assert tokenizer.trial.drops
    texts = ["a b", "a c b"]
    rows = [tokenizer.encode(each) for each in texts]
    assert tokenizer.lost(texts, rows) == [Lost(), Lost(unknown=1, altered=True)]


def test_what_text_can_give_beyond_a_size():
    words = Tokenizer(foreign.words(), controls=(0, 1))
    # ten entries, a mask that no text gives, a tag that texts give
    assert words.beyond(10) == {"<tag>": 11}
    assert words.beyond(12) == {}
    assert set(words.beyond(8)) == {"a", "b", "<tag>"}
    llama = Tokenizer(foreign.llama())
    form = json.loads(llama._json())
    size = len(form["model"]["vocab"])
    # no merge makes it, so no text has it
    form["model"]["vocab"]["zz▁zz"] = size
    again = Tokenizer(Fast.from_str(json.dumps(form)))
    assert again.beyond(size) == {}
    form["model"]["ignore_merges"] = True
    again = Tokenizer(Fast.from_str(json.dumps(form)))
    assert again.beyond(size) == {"zz▁zz": size}
    # an id behind a hole
    form = json.loads(foreign.words().to_str())
    form["model"]["vocab"]["late"] = 40
    assert Tokenizer(Fast.from_str(json.dumps(form)), controls=(0, 1)).beyond(20)["late"] == 40


def test_what_a_template_puts_around_a_text_is_known():
    assert Tokenizer(foreign.llama()).trial.marks == ((2,), ())
    assert Tokenizer(foreign.unigram()).trial.marks == ((), (1,))
    assert Tokenizer(foreign.words(), controls=()).trial.marks == ((), ())
