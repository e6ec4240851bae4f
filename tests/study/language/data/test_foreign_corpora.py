"""Corpora under a tokenizer of another project: the targets of a mixture, and what is lost."""

import hashlib
import json

import foreign_tokenizers as foreign
import pytest
import yaml

from study.language.data import tokenizer
from study.language.data.corpus import build_corpus, open_corpus, said
from study.language.values.corpus import Corpus, Mixture, PretrainedTokenizer, PromptedTask, Text
from study.runs.source import Source
from study.sources.content import Access


def written(tmp_path, name, text, **options):
    (tmp_path / name).write_text(text, encoding="utf-8")
    digest = hashlib.sha256(text.encode()).hexdigest()
    values = {"text_field": "", "where": (), "part": None} | options
    return Source(uri=f"file://{name}", digest=f"sha256:{digest}", **values)


def build(tmp_path, documents, fast):
    source = written(tmp_path, "tokenizer.json", fast)
    corpus = Corpus(
        slug="foreign",
        documents=documents,
        tokenizer=PretrainedTokenizer(source=source, sentinels=2),
    )
    access = Access(data_dirs=(tmp_path,), cache=tmp_path / "cache", offline=True)
    summary = build_corpus(corpus, tmp_path / "out", access=access, tokenizer_directory=None)
    return open_corpus(tmp_path / "out"), summary


def mixture(tmp_path, answers):
    lines = "".join(json.dumps({"a": each}) + "\n" for each in answers)
    entries = {
        str(k): {"id": str(k), "name": name, "jinja": jinja, "answer_choices": None, "metadata": {}}
        for k, (name, jinja) in enumerate([("was", "was it? ||| {{a}}"), ("bad", "bad: ||| {{a}}")])
    }
    task = PromptedTask(
        name="task",
        rows=written(tmp_path, "rows.jsonl", lines),
        templates=written(tmp_path, "t.yaml", yaml.safe_dump({"templates": entries})),
        template_names=(),
    )
    return Mixture(tasks=(task,), cap=100, held_out=0.0)


def test_the_answers_of_a_mixture_have_the_tokens_of_running_text(tmp_path):
    opened, summary = build(tmp_path, mixture(tmp_path, ["good"] * 3), foreign.llama().to_str())
    name = opened.tokenizer._fast.id_to_token
    inputs, targets = opened.train.example(opened.train.num_examples - 1)
    assert [name(each) for each in targets] == ["▁good", "</s>"]
    both = [*inputs, *targets[:-1]]
    assert both == opened.tokenizer.encode("was it? good")
    assert opened.tokenizer.decode(both) == "was it? good"
    for entry in summary["train"]["tasks"]:
        assert (entry["unknown"], entry["altered"]) == (0, 0)
    assert [line for line in said(summary) if "train" in line] == []


def test_what_a_tokenizer_loses_of_a_mixture_is_counted(tmp_path):
    mixed = mixture(tmp_path, ["good", "日", "bad  ü"])
    _, summary = build(tmp_path, mixed, foreign.unigram().to_str())
    for entry in summary["train"]["tasks"]:
        assert (entry["unknown"], entry["altered"]) == (2, 2)
    assert "train: 4 texts hold letters that the tokenizer has no token for, 4" in said(summary)[-1]


def test_what_a_tokenizer_loses_of_texts_is_counted_and_said(tmp_path):
    texts = ["was good", "é was", " was", "was </s> bad"]
    lines = "".join(json.dumps({"text": each}) + "\n" for each in texts)
    documents = Text(
        sources=(written(tmp_path, "x.jsonl", lines, text_field="text"),), held_out=0.0
    )
    opened, summary = build(tmp_path, documents, foreign.unigram().to_str())
    assert (summary["train"]["unknown"], summary["train"]["altered"]) == (1, 2)
    assert opened.train.num_documents == 4
    marks = {0, 1, opened.tokenizer.sentinel(0)}
    assert not any(marks & set(opened.train.document(k).tolist()) for k in range(4))
    assert said(summary) == [
        "its tokenizer: special tokens taken out of what text can give",
        "train: 1 texts hold letters that the tokenizer has no token for, 2 are other texts when "
        "their tokens are decoded",
    ]


def test_dropout_of_a_corpus_is_said_and_gone(tmp_path):
    own = tokenizer.train(["was it good"] * 9, vocab_size=280, sentinels=0)
    form = json.loads(own._json())
    form["model"]["dropout"] = 0.5
    lines = json.dumps({"text": "was it good"}) + "\n"
    documents = Text(
        sources=(written(tmp_path, "x.jsonl", lines, text_field="text"),), held_out=0.0
    )
    opened, summary = build(tmp_path, documents, json.dumps(form))
    assert said(summary) == ["its tokenizer: BPE dropout 0.5 taken out"]
    assert "unknown" not in summary["train"]  # it can lose nothing
    assert opened.train.document(0).tolist() == opened.tokenizer.encode("was it good")
    assert json.loads((tmp_path / "out" / "tokenizer.json").read_text())["model"]["dropout"] is None


def test_a_tokenizer_that_cannot_be_trusted_is_refused_by_its_source(tmp_path):
    form = json.loads(foreign.words().to_str())
    form["model"]["unk_token"] = "[none]"
    lines = json.dumps({"text": "was"}) + "\n"
    documents = Text(
        sources=(written(tmp_path, "x.jsonl", lines, text_field="text"),), held_out=0.0
    )
    with pytest.raises(ValueError, match=r"file://tokenizer\.json: .*text that it cannot encode"):
        build(tmp_path, documents, json.dumps(form))
