"""Tokenizers of others under the scoring rule: targets, beginnings, and letters without a token."""

import hashlib
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import foreign_tokenizers as foreign
import numpy as np
import pytest
import torch
import transformers
from lm_eval.api.instance import Instance
from made_panels import OF_LANGUAGE, panel_of_tasks
from made_scores import ARCHITECTURES, tiny
from transformers import PreTrainedTokenizerFast

from eval.evidence import table
from eval.evidence.task_scores import TaskScores
from study.language.cells import key_of
from study.language.data import tokenizer as tokenizers
from study.language.huggingface.export import write_tokenizer
from study.language.huggingface.opened import write_model
from study.language.model.build import build
from study.language.prompts.templates import join_target
from study.language.recipes.presets import world
from study.language.scores import items
from study.language.scores.encode import encode_pairs, marks_version
from study.language.scores.execute import score_digest
from study.language.scores.foreign import ForeignTokenizer
from study.language.scores.lm import StudyLM
from study.language.scores.questions import Item
from study.language.scores.score import Ids, Subject
from study.language.scores.subjects import Opened, open_directory
from study.language.values.conventions import CONVENTIONS, LM_EVAL, STUDY
from study.language.values.suite import SuiteTask


def opened(make, *, prefix=1):
    return ForeignTokenizer(make(), end=1, prefix=prefix)


def pair_of(tokenizer, context, target, *, architecture="causal_decoder", scoring=STUDY):
    (found,) = encode_pairs(
        [(context, target)], tokenizer=tokenizer, architecture=architecture, scoring=scoring
    )
    return found


def names(tokenizer, ids):
    return [tokenizer._fast.id_to_token(each) for each in ids]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", CONVENTIONS)
@pytest.mark.parametrize("make", foreign.KINDS, ids=lambda make: make.__name__)
def test_a_targets_tokens_are_those_of_running_text(make, name, architecture):
    tokenizer = opened(make)
    for context in ("was it good?", "was it good? ", "was it good?\n", "was\t"):
        for answer in ("good", "bad"):
            target = join_target(context, answer)
            found = pair_of(
                tokenizer, context, target, architecture=architecture, scoring=CONVENTIONS[name]
            )
            own, running = list(found.target), tokenizer.encode(context + target)
            assert own
            assert own == running[len(running) - len(own) :]
            assert not {0, 1} & set(own) or make is foreign.llama  # there, 0 is unknown letters


@pytest.mark.parametrize("name", CONVENTIONS)
def test_no_space_is_put_before_a_target(name):
    """What a normaliser puts before every text belongs before the whole text alone."""
    tokenizer = opened(foreign.llama, prefix=2)
    for architecture in ARCHITECTURES:
        found = pair_of(
            tokenizer, "was it?", " good", architecture=architecture, scoring=CONVENTIONS[name]
        )
        assert names(tokenizer, found.target) == ["▁good"]
        assert not found.lost.altered
    found = pair_of(tokenizer, "was it?\n", "good", scoring=CONVENTIONS[name])
    line = ["<0x0A>"] if name == "lm_eval" else []  # lm-eval moves it to the target
    assert names(tokenizer, found.target) == [*line, "g", "oo", "d"]
    # after nothing a target begins the text; the same tokens as after any context where it can
    assert names(tokenizer, pair_of(tokenizer, "", "good").target) == ["▁good"]
    assert names(tokenizer, pair_of(tokenizer, "", " good").target) == ["▁good"]


def lm_of(tokenizer, *, scoring, prefix, architecture="causal_decoder", max_length=48):
    shape = replace(tiny(architecture).shape, vocab_size=tokenizer.vocab_size)
    one = Subject(
        model=build(shape, dropout=0.0, seed=0).eval(),
        architecture=architecture,
        max_length=max_length,
        batch_tokens=400,
        ids=Ids(end=1, prefix=prefix, start=prefix),
    )
    return StudyLM(one, tokenizer=tokenizer, scoring=scoring)


def asked(*pairs):
    return [Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=0) for pair in pairs]


def rolled(*texts):
    return [
        Instance(request_type="loglikelihood_rolling", doc={}, arguments=(text,), idx=0)
        for text in texts
    ]


def test_a_text_begins_once():
    """The rule's start token and the tokenizer's own are one, also where a context is cut."""
    tokenizer = opened(foreign.llama, prefix=2)
    assert tokenizer.trial.marks == ((2,), ())
    pairs = [("was it?", " good"), ("", "good"), ("was it " * 30, " good")]
    found = {}
    for special in ("none", "tokenizer"):
        scoring = replace(STUDY, special_tokens=special, truncation="left")
        lm = lm_of(tokenizer, scoring=scoring, prefix=2)
        values = [value for value, _ in lm.loglikelihood(asked(*pairs))]
        cut = lm.scored(*pairs[-1]).truncated
        rolling = lm.loglikelihood_rolling(rolled("was it good? " * 20, "good"))
        found[special] = (values, cut, rolling[1])
    assert found["none"] == found["tokenizer"]
    assert found["none"][1] > 0
    for context, target in pairs:
        both = pair_of(tokenizer, context, target, scoring=LM_EVAL)
        assert (*both.context, *both.target).count(2) == bool(context)


def test_an_end_that_only_the_settings_name_is_no_text_either():
    """Its file has the end of sequence among the words, and not among the special tokens."""
    fast = foreign.words()
    form = json.loads(fast.to_str())
    form["added_tokens"] = [t for t in form["added_tokens"] if t["content"] != "</s>"]
    found = ForeignTokenizer(type(fast).from_str(json.dumps(form)), end=1, prefix=1)
    assert found.encode("was </s> good") == [3, 2, 5]


def test_an_end_that_a_template_puts_is_no_part_of_a_pair():
    tokenizer = opened(foreign.unigram)
    assert tokenizer.trial.marks == ((), (1,))
    found = pair_of(tokenizer, "was it?", " good", scoring=LM_EVAL)
    assert names(tokenizer, found.context) == ["▁was", "▁", "i", "t", "?"]
    assert names(tokenizer, found.target) == ["▁good"]
    assert not found.spanning
    # an encoder reads it
    split = pair_of(tokenizer, "was it?", " good", scoring=LM_EVAL, architecture="encoder_decoder")
    assert split.context == (*found.context, 1)


def test_scores_that_are_now_others_have_other_names():
    ends, begins, none = opened(foreign.unigram), opened(foreign.llama), opened(foreign.words)
    always = replace(STUDY, special_tokens="tokenizer")

    def version(tokenizer, scoring, architecture="causal_decoder"):
        return marks_version(tokenizer, architecture=architecture, scoring=scoring)

    assert [version(each, LM_EVAL) for each in (ends, begins, none)] == [2, 1, 1]
    assert [version(each, always) for each in (ends, begins, none)] == [2, 2, 1]
    assert {version(each, STUDY) for each in (ends, begins, none)} == {1}
    assert version(ends, LM_EVAL, "encoder_decoder") == 1

    def key(tokenizer, scoring):
        run = SimpleNamespace(suite=SimpleNamespace(scoring=scoring))
        one = lm_of(tokenizer, scoring=scoring, prefix=None).subject
        found = Opened(subject=one, tokenizer=tokenizer, weights="w", stored=("float32",))
        return score_digest(found, prompts=(), run=run)

    bare = opened(foreign.unigram)
    bare.trial = replace(bare.trial, marks=((), ()))
    assert bare.digest == ends.digest
    assert key(bare, LM_EVAL) != key(ends, LM_EVAL)
    assert key(bare, STUDY) == key(ends, STUDY)
    # a tokenizer whose tokens are those of `tokenizers` alone has the digest of its file
    for make, plain in (
        (foreign.byte_level, True),
        (foreign.unigram, False),
        (foreign.llama, False),
    ):
        tokenizer = opened(make)
        assert (tokenizer.digest == sha256(tokenizer._json())) == plain


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def test_letters_without_a_token_have_no_bits_per_byte():
    tokenizer = opened(foreign.unigram)
    lm = lm_of(tokenizer, scoring=STUDY, prefix=None)
    texts = ("was good", "was 日本")
    known, unknown = lm.loglikelihood_rolling(rolled(*texts))
    assert math.isfinite(known)
    assert unknown == -math.inf
    assert lm.losses(texts) == {"unknown": 1, "altered": 1}
    rows = [
        items._rolled(Item(index=0, group=0, key="k", inputs=text, continuations=(), gold=0), lm)
        for text in texts
    ]
    assert [row["valid"] for row in rows] == [True, False]
    assert rows[1]["gold_nats_per_byte"] is None
    assert rows[0]["gold_nats_per_byte"] == pytest.approx(known / 8)


def test_an_answer_without_a_token_has_no_nats_per_byte():
    tokenizer = opened(foreign.unigram)
    lm = lm_of(tokenizer, scoring=STUDY, prefix=None)
    told = {}
    for answers in ((" good", " bad"), (" good", " 日")):
        item = Item(index=0, group=0, key="k", inputs="was it?", continuations=answers, gold=0)
        lm.loglikelihood(asked(*item.pairs))
        told[answers[1]] = (
            items._ranked(item, lm),
            items._greedy(item, lm),
            lm.losses([item.pairs]),
        )
    ranked, greedy, losses = told[" bad"]
    assert ranked["gold_nats_per_byte"] < 0
    assert greedy["gold_nats_per_byte"] < 0
    assert losses == {"unknown": 0, "altered": 0}
    ranked, _, losses = told[" 日"]
    assert ranked["gold_nats_per_byte"] is None
    assert ranked["valid"]
    assert losses == {"unknown": 1, "altered": 1}


def checkpoint(directory, make, *, size, **named):
    """A tiny Llama whose tokenizer is one of these."""
    fast = make()
    settings = {"eos_token": "</s>", "unk_token": "<unk>"} | named
    PreTrainedTokenizerFast(tokenizer_object=fast, **settings).save_pretrained(directory)
    config = transformers.LlamaConfig(
        vocab_size=size, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=32, bos_token_id=2, eos_token_id=1,
        pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(directory)
    return directory


def test_an_entry_beyond_the_embeddings_matters_only_where_text_has_it(tmp_path):
    # ten words; a mask with the id 10, a tag with the id 11
    place = checkpoint(tmp_path / "few", foreign.words, size=10)
    with pytest.raises(ValueError, match=r"10 embeddings, .* gives '<tag>' the id 11 \(1 such\)"):
        open_directory(place)

    def masked():
        fast = foreign.words()
        form = json.loads(fast.to_str())
        form["added_tokens"] = [t for t in form["added_tokens"] if t["content"] != "<tag>"]
        return type(fast).from_str(json.dumps(form))

    found = open_directory(checkpoint(tmp_path / "mask", masked, size=10))
    assert found.tokenizer.vocab_size == 11
    assert found.tokenizer.encode("was <mask>") == [3, 2]
    # but a beginning of sequence that has no row is asked for by the rule itself
    with pytest.raises(ValueError, match="gives '<mask>' the id 10"):
        open_directory(checkpoint(tmp_path / "begins", masked, size=10, bos_token="<mask>"))


def test_a_tokenizer_that_cannot_be_trusted_is_refused_by_file(tmp_path):
    place = checkpoint(tmp_path / "unk", foreign.words, size=12)
    file = place / "tokenizer.json"
    form = json.loads(file.read_text())
    form["model"]["unk_token"] = "[none]"
    file.write_text(json.dumps(form))
    with pytest.raises(ValueError, match=r"tokenizer\.json: .*text that it cannot encode"):
        open_directory(place)


@pytest.mark.parametrize("make", foreign.KINDS, ids=lambda make: make.__name__)
def test_an_export_opens_with_the_tokens_of_its_corpus(make, tmp_path):
    corpus = tokenizers.extend(make().to_str(), sentinels=3)
    corpus.save(tmp_path / "tokenizer.json")
    place = tmp_path / "export"
    place.mkdir()
    shape = replace(tiny("causal_decoder").shape, vocab_size=corpus.vocab_size)
    write_model(place, model=build(shape, dropout=0.0, seed=0))
    write_tokenizer(tmp_path / "tokenizer.json", place)
    found = open_directory(place).tokenizer
    assert found.digest == corpus.digest
    for text in ("was it good?\n<tag> </s>", " é<extra_id_0>", "<pad>[SEP]"):
        assert found.encode(text) == corpus.encode(text)
        after = {"after": ["was"]}
        assert found.encode_continuations([text], **after) == corpus.encode_continuations(
            [text], **after
        )


def test_a_report_has_a_hole_where_letters_have_no_token():
    """Of three documents one holds such letters: no figure of the other two takes its place."""
    key = key_of(("CD:FLM",), tokens=1)
    prose = SuiteTask(
        name="prose",
        rows=world("text", documents=3, seed=1),
        templates=None,
        template_names=(),
        metric="rolling",
        chance=0.0,
        role="probe",
    )

    def row(nats, sizes):
        columns = {"bits": -np.array(nats) / math.log(2), "size": np.array(sizes)}
        task = TaskScores(
            task=prose,
            measure=OF_LANGUAGE["bits per byte"],
            conditions=("",),
            columns={name: values.reshape(1, 1, 1, 3) for name, values in columns.items()},
            groups=np.arange(3),
            twins=False,
        )
        run = SimpleNamespace(
            key=key,
            seed=0,
            run=SimpleNamespace(suite=SimpleNamespace(holes=())),
            results={"tasks": {"p": {"task": "prose", "invalid": 1}}},
        )
        (found,) = table.build([replace(panel_of_tasks([task], [key]), runs=(run,))]).rows
        return found

    hole = row([-3.0, -np.inf, -2.0], [4.0, 9.0, 3.0])
    assert hole.value is None
    assert hole.hole == "1 documents could not be scored"
    assert row([-3.0, -2.0, -2.0], [4.0, 3.0, 3.0]).value == pytest.approx(0.7 / math.log(2))


def test_lm_evals_own_figures_leave_out_what_is_no_number():
    """results.json has numbers alone."""
    from study.language.scores.execute import _numbers

    found = {"bits_per_byte,none": math.inf, "acc,none": 0.5, "acc_stderr,none": 0.1}
    assert _numbers(found) == {"acc": 0.5}
