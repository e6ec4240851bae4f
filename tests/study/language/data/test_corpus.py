import hashlib
import json

import pytest

from study.language.data import corpus as corpora
from study.language.data import tokenizer as tokenizers
from study.language.data.shards import TokenShards
from study.language.values.corpus import Corpus, PretrainedTokenizer, Text, TrainedBPE
from study.runs.source import Source
from study.sources.content import Access

TEXTS = [f"document {n}: naïve 🙂 text about {n * 7}" for n in range(300)]


@pytest.fixture
def access(tmp_path):
    return Access(data_dirs=(tmp_path,), cache=tmp_path / "cache", offline=True)


def written(tmp_path, name, text, *, text_field="text", where=()):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return Source(
        uri=f"file://{name}",
        digest=f"sha256:{hashlib.sha256(text.encode()).hexdigest()}",
        text_field=text_field,
        where=where,
        part=None,
    )


def jsonl(tmp_path, texts, *, name="texts.jsonl", where=()):
    text = "".join(json.dumps({"text": each}) + "\n" for each in texts)
    return written(tmp_path, name, text, where=where)


def corpus(*sources, held_out=0.1, tokenizer=None):
    return Corpus(
        slug="text",
        documents=Text(sources=sources, held_out=held_out),
        tokenizer=tokenizer or TrainedBPE(vocab_size=400, sentinels=8),
    )


def built(directory, declared, access, **options):
    options = {"tokenizer_directory": None} | options
    return corpora.build_corpus(declared, directory, access=access, **options)


def texts_of(opened, part):
    shards = getattr(opened, part)
    assert isinstance(shards, TokenShards)
    return [opened.tokenizer.decode(shards.document(i)) for i in range(shards.num_documents)]


def test_every_document_is_on_one_side(tmp_path, access):
    declared = corpus(jsonl(tmp_path, TEXTS))
    summary = built(tmp_path / "out", declared, access)
    opened = corpora.open_corpus(tmp_path / "out")
    train, held = texts_of(opened, "train"), texts_of(opened, "held_out")
    assert sorted(train + held) == sorted(TEXTS)
    assert 10 < len(held) < 60
    assert train == [text for text in TEXTS if text in set(train)], "the source's order is kept"
    assert opened.summary == summary
    assert summary["train"]["documents"] == len(train)
    assert summary["train"]["bytes"] == sum(len(text.encode()) for text in train)
    assert summary["train"]["tokens"] == opened.train.num_tokens
    assert summary["tokenizer"]["digest"] == opened.tokenizer.digest
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {"tokenizer.json", "train", "held_out", "summary.json"}


def test_no_special_token_is_written(tmp_path, access):
    built(tmp_path / "out", corpus(jsonl(tmp_path, [*TEXTS, "a </s> b <pad>"])), access)
    opened = corpora.open_corpus(tmp_path / "out")
    ids = opened.train.tokens(0, opened.train.num_tokens)
    assert ids.min() >= 2
    assert ids.max() <= opened.tokenizer.vocab_size - 9


def test_duplicates_are_counted_kept_and_on_one_side(tmp_path, access):
    twice = jsonl(tmp_path, TEXTS + TEXTS[:50])
    summary = built(tmp_path / "out", corpus(twice), access)
    opened = corpora.open_corpus(tmp_path / "out")
    train, held = texts_of(opened, "train"), texts_of(opened, "held_out")
    assert not set(train) & set(held)
    assert summary["train"]["duplicates"] + summary["held_out"]["duplicates"] == 50
    assert len(train) + len(held) == 350


def test_empty_documents_are_counted_and_left_out(tmp_path, access):
    summary = built(tmp_path / "out", corpus(jsonl(tmp_path, [*TEXTS, "", "  "])), access)
    assert summary["train"]["empty"] + summary["held_out"]["empty"] == 2
    assert summary["train"]["documents"] + summary["held_out"]["documents"] == 300


def test_several_sources_are_accounted_for_one_by_one(tmp_path, access):
    first = jsonl(tmp_path, TEXTS[:100], name="first.jsonl")
    second = written(tmp_path, "second.txt", "\n\n".join(TEXTS[100:]))
    summary = built(tmp_path / "out", corpus(first, second, held_out=0.0), access)
    counts = [(each["uri"], each["documents"]) for each in summary["train"]["sources"]]
    assert counts == [("file://first.jsonl", 100), ("file://second.txt", 200)]
    assert summary["held_out"]["documents"] == 0
    assert corpora.open_corpus(tmp_path / "out").held_out.num_documents == 0


def test_a_build_is_deterministic(tmp_path, access):
    declared = corpus(jsonl(tmp_path, TEXTS))
    first = built(tmp_path / "a", declared, access)
    assert built(tmp_path / "b", declared, access) == first
    other = built(tmp_path / "c", corpus(jsonl(tmp_path, TEXTS[::-1])), access)
    assert other["digest"] != first["digest"]


def test_another_corpus_gives_its_tokenizer(tmp_path, access):
    first = corpus(jsonl(tmp_path, TEXTS))
    summary = built(tmp_path / "first", first, access)
    second = corpus(jsonl(tmp_path, ["other words"] * 5, name="b.jsonl"), tokenizer=first)
    again = built(tmp_path / "second", second, access, tokenizer_directory=tmp_path / "first")
    assert again["tokenizer"] == summary["tokenizer"]
    with pytest.raises(ValueError, match="tokenizer_directory is None; legal: the directory"):
        built(tmp_path / "third", second, access)
    with pytest.raises(ValueError, match="or None where it names none"):
        built(tmp_path / "fourth", first, access, tokenizer_directory=tmp_path / "first")


def test_a_pretrained_tokenizer_is_extended_once(tmp_path, access):
    foreign = tokenizers.train(TEXTS, vocab_size=300, sentinels=0)
    source = written(tmp_path, "tokenizer.json", foreign._json(), text_field="")
    declared = corpus(
        jsonl(tmp_path, TEXTS), tokenizer=PretrainedTokenizer(source=source, sentinels=6)
    )
    summary = built(tmp_path / "out", declared, access)
    assert summary["tokenizer"]["vocab_size"] == 306
    assert summary["tokenizer"]["sentinels"] == 6
    assert sorted(texts_of(corpora.open_corpus(tmp_path / "out"), "train"))[0] in TEXTS


def test_an_unfinished_corpus_is_not_opened(tmp_path, access):
    built(tmp_path / "out", corpus(jsonl(tmp_path, TEXTS)), access)
    (tmp_path / "out" / "summary.json").unlink()
    with pytest.raises(ValueError, match=r"summary\.json: missing"):
        corpora.open_corpus(tmp_path / "out")


def test_an_exchanged_tokenizer_is_refused(tmp_path, access):
    built(tmp_path / "out", corpus(jsonl(tmp_path, TEXTS)), access)
    other = tokenizers.train(TEXTS, vocab_size=380, sentinels=8)
    other.save(tmp_path / "out" / "tokenizer.json")
    with pytest.raises(ValueError, match="its ids mean other tokens"):
        corpora.open_corpus(tmp_path / "out")


def test_exchanged_shards_are_refused(tmp_path, access):
    built(tmp_path / "out", corpus(jsonl(tmp_path, TEXTS)), access)
    built(tmp_path / "other", corpus(jsonl(tmp_path, TEXTS[:200], name="o.jsonl")), access)
    (tmp_path / "other" / "train").rename(tmp_path / "out" / "swapped")
    (tmp_path / "out" / "train").rename(tmp_path / "out" / "old")
    (tmp_path / "out" / "swapped").rename(tmp_path / "out" / "train")
    with pytest.raises(ValueError, match=r"train/manifest\.json: does not fit"):
        corpora.open_corpus(tmp_path / "out")


def test_a_source_without_documents(tmp_path, access):
    none = jsonl(tmp_path, TEXTS, where=(("text", "nothing"),))
    with pytest.raises(ValueError, match=r"texts\.jsonl': no documents under its filters"):
        built(tmp_path / "out", corpus(none), access)


def test_progress_is_told(tmp_path, access):
    seen = []
    built(tmp_path / "out", corpus(jsonl(tmp_path, TEXTS)), access, progress=seen.append)
    assert {each["stage"] for each in seen} == {"tokenizer", "tokenise"}
    assert max(each.get("documents", 0) for each in seen) > 200


class Stopped(BaseException):
    """As a signal's handler raises it."""


@pytest.mark.parametrize("call", [0, 1, 2, 3])
def test_a_build_can_be_stopped_at_every_word_of_progress(tmp_path, access, call):
    """Inside the tokenizer's own training too, which runs outside Python."""
    seen = []

    def stop(stage):
        seen.append(stage)
        if len(seen) > call:
            raise Stopped

    declared = corpus(jsonl(tmp_path, [f"{text} {n}" for n in range(3) for text in TEXTS]))
    with pytest.raises(Stopped):
        built(tmp_path / "out", declared, access, progress=stop)
    assert len(seen) == call + 1
    with pytest.raises(ValueError, match="never finished"):
        corpora.open_corpus(tmp_path / "out")
