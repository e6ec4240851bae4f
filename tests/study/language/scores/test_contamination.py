"""Rows copied into training text are found, published once, and left out of clean scores."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import smallest

from eval.evidence.clean_scores import contamination as of_panel
from eval.evidence.panel import ScoredRun
from study.language.data.corpus import build_corpus, corpus_path
from study.language.recipes.presets import small_training, world_suite_task
from study.language.scores import contamination
from study.language.scores.contamination import ensure, own_text, read
from study.language.values.corpus import Corpus, Mixture, PromptedTask, Text, TrainedBPE
from study.language.values.objective import Prompted
from study.language.values.stages import External, Finetune
from study.language.values.suite import Scoring
from study.runs.node import Evaluation
from study.runs.source import Source
from study.runs.suite import Suite
from study.sources.content import Access
from study.store.directory import Store

WORDS = [f"{a}{b}" for a in "bdfgklmnprst" for b in ("an", "en", "in", "on", "un")]


def sentence(number):
    """Sixteen words that no other sentence has in this order."""
    draw = np.random.default_rng(number)
    return " ".join(draw.choice(WORDS, 16))


def file_source(path, **fields):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    base = {"text_field": "", "where": (), "part": None}
    return Source(uri=f"file://{path.name}", digest=f"sha256:{digest}", **(base | fields))


@pytest.fixture
def tree(tmp_path):
    """Twelve rows; pretraining text holds rows 0 and 1 word for word, the mixture row 2."""
    rows = [{"id": n, "text": sentence(n), "choices": ["yes", "no"]} for n in range(11)]
    rows.append({"id": 11, "text": "too short to say", "choices": ["yes", "no"]})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    prose = [sentence(100 + n) for n in range(40)]
    prose += [f"He said: {sentence(0).upper()}!", f"{sentence(1)} {sentence(99)}"]
    prose += [" ".join(sentence(3).split()[:12])]  # twelve words are not thirteen
    (tmp_path / "prose.txt").write_text("\n\n".join(prose))
    prompts = [{"text": sentence(200 + n), "label": "yes"} for n in range(20)]
    prompts.append({"text": sentence(2), "label": "no"})
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts))
    (tmp_path / "templates.yaml").write_text(
        "dataset: d\ntemplates:\n  '0':\n    id: '0'\n    name: plain\n"
        "    jinja: 'Is this so? {{text}} ||| {{label}}'\n    answer_choices: yes ||| no\n"
        "    reference: ''\n    metadata: {}\n"
    )
    access = Access(data_dirs=(tmp_path,), cache=tmp_path / "cache", offline=True)
    text = Corpus(
        slug="prose",
        documents=Text(
            sources=(file_source(tmp_path / "prose.txt", text_field="text"),), held_out=0.0
        ),
        tokenizer=TrainedBPE(vocab_size=300, sentinels=2),
    )
    mixture = Corpus(
        slug="prompts",
        documents=Mixture(
            tasks=(
                PromptedTask(
                    name="train",
                    rows=file_source(tmp_path / "train.jsonl"),
                    templates=file_source(tmp_path / "templates.yaml"),
                    template_names=(),
                ),
            ),
            cap=100,
            held_out=0.0,
        ),
        tokenizer=text,
    )
    store = Store(tmp_path / "runs")
    for corpus, tokenizer in ((text, None), (mixture, text)):
        store.open(corpus)
        build_corpus(
            corpus,
            corpus_path(store, corpus),
            access=access,
            tokenizer_directory=None if tokenizer is None else corpus_path(store, tokenizer),
        )
    pretrain = smallest.pretrain(text, length=32, slug="pretrain")
    finetune = Finetune(
        slug="finetune",
        parent=pretrain,
        parent_step=2,
        corpus=mixture,
        architecture="causal_decoder",
        objective=Prompted(inputs=32, targets=8),
        training=small_training(1e-3, steps=2, batch_size=2),
        optimizer_state="fresh",
        schedule_start="restarted",
        seed=0,
    )
    task = replace(
        world_suite_task("effect", rows=2, seed=1, chance=0.5, role="headline"),
        rows=file_source(tmp_path / "rows.jsonl"),
    )
    suite = Suite(name="s", tasks=(task,), scoring=Scoring(end_of_sequence=True, truncation="left"))
    runs = {
        "before": Evaluation(slug="before", run=pretrain, step=2, suite=suite),
        "after": Evaluation(slug="after", run=finetune, step=2, suite=suite),
    }
    return runs, store, access


def hits(run, store):
    """Indices of the rows found, in each corpus of the lineage."""
    found = [read(corpus, tasks="T", store=store) for corpus in contamination.trained_on(run)]
    return [[row["index"] for row in each.rows.to_pylist() if row["found"]] for each in found]


def test_copied_rows_are_found_in_each_corpus_of_the_lineage(tree):
    runs, store, access = tree
    assert ensure(runs["after"], tasks="T", store=store, access=access) == []
    assert hits(runs["after"], store) == [[0, 1], [2]]
    assert hits(runs["before"], store) == [[0, 1]]
    rows = read(runs["before"].run.corpus, tasks="T", store=store).rows.to_pylist()
    assert [row["grams"] for row in rows] == [6] * 11 + [0]  # 16 words of text, `yes`, `no`
    assert rows[0]["found"] == 4


def test_a_result_is_published_once_and_keyed_by_its_questions(tree, monkeypatch):
    runs, store, access = tree
    seen = []
    ensure(runs["before"], tasks="T", store=store, access=access, watch=seen.append)
    assert seen[-1] == 43
    ensure(runs["before"], tasks="T", store=store, access=access, watch=seen.append)
    assert len(seen) == 1
    ensure(runs["before"], tasks="U", store=store, access=access, watch=seen.append)
    monkeypatch.setattr(contamination, "RULE", contamination.RULE + 1)
    assert isinstance(read(runs["before"].run.corpus, tasks="T", store=store), str)
    ensure(runs["before"], tasks="T", store=store, access=access, watch=seen.append)
    assert len(seen) == 3


def test_a_rebuilt_corpus_is_another(tree):
    runs, store, access = tree
    ensure(runs["before"], tasks="T", store=store, access=access)
    path = corpus_path(store, runs["before"].run.corpus) / "summary.json"
    summary = json.loads(path.read_text()) | {"digest": "other"}
    path.write_text(json.dumps(summary))
    assert "not counted yet" in str(read(runs["before"].run.corpus, tasks="T", store=store))


def test_a_large_or_missing_corpus_is_said_and_stops_nothing(tree):
    runs, store, access = tree
    (told, also) = ensure(runs["after"], tasks="T", store=store, access=access, limit=10)
    assert "tokens) was not counted; study overlap SWEEP does" in told
    assert "'prompts'" in also
    (corpus_path(store, runs["after"].run.corpus) / "summary.json").unlink()
    (told,) = ensure(runs["after"], tasks="T", store=store, access=access)
    assert "'prompts' was not counted" in told
    assert hits(runs["before"], store) == [[0, 1]]


def test_stopping_publishes_nothing(tree):
    class StopHere(Exception):
        pass

    def stop(_):
        raise StopHere

    runs, store, access = tree
    with pytest.raises(StopHere):
        ensure(runs["before"], tasks="T", store=store, access=access, watch=stop)
    assert isinstance(read(runs["before"].run.corpus, tasks="T", store=store), str)


def test_own_text_is_every_string_and_nothing_else():
    row = {"id": 7, "a": "one two", "b": ["three", {"c": "four", "d": 1.5}], "e": None}
    assert own_text(row) == "one two three four"


def scored(run, key):
    return ScoredRun(
        run=run, key=key, size="m", seed=0, state="done", table=None,
        results={"digests": {"tasks": "T"}, "tasks": {}},
    )  # fmt: skip


def test_scores_without_the_hits_are_the_same_estimate_of_what_is_left(tree, panel_of, key_of):
    runs, store, access = tree
    ensure(runs["after"], tasks="T", store=store, access=access)
    answers = np.zeros((2, 1, 1, 12))
    answers[:, :, :, [0, 1, 2, 5]] = 1.0  # right on what it has seen, and on one more
    keys = [key_of("CD:FLM"), key_of("CD:FLM", finetuned=True)]
    panel = replace(
        panel_of([answers], keys),
        runs=(scored(runs["before"], keys[0]), scored(runs["after"], keys[1])),
    )
    found = of_panel(panel, store=store)
    assert not found.holes
    before, after = found.rows
    assert (before.items, before.hits, after.hits) == (12, 2, 3)
    assert (before.whole, before.hit, after.hit) == pytest.approx((4 / 12, 1, 1))
    assert (before.clean, after.clean) == pytest.approx((2 / 10, 1 / 9))
    assert after.low < after.clean < after.high
    assert [(each.corpus, each.rows, each.short, each.hits) for each in found.overlaps] == [
        ("prose", 12, 1, 2),
        ("prompts", 12, 1, 1),
    ]


def test_twins_leave_together(tree, panel_of, key_of):
    runs, store, access = tree
    ensure(runs["before"], tasks="T", store=store, access=access)
    key = key_of("CD:FLM")
    panel = replace(
        panel_of([np.ones((1, 1, 1, 12))], [key], twins=True), runs=(scored(runs["before"], key),)
    )
    (row,) = of_panel(panel, store=store).rows
    assert row.hits == 2  # rows 0 and 1 are one pair
    moved = replace(panel, tasks=(replace(panel.tasks[0], groups=np.arange(1, 13) // 2),))
    (row,) = of_panel(moved, store=store).rows
    assert row.hits == 3  # row 0 alone, rows 1 and 2


def test_what_was_not_counted_or_is_unknown_is_a_hole(tree, panel_of, key_of):
    runs, store, _ = tree
    elsewhere = External(
        slug="e",
        source=Source(uri="file://e", digest="sha256:0", text_field="", where=(), part=None),
        architecture="causal_decoder",
    )
    keys = [key_of("CD:FLM"), key_of("e")]
    outside = Evaluation(slug="x", run=elsewhere, step=0, suite=runs["before"].suite)
    panel = replace(
        panel_of([np.ones((2, 1, 1, 12))], keys),
        runs=(scored(runs["before"], keys[0]), scored(outside, keys[1])),
    )
    found = of_panel(panel, store=store)
    assert found.rows == ()
    assert "not counted yet" in found.holes[0]
    assert found.holes[1] == "e: its training data are not known here"


def test_a_task_that_is_all_hits_is_left_out_of_both_suite_scores(tree, panel_of, key_of):
    runs, store, access = tree
    ensure(runs["before"], tasks="T", store=store, access=access)
    key = key_of("CD:FLM")
    answers = [np.ones((1, 1, 1, 2)), np.zeros((1, 1, 1, 12)), np.ones((1, 1, 1, 12))]
    panel = replace(panel_of(answers, [key]), runs=(scored(runs["before"], key),))
    found = of_panel(panel, store=store)
    assert found.left_out == ("effect",)
    suite, effect, *_ = found.rows
    assert (suite.whole, suite.clean) == pytest.approx((0.5, 0.5))
    assert (effect.whole, effect.clean, effect.low) == (1.0, None, None)
