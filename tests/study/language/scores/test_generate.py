"""Continuations are those of lm-eval's `HFLM` with one prompt a batch, and those of the rule."""

from dataclasses import replace

import checkpoints
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from study.language.data.tokenizer import train
from study.language.model.build import build
from study.language.scores.generate import _generator
from study.language.scores.lm import StudyLM
from study.language.scores.score import Request, Subject, score
from study.language.scores.subjects import open_directory
from study.language.values.conventions import LM_EVAL, PAPER, STUDY
from study.language.values.model import Model

KINDS = ("causal_decoder", "encoder_decoder", "gpt_neox", "gpt2", "llama", "bart", "t5")
LENGTH = 48
PROMPTS = [
    "the plot is",
    "a masterpiece of film , moving and funny from its first scene",
    "the acting",
    "is good, is bad, " * 40,  # longer than any room
    "ends in a line\n",
    "the plot is",
]
OPTIONS = {
    "plain": {"until": ["\n\n"], "max_gen_toks": 14},
    "the end alone": {"max_gen_toks": 9},
    "one string": {"until": "e", "max_new_tokens": 14, "do_sample": False, "temperature": 0.7},
    "another name": {"until": [], "max_tokens": 5, "temperature": 0.0},
    "the newest name": {"until": [], "max_completion_tokens": 4},
    "the first name wins": {"until": [], "max_completion_tokens": 4, "max_gen_toks": 6},
    "a length": {"until": [], "max_gen_toks": 20, "max_length": 45},
    "beams": {"until": ["the"], "max_gen_toks": 8, "num_beams": 3},
    "a penalty": {"until": [], "max_gen_toks": 10, "repetition_penalty": 3.0},
    "sampled": {"until": ["s"], "max_gen_toks": 10, "do_sample": True, "temperature": 1.3},
    "a nucleus": {"max_gen_toks": 10, "temperature": 0.9, "top_p": 0.7, "top_k": 40},
}


def asked(prompts, options):
    return [
        Instance(request_type="generate_until", doc={}, arguments=(each, dict(options)), idx=0)
        for each in prompts
    ]


def directory_of(kind, folder):
    if kind in KINDS[:2]:
        return checkpoints.ours(folder / kind, architecture=kind)
    return checkpoints.foreign(folder / kind, kind)


def ours(directory, *, max_length=LENGTH, scoring=LM_EVAL):
    opened = open_directory(directory, max_length=max_length, batch_tokens=600)
    return StudyLM(opened.subject, tokenizer=opened.tokenizer, scoring=scoring)


def theirs(directory, *, max_length=LENGTH):
    return HFLM(
        pretrained=str(directory), device="cpu", dtype="float32", batch_size=1,
        max_length=max_length,
    )  # fmt: skip


class _Pairs(dict):
    """(this project's, HFLM's) models of one checkpoint, made when asked for."""

    def __init__(self, folder):
        self.folder = folder

    def __missing__(self, kind):
        directory = directory_of(kind, self.folder)
        self[kind] = ours(directory), theirs(directory)
        return self[kind]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return _Pairs(tmp_path_factory.mktemp("generate"))


def same(lm, hflm, names, *, prompts=PROMPTS):
    seen = set()
    for name in names:
        requests = asked(prompts, OPTIONS[name])
        torch.manual_seed(1234)
        found = lm.generate_until(requests)
        torch.manual_seed(1234)
        assert found == hflm.generate_until(requests, disable_tqdm=True), name
        seen |= set(found)
    return seen


SLOW = pytest.param("encoder_decoder", marks=pytest.mark.slow)


@pytest.mark.parametrize("kind", ["causal_decoder", SLOW, "gpt2"])
def test_it_is_what_hflm_gives(kind, pairs):
    seen = same(*pairs[kind], ["plain", "another name", "sampled"], prompts=PROMPTS[2:])
    assert len(seen) > 4  # they are no constants
    assert pairs[kind][0].cut()["generate_until"]["cut"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_option_gives_what_hflm_gives(kind, pairs):
    assert len(same(*pairs[kind], OPTIONS)) > len(OPTIONS)


def test_several_kinds_of_options_in_one_call(pairs):
    lm, hflm = pairs["llama"]
    requests = [
        each
        for prompt in (PROMPTS[0], PROMPTS[2], PROMPTS[5])  # two of equal length
        for options in (OPTIONS["plain"], OPTIONS["sampled"], OPTIONS["one string"])
        for each in asked([prompt], options)
    ]
    torch.manual_seed(7)
    found = lm.generate_until(requests)
    torch.manual_seed(7)
    assert found == hflm.generate_until(requests, disable_tqdm=True)


@pytest.mark.parametrize("kind", ["llama", "encoder_decoder"])
def test_generate_is_called_with_hflms_own_limit(kind, tmp_path, monkeypatch):
    directory = directory_of(kind, tmp_path)
    lm, hflm = ours(directory, max_length=400), theirs(directory, max_length=400)
    called = []

    def generate(**options):
        called.append(options)
        return options["input_ids"]

    monkeypatch.setattr(_generator(lm.subject), "generate", generate)
    monkeypatch.setattr(hflm.model, "generate", generate)
    length = len(hflm.tok_encode("the plot"))
    for options, limit in (
        ({}, 256),
        ({"max_gen_toks": 7}, 7),
        ({"max_new_tokens": 8}, 8),
        ({"max_tokens": 9, "max_completion_tokens": 7}, 9),
        ({"max_gen_toks": 8, "max_length": 21}, 21 - length),
    ):
        for each in (lm, hflm):
            each.generate_until(asked(["the plot"], options))
        mine, other = called[-2:]
        assert mine["max_length"] == other["max_length"] == length + limit
        assert mine["input_ids"].tolist() == other["input_ids"].tolist()


def test_a_stop_string_over_several_tokens_ends_before_its_first_letter(pairs):
    lm, hflm = pairs["gpt2"]
    (whole,) = lm.generate_until(asked(PROMPTS[:1], {"max_gen_toks": 14}))
    assert len(lm.tokenizer.encode(whole[3:8])) > 1
    options = {"until": [whole[6:9], whole[3:8]], "max_gen_toks": 14}
    (found,) = lm.generate_until(asked(PROMPTS[:1], options))
    assert found == whole[: whole.index(whole[3:8])]
    assert [found] == hflm.generate_until(asked(PROMPTS[:1], options), disable_tqdm=True)


@pytest.mark.slow
def test_a_settings_file_beside_the_weights_is_followed(tmp_path):
    for kind in ("encoder_decoder", "llama"):
        directory = directory_of(kind, tmp_path)
        requests = asked(PROMPTS[:3], {"until": [], "max_gen_toks": 12})
        before = ours(directory).generate_until(requests)
        (directory / "generation_config.json").write_text(
            '{"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": [1, 3],'
            ' "repetition_penalty": 4.0, "num_beams": 2}'
        )
        found = ours(directory).generate_until(requests)
        assert found != before
        assert found == theirs(directory).generate_until(requests, disable_tqdm=True)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"do_sample": True}, "legal: a temperature above 0"),
        ({"do_sample": True, "temperature": 0.0}, "legal: a temperature above 0"),
        ({"max_gen_toks": 0}, "legal: at least 1"),
        ({}, "256 tokens to generate leave no room .* legal: max_gen_toks below 48"),
        ({"max_gen_toks": 48}, "leave no room"),
        ({"until": [3], "max_gen_toks": 4}, "until holds 3"),
        ({"num_return_sequences": 2, "max_gen_toks": 4}, "num_return_sequences"),
        ({"no_such_option": 2, "max_gen_toks": 4}, "no_such_option"),
    ],
)
def test_what_cannot_be_done_is_refused(options, match, pairs):
    lm, hflm = pairs["llama"]
    with pytest.raises(ValueError, match=match):
        lm.generate_until(asked(PROMPTS[:1], options))
    if "until" not in options:
        with pytest.raises((ValueError, AssertionError, TypeError)):
            hflm.generate_until(asked(PROMPTS[:1], options), disable_tqdm=True)


def test_until_none_is_none(pairs):
    lm, _ = pairs["gpt2"]
    none = lm.generate_until(asked(PROMPTS, {"until": None, "max_gen_toks": 6}))
    assert none == lm.generate_until(asked(PROMPTS, {"max_gen_toks": 6}))


def test_what_is_cut_is_counted_and_told(pairs, tmp_path, capsys):
    lm = ours(directory_of("gpt2", tmp_path))
    lm.generate_until(asked(PROMPTS, {"until": [], "max_gen_toks": 30}))
    lost = [max(len(lm.tokenizer.encode(each)) - (LENGTH - 30), 0) for each in PROMPTS]
    count, tokens = sum(each > 0 for each in lost), sum(lost)
    assert lm.cut()["generate_until"] == {"asked": 6, "cut": count, "tokens": tokens}
    info = lm.get_model_info()
    assert info["cut"] == lm.cut()
    assert info["model_dtype"] == "float32"
    told = capsys.readouterr().err
    assert f"{count} of 6 contexts lost {tokens} tokens on the left" in told
    assert "loglikelihood" not in told


def test_the_side_that_is_cut_is_the_rules(pairs):
    """Under `paper` a prompt's beginning is kept, and what the rule puts before it always is."""
    for scoring, kept in ((PAPER, slice(None, 17)), (STUDY, slice(-17, None))):
        lm = replace_scoring(pairs["llama"][0], scoring)
        (found,) = lm.generate_until(asked([PROMPTS[3]], {"max_gen_toks": 30}))
        tokens = [0, *lm.tokenizer.encode(PROMPTS[3])[kept]]  # a beginning of sequence
        model = lm.subject.model.model
        grown = model.generate(torch.tensor([tokens]), max_new_tokens=30, do_sample=False)
        assert found == lm.tokenizer.decode(grown[0, 18:].tolist())


def replace_scoring(lm, scoring):
    return StudyLM(lm.subject, tokenizer=lm.tokenizer, scoring=scoring)


@pytest.mark.parametrize("architecture", ["causal_decoder", "prefix_decoder", "encoder_decoder"])
def test_the_studys_own_models_go_on_as_the_rule_scores(architecture, monkeypatch):
    """Each text is the likeliest by the very rule that scores, after nothing and after prompts of
    any lengths, whatever the batches."""
    from study.language.huggingface.auto import pretrained

    tokenizer = train(checkpoints.TEXTS, vocab_size=300, sentinels=2)
    shape = Model(
        architecture=architecture, mixer="attention", positions="t5_bias", layers=2, d_model=32,
        heads=4, d_head=8, d_ff=48, vocab_size=tokenizer.vocab_size, tied=True,
    )  # fmt: skip
    model = build(shape, dropout=0.0, seed=4).eval()
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for each in model.parameters():
            each.add_(0.3 * torch.randn(each.shape, generator=generator))
    for batch_tokens in (1, 500):
        subject = Subject(
            model=pretrained(model), architecture=architecture, max_length=60,
            batch_tokens=batch_tokens,
        )  # fmt: skip
        # what is put for a source of nothing is the rule's too
        prompts = ["", *PROMPTS[:3]] if architecture != "encoder_decoder" else PROMPTS[:3]
        lm = StudyLM(subject, tokenizer=tokenizer, scoring=replace(STUDY, end_of_sequence=False))
        # random tokens are no text that could be encoded again: the ids themselves are wanted
        monkeypatch.setattr(tokenizer, "decode", lambda ids: " ".join(map(str, ids)))
        texts = lm.generate_until(asked(prompts, {"until": [], "max_gen_toks": 6}))
        for prompt, text in zip(prompts, texts, strict=True):
            ids = [int(each) for each in text.split()]
            ids = ids[1:] if architecture == "encoder_decoder" else ids
            target = ids[: ids.index(1)] if 1 in ids else ids
            if not target:
                continue
            other = [*target[:-1], (target[-1] + 1) % 300]
            asked_for = Request(context=tokenizer.encode(prompt), targets=[target, other])
            ((found, changed),) = score(subject, [asked_for], scoring=STUDY)
            assert found.greedy_target
            assert not changed.greedy_target
            assert len(target) == 6 or found.greedy_end
        assert len(set(texts)) > 1


def test_a_chat_template_is_refused(pairs):
    with pytest.raises(ValueError, match="legal: without --apply_chat_template"):
        pairs["llama"][0].apply_chat_template([{"role": "user", "content": "so?"}])
