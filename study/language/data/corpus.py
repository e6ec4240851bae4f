"""A `Corpus` on disk: a tokenizer, a train part, a held-out part and an account of both.

Owns the directory and the order of the work:

    tokenizer.json   trained here, extended from a source, or another corpus's
    train/           TokenShards (text) or ExampleShards (a mixture)
    held_out/        the same, by content hash: equal documents never lie on both sides
    summary.json     counts, digests, what was skipped and why

Documents stream, from sources that are read once for both parts: what is kept in memory is one
batch of them and sixteen bytes for each.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np

from study.language.data import mixture
from study.language.data import tokenizer as tokenizers
from study.language.data.examples import ExampleShards
from study.language.data.mixture import Progress
from study.language.data.shards import Item, TokenShards, grouped, write_shards
from study.language.data.tokenizer import Tokenizer, count_lost
from study.language.values.corpus import Corpus, Mixture, PretrainedTokenizer, Text, TrainedBPE
from study.sources import content
from study.sources.content import Access
from study.store.directory import Store

BATCH = 512


def corpus_path(store: Store, corpus: Corpus) -> Path:
    """Where a built corpus lies."""
    return store.directory(corpus) / "corpus"


@dataclass(frozen=True, kw_only=True, eq=False)
class OpenCorpus:
    """What a finished corpus directory holds."""

    tokenizer: Tokenizer
    train: TokenShards | ExampleShards
    held_out: TokenShards | ExampleShards
    summary: dict


def build_corpus(
    corpus: Corpus,
    directory: Path,
    *,
    access: Access,
    tokenizer_directory: Path | None,
    progress: Progress = lambda _: None,
) -> dict:
    """Write the corpus into `directory` and return its summary.

    tokenizer_directory: the built corpus whose tokenizer is used; given exactly if
    `corpus.tokenizer` is a corpus. The summary is written last.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    if isinstance(corpus.tokenizer, Corpus) != (tokenizer_directory is not None):
        raise ValueError(
            f"corpus {corpus.slug!r}: tokenizer_directory is {tokenizer_directory}; legal: the "
            "directory of the corpus that it names as its tokenizer, or None where it names none"
        )
    match corpus.documents:
        case Text() as text:
            summary = _build_text(
                text,
                directory,
                access=access,
                tokenizer=lambda: _tokenizer(
                    corpus,
                    access=access,
                    directory=tokenizer_directory,
                    texts=(each.text for each in _split(text, access=access, aside=None)),
                    progress=progress,
                ),
                progress=progress,
            )
        case Mixture() as mixed:
            summary = _build_mixture(
                corpus,
                mixed,
                directory,
                access=access,
                tokenizer_directory=tokenizer_directory,
                progress=progress,
            )
    parts = [summary[name]["digest"] for name in ("train", "held_out")]
    whole = "\n".join([summary["tokenizer"]["digest"], *parts])
    summary["digest"] = hashlib.sha256(whole.encode()).hexdigest()
    (directory / "summary.json").write_text(
        json.dumps(summary, indent=1, sort_keys=True) + "\n", encoding="utf-8"
    )
    return summary


def prepare(
    corpus: Corpus,
    directory: Path,
    *,
    store: Store,
    access: Access,
    progress: Progress,
    warn: Callable[[str], None],
) -> dict:
    """`build_corpus`, with the tokenizer of another corpus of the store where it names one, and a
    warning for what the tokenizer loses.
    """
    tokenizer = None
    if isinstance(corpus.tokenizer, Corpus):
        store.finished(corpus.tokenizer)
        tokenizer = corpus_path(store, corpus.tokenizer)
    summary = build_corpus(
        corpus, directory, access=access, tokenizer_directory=tokenizer, progress=progress
    )
    for line in said(summary):
        warn(f"{corpus.slug!r}: {line}")
    return summary


def said(summary: dict) -> list[str]:
    """What somebody should hear of a corpus: what its tokenizer loses, and what was taken out."""
    lines = [f"its tokenizer: {cure}" for cure in summary["tokenizer"].get("cures", ())]
    for part in ("train", "held_out"):
        entries = summary[part].get("tasks", [summary[part]])
        unknown, altered = (sum(e.get(name, 0) for e in entries) for name in ("unknown", "altered"))
        if unknown or altered:
            lines.append(
                f"{part}: {unknown} texts hold letters that the tokenizer has no token for, "
                f"{altered} are other texts when their tokens are decoded"
            )
    return lines


def open_corpus(directory: Path) -> OpenCorpus:
    """Raises ValueError, naming the file, where something is missing or does not fit."""
    directory = Path(directory)
    path = directory / "summary.json"
    if not path.is_file():
        raise ValueError(f"{path}: missing; the corpus was never finished")
    summary = json.loads(path.read_text(encoding="utf-8"))
    tokenizer = Tokenizer.load(directory / "tokenizer.json")
    tokenizers.check_same(
        tokenizer, digest=summary["tokenizer"]["digest"], owner=f"the corpus in {directory}"
    )
    shards = TokenShards if summary["form"] == "text" else ExampleShards
    parts = {name: shards.open(directory / name) for name in ("train", "held_out")}
    for name, part in parts.items():
        if part.digest != summary[name]["digest"]:
            raise ValueError(f"{directory / name / 'manifest.json'}: does not fit {path}")
    return OpenCorpus(
        tokenizer=tokenizer, train=parts["train"], held_out=parts["held_out"], summary=summary
    )


def held_out_key(text: str) -> str:
    """sha256 (hex) of a document's text: decides its side, and what counts as a duplicate."""
    return hashlib.sha256(text.encode()).hexdigest()


def _build_text(
    text: Text,
    directory: Path,
    *,
    access: Access,
    tokenizer: Callable[[], Tokenizer],
    progress: Progress,
) -> dict:
    made = tokenizer()
    made.save(directory / "tokenizer.json")
    summary: dict = {"form": "text", "tokenizer": _describe(made)}
    # Sources are read once: what is held out waits in a file of its own.
    spool = directory / "held_out.jsonl"
    with spool.open("w", encoding="utf-8") as aside:
        train = _split(text, access=access, aside=aside)
        summary["train"] = _written(text, train, made, directory / "train", progress=progress)
    held_out = _spooled(spool)
    summary["held_out"] = _written(text, held_out, made, directory / "held_out", progress=progress)
    spool.unlink()
    if not summary["train"]["documents"]:
        raise ValueError("no training documents: every source is empty or held out")
    return summary


class _Document(NamedTuple):
    """A text, its source's place in `Text.sources`, and its `held_out_key`."""

    text: str
    place: int
    key: str


def _split(text: Text, *, access: Access, aside: TextIO | None) -> Iterator[_Document]:
    """The training documents; the others are written to `aside`, where it is given."""
    for place, source in enumerate(text.sources):
        read = 0
        for found in content.documents(source, access=access):
            read += 1
            document = _Document(found, place, held_out_key(found))
            if content.share(document.key, salt="held_out") >= text.held_out:
                yield document
            elif aside is not None:
                aside.write(json.dumps(document) + "\n")
        if not read:
            raise ValueError(f"source {source.uri!r}: no documents under its filters")


def _spooled(path: Path) -> Iterator[_Document]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield _Document(*json.loads(line))


def _written(
    text: Text,
    documents: Iterator[_Document],
    tokenizer: Tokenizer,
    directory: Path,
    *,
    progress: Progress,
) -> dict:
    """One side's shards, and its account."""
    account: dict = {"documents": 0, "bytes": 0, "duplicates": 0, "empty": 0}
    account["sources"] = [
        {"uri": each.uri, "digest": each.digest, "documents": 0, "bytes": 0}
        for each in text.sources
    ]
    counted = _counted(documents, account)
    encoded = _encoded(counted, tokenizer, account, part=directory.name, progress=progress)
    shards = write_shards(directory, encoded, tokenizer.vocab_size)
    return account | {"tokens": shards.num_tokens, "digest": shards.digest}


def _counted(documents: Iterator[_Document], account: dict) -> Iterator[str]:
    """The documents that are not empty; the account is filled on the way.

    A duplicate is counted and kept: how often a text occurs is the source's statement.
    """
    seen: set[bytes] = set()
    for document in documents:
        # letters that nobody sees are letters here: without them stored corpora would be others
        if not document.text.strip():
            account["empty"] += 1
            continue
        short = bytes.fromhex(document.key[:32])
        account["duplicates"] += short in seen
        seen.add(short)
        size = len(document.text.encode())
        for tally in (account, account["sources"][document.place]):
            tally["documents"] += 1
            tally["bytes"] += size
        yield document.text


def _encoded(
    documents: Iterator[str],
    tokenizer: Tokenizer,
    account: dict,
    *,
    part: str,
    progress: Progress,
) -> Iterator[np.ndarray]:
    """Tokens of each document; what they lose of it is counted. One batch is encoded while the next
    is read and the one before is written: `tokenizers` lets the interpreter go on meanwhile.
    """
    done = 0

    def tokens(batch: list[str]) -> list[list[int]]:
        rows = tokenizer.encode_batch(batch)
        count_lost(account, tokenizer, texts=batch, rows=rows)
        return rows

    with ThreadPoolExecutor(max_workers=1) as encoder:

        def encoding() -> Iterator[tuple[int, Future[list[list[int]]]]]:
            for batch in grouped(documents, size=lambda _: 1, enough=BATCH):
                yield len(batch), encoder.submit(tokens, batch)

        for size, encoded in _one_ahead(encoding()):
            for ids in encoded.result():
                yield np.asarray(array("I", ids))  # numpy alone takes twice as long for a list
            done += size
            progress({"stage": "tokenise", "part": part, "documents": done})


def _one_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, each of which is asked for before the one in front of it is given."""
    last: list[Item] = []
    for item in items:
        yield from last
        last = [item]
    yield from last


def _build_mixture(
    corpus: Corpus,
    mixed: Mixture,
    directory: Path,
    *,
    access: Access,
    tokenizer_directory: Path | None,
    progress: Progress,
) -> dict:
    spool = directory / "spool"
    tasks = mixture.spool(mixed, spool, access=access, progress=progress)
    made = _tokenizer(
        corpus,
        access=access,
        directory=tokenizer_directory,
        texts=_training_prompts(tasks, cap=mixed.cap),
        progress=progress,
    )
    made.save(directory / "tokenizer.json")
    summary: dict = {"form": "mixture", "tokenizer": _describe(made)}
    for name in ("train", "held_out"):
        summary[name] = mixture.build_examples(
            tasks,
            directory / name,
            tokenizer=made,
            part=name,
            cap=mixed.cap,
            progress=progress,
        )
    shutil.rmtree(spool)
    return summary


def _training_prompts(tasks: list[mixture.Spooled], *, cap: int) -> Iterator[str]:
    for task in tasks:
        for template in task.templates:
            for outcome in mixture.rendered(task, template, part="train", cap=cap):
                if isinstance(outcome, mixture.prompts.Rendered):
                    yield outcome.inputs
                    yield mixture.prompts.join_target(outcome.inputs, outcome.targets)


def _tokenizer(
    corpus: Corpus,
    *,
    access: Access,
    directory: Path | None,
    texts: Iterator[str],
    progress: Progress,
) -> Tokenizer:
    match corpus.tokenizer:
        case TrainedBPE(vocab_size=vocab_size, sentinels=sentinels):
            reported = _reporting(texts, progress=progress)
            return tokenizers.train(reported, vocab_size=vocab_size, sentinels=sentinels)
        case PretrainedTokenizer(source=source, sentinels=sentinels):
            text = content.text(source, access=access)
            return tokenizers.extend(text, sentinels=sentinels, name=source.uri)
        case Corpus():
            assert directory is not None, "checked by build_corpus"
            return Tokenizer.load(directory / "tokenizer.json")


def _reporting(texts: Iterator[str], *, progress: Progress) -> Iterator[str]:
    """The texts, with word of them now and then: progress is also where a build can be stopped."""
    for number, text in enumerate(texts):
        if number % BATCH == 0:
            progress({"stage": "tokenizer", "texts": number})
        yield text


def _describe(tokenizer: Tokenizer) -> dict:
    described = {
        "digest": tokenizer.digest,
        "vocab_size": tokenizer.vocab_size,
        "sentinels": tokenizer.num_sentinels,
    }
    return described | ({"cures": list(cures)} if (cures := tokenizer.trial.cures) else {})
