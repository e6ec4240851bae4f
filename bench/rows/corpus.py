"""Tokenising a corpus beside `tokenizers` alone, on the same documents with the same tokenizer."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace

from tokenizers import Tokenizer

from bench.clock import seconds
from bench.row import Bench, Finding
from bench.rows.corpora import movies, opened
from study.language.data.corpus import build_corpus, corpus_path
from study.language.values.corpus import Text
from study.runs.execution import default_cache
from study.runs.source import Source
from study.sources import content
from study.sources.content import Access
from study.store.directory import Store

DOCUMENTS = 8_000


def tokenising(bench: Bench) -> Finding:
    """Reading, hashing, splitting, encoding and writing, by encoding the texts in memory."""
    corpus = movies().CORPUS
    assert isinstance(corpus.documents, Text)
    access = Access(data_dirs=(bench.folder,), cache=default_cache())
    texts = list(content.documents(corpus.documents.sources[0], access=access))[:DOCUMENTS]
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (bench.folder / "texts.jsonl").write_text(lines)
    source = Source(
        uri="file://texts.jsonl",
        digest=f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}",
        text_field="text",
        where=(),
        part=None,
    )
    again = replace(
        corpus,
        slug="bench-text",
        documents=Text(sources=(source,), held_out=0.01),
        tokenizer=corpus,
    )
    opened(corpus, bench)
    characters = sum(map(len, texts))
    directory = corpus_path(Store(bench.shared), corpus)
    alike = Tokenizer.from_file(str(directory / "tokenizer.json"))
    alike.encode_special_tokens = True

    def ours() -> float:
        target = bench.folder / "built"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        return characters / seconds(
            lambda: build_corpus(again, target, access=access, tokenizer_directory=directory)
        )

    def alone() -> float:
        return characters / seconds(lambda: alike.encode_batch(texts, add_special_tokens=False))

    found = bench.beside(ours, alone, unit="characters/s")
    return replace(found, notes=(f"{len(texts):,} documents of {characters:,} characters",))
