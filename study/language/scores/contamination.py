"""Evaluation rows in the training text: 13-gram overlap, computed once per corpus and suite.

Owns which text of a row counts (its own fields, never a template's words), where the result lies
and what it is keyed by. What an n-gram is stands in `study.language.scores.ngrams`, scores with and
without the hits in `eval.evidence.clean_scores`.

The text searched is that of the training shards, decoded: what the models were given, finetuning
prompts included. Results are published beside the corpus as overlap/<digest>/rows.parquet, keyed by
the digests of corpus and questions and by the rule's version, so that a rebuilt corpus or another
row never finds an old answer. Every evaluation sees to it that they are there; corpora above
`LIMIT` tokens wait for `study overlap`, since a scan of them is a job of its own.

In the microworld texts of moves are all alike, so that long rows share 13-grams with the training
text by construction: that is no leak there, and withheld pairs are the check (tests).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from study.language.data.corpus import OpenCorpus, corpus_path, open_corpus
from study.language.data.shards import TokenShards
from study.language.scores.ngrams import LONGEST, SHORTEST, Search
from study.language.values.corpus import Corpus
from study.language.values.stages import External, scored
from study.runs.node import Evaluation, stages
from study.runs.suite import Suite
from study.sources.content import Access
from study.store.directory import RunDirectory, Store, publish_directory

RULE = 2
"""Raised when other n-grams start to count."""
LIMIT = 100_000_000
"""Training tokens above which an evaluation does not scan a corpus on its own: some minutes."""
BATCH = 1024

SCHEMA = pa.schema(
    [
        ("task", pa.string()),
        ("index", pa.int32()),
        ("words", pa.int32()),
        ("grams", pa.int32()),
        ("found", pa.int32()),
    ]
)
"""index: as in per-item scores. words (of scripts without spaces, characters), grams: of the row's
own text; found: how many of its n-grams
the training shards hold. A row with none is too short to say."""


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """One corpus against one suite. rows: by `SCHEMA`."""

    corpus: str
    documents: int
    seconds: float
    rows: pa.Table


def trained_on(run: Evaluation) -> tuple[Corpus, ...]:
    """What the scored lineage was trained on, in order; of a checkpoint from elsewhere nothing is
    known.
    """
    subject = scored(run)
    if isinstance(subject, External):
        return ()
    return tuple(dict.fromkeys(stage.corpus for stage in stages(subject)))


def ensure(
    run: Evaluation,
    *,
    tasks: str,
    store: Store,
    access: Access,
    limit: int | None = LIMIT,
    watch: Callable[[int], None] = lambda _: None,
) -> list[str]:
    """Publish what is missing for this evaluation; in words, what could not be.

    tasks: digest of the suite's questions (`study.language.scores.tasks.digest`). limit: None for
    any size. watch: told how many documents were read, may raise to stop.
    """
    problems = []
    texts: list[tuple[str, int, str]] | None = None
    for corpus in trained_on(run):
        try:
            opened = open_corpus(corpus_path(store, corpus))
            final = place(corpus, opened.summary["digest"], tasks=tasks, store=store)
            if (final / "summary.json").is_file():
                continue
            tokens = opened.summary["train"]["tokens"]
            if limit is not None and tokens > limit:
                problems.append(
                    f"overlap with {corpus.slug!r} ({tokens:,} tokens) was not counted; "
                    "study overlap SWEEP does"
                )
                continue
            texts = texts if texts is not None else list(_texts(run.suite, access=access))
            _publish(final, _count(corpus.slug, opened, texts, watch=watch))
        except (ValueError, OSError) as error:
            # scores are worth having without it, and the report shows the hole
            problems.append(f"overlap with {corpus.slug!r} was not counted: {error}")
    return problems


def read(corpus: Corpus, *, tasks: str, store: Store) -> Overlap | str:
    """What was published, or in words why there is none."""
    try:
        digest = json.loads((corpus_path(store, corpus) / "summary.json").read_text())["digest"]
        final = place(corpus, digest, tasks=tasks, store=store)
        summary = json.loads((final / "summary.json").read_text(encoding="utf-8"))
        rows = pq.read_table(final / "rows.parquet")
    except FileNotFoundError:
        return f"overlap with {corpus.slug!r} is not counted yet (study overlap SWEEP)"
    except (OSError, ValueError, KeyError) as error:
        return f"overlap with {corpus.slug!r} is unreadable: {error}"
    return Overlap(
        corpus=corpus.slug,
        documents=summary["documents"],
        seconds=summary["seconds"],
        rows=rows,
    )


def tasks_of(run: Evaluation, *, store: Store) -> str:
    """The digest of the questions that a finished evaluation asked."""
    directory = RunDirectory(store.directory(run))
    scores = (directory.done() or {})["scores"]
    results = json.loads((directory.scores(scores) / "results.json").read_text(encoding="utf-8"))
    return results["digests"]["tasks"]


def place(corpus: Corpus, digest: str, *, tasks: str, store: Store) -> Path:
    """Where the result for a corpus of this digest lies, whether or not it is there."""
    form = json.dumps([digest, tasks, RULE, LONGEST, SHORTEST])
    name = hashlib.sha256(form.encode()).hexdigest()
    return RunDirectory(store.directory(corpus)).path / "overlap" / name


def own_text(row: dict[str, Any]) -> str:
    """Every text in a row, in the row's own order; numbers and dates are none."""
    return " ".join(_strings(list(row.values())))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _strings(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _strings(each)


def _texts(suite: Suite, *, access: Access) -> Iterator[tuple[str, int, str]]:
    """(task, index, text) of every row that is asked about; held-out documents are not."""
    # imports lm-eval, which a report that only reads results need not wait for
    from study.language.scores.tasks import asked_rows

    for task in suite.tasks:
        if task.metric != "rolling":
            for each in asked_rows(suite, task, access=access):
                if each.unlabelled is None:
                    yield task.name, each.index, own_text(each.row)


def _count(
    slug: str,
    opened: OpenCorpus,
    texts: Sequence[tuple[str, int, str]],
    *,
    watch: Callable[[int], None],
) -> Overlap:
    begun = time.monotonic()
    search = Search([text for _, _, text in texts])
    search.read(documents(opened), progress=watch)
    shared = search.shared()
    rows = pa.table(
        [
            [task for task, _, _ in texts],
            [index for _, index, _ in texts],
            shared.words,
            shared.grams,
            shared.found,
        ],
        schema=SCHEMA,
    )
    return Overlap(
        corpus=slug, documents=search.documents, seconds=time.monotonic() - begun, rows=rows
    )


def documents(opened: OpenCorpus) -> Iterator[str]:
    """The training part as text, document after document; a prompt with its answer."""
    shards = opened.train
    if isinstance(shards, TokenShards):
        ids = (shards.document(index) for index in range(shards.num_documents))
        yield from _decoded(ids, opened)
        return
    pairs = (shards.example(index) for index in range(shards.num_examples))
    # an answer's first token holds the space before it, so the two lie end to end
    yield from _decoded(([*inputs, *targets] for inputs, targets in pairs), opened)


def _decoded(rows: Iterator[Any], opened: OpenCorpus) -> Iterator[str]:
    batch: list[list[int]] = []
    for row in rows:
        batch.append([int(each) for each in row])
        if len(batch) == BATCH:
            yield from opened.tokenizer.decode_batch(batch)
            batch = []
    yield from opened.tokenizer.decode_batch(batch)


def _publish(final: Path, found: Overlap) -> None:
    def write(aside: Path) -> None:
        pq.write_table(found.rows, aside / "rows.parquet", compression="zstd")
        summary = {"documents": found.documents, "seconds": found.seconds, "rule": RULE}
        (aside / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")

    final.parent.mkdir(parents=True, exist_ok=True)
    publish_directory(final, write)
