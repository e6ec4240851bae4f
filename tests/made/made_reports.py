"""Sweeps of made scores for tests of the report: runs, published scores and losses, no model."""

import json
import re
from html.parser import HTMLParser
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from made_claims import paper_claims

from study.language.recipes.presets import world, world_suite_task, world_task
from study.language.recipes.tree import Scale, Setting, Study
from study.language.scores.columns import SCHEMA
from study.language.values.corpus import Corpus, Mixture, Text, TrainedBPE
from study.language.values.model import Model
from study.language.values.objective import Packing, Prompted, SpanCorruption
from study.language.values.stages import lineage
from study.language.values.suite import Scoring
from study.runs.node import Evaluation, Trained, root
from study.runs.plan import Sweep, close
from study.runs.suite import Suite

HOSTILE = "<script>alert('x')</script> & \"|` _a_"
HOSTILE_LATEX = (
    r"<img src=x onerror=alert(1)> \input{/etc/passwd} $x^2$ 100% #1 & _a_ {b} ~c~ | `d` 中"
)
FAMILIES = ("effect", "cause", "similar")
PAIRS = 40


class AnyRate(dict):
    def __contains__(self, key):
        return True

    def __missing__(self, key):
        return 1e-3


def study(seeds):
    text = Corpus(
        slug="text",
        documents=Text(sources=(world("text", documents=100, seed=1),), held_out=0.1),
        tokenizer=TrainedBPE(vocab_size=300, sentinels=8),
    )
    mixture = Corpus(
        slug="mixture",
        documents=Mixture(tasks=(world_task("who", rows=20, seed=1),), cap=100, held_out=0.1),
        tokenizer=text,
    )
    suite = Suite(
        name="micro",
        scoring=Scoring(end_of_sequence=True, truncation="left"),
        tasks=tuple(
            world_suite_task(
                family,
                rows=2 * PAIRS,
                seed=9,
                chance=0.5,
                role="stretch" if family == "similar" else "headline",
            )
            for family in FAMILIES
        ),
    )
    setting = Setting(
        corpus=text,
        mixture=mixture,
        suite=suite,
        model=Model(
            architecture="causal_decoder",
            mixer="attention",
            positions="rope",
            layers=2,
            d_model=32,
            heads=2,
            d_head=16,
            d_ff=64,
            vocab_size=300,
            tied=True,
        ),
        packing=Packing(document_masking=True, eos_between=True),
        spans=SpanCorruption(raw_length=100, noise_density=0.15, mean_span=3.0),
        prompted=Prompted(inputs=64, targets=16),
    )
    scale = Scale(
        pretrain_steps=100,
        adapt_steps=30,
        finetune_steps=20,
        batch_size=8,
        finetune_batch_size=8,
    )
    runs = [
        run
        for seed in range(seeds)
        for run in Study(setting=setting, scale=scale, rates=AnyRate(), seed=seed).runs()
    ]
    return close(runs)


def sweep_of(runs, tmp_path, *, title="a title", claims=True):
    module = ModuleType("made")
    module.REPORT = {"title": title, "banner": "toy scale"}  # type: ignore[attr-defined]
    if claims:
        module.CLAIMS = paper_claims("micro", 0.05)  # type: ignore[attr-defined]
    return Sweep(path=tmp_path / "made.py", title=title, declared=runs, runs=runs, module=module)


def publish(run, store, accuracy, *, draw, other=None, weights="w", **changed):
    """Scores as `study.language.scores.execute` publishes them, with this accuracy on every family.
    changed: items, their number; tasks and scorer_version; columns, that replace those of every
    item; of_item, those of an item by its index and template.
    """
    number = changed.get("items", 2 * PAIRS)
    rows = []
    entries = {}
    for family in FAMILIES:
        for template in ("plain", "listed"):
            hits = draw.random(number) < accuracy
            entries[f"{family}/{template}"] = {
                "task": family,
                "template": template,
                "metric": "rank",
                "items": number,
                "skipped": {"not_applicable": 2},
                "twins": True,
                "chance_of_choices": 0.5,
                "lm_eval": {"acc": float(hits.mean())},
                "truncated": 1,
                "ties": 0,
                "invalid": 0,
            }
            for index, hit in enumerate(hits):
                rows.append(
                    {
                        "run": run.run.id,
                        "task": family,
                        "template": template,
                        "metric": "rank",
                        "index": index,
                        "group": index // 2,
                        "twins": True,
                        "key": "k",
                        "log_likelihoods": [-1.0, -2.0],
                        "end_log_likelihoods": [-0.1, -0.1],
                        "null_log_likelihoods": [-1.0, -1.0],
                        "tokens": [1, 1],
                        "bytes": [4, 4],
                        "gold": 0,
                        "prediction": 0 if hit else 1,
                        "correct": float(hit),
                        "correct_other_end": float(hit) if other is None else other,
                        "gold_nats_per_byte": -0.3,
                        "margin": 1.0,
                        "brier": 0.1,
                        "tie": False,
                        "valid": True,
                        "truncated": 0,
                        **changed.get("columns", {}),
                        **changed.get("of_item", lambda *_: {})(index, template),
                    }
                )
    directory = store.open(run)
    place = directory.scores("d")
    place.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), place / "items.parquet")
    results = {
        "scoring": {"end_of_sequence": True, "truncation": "left"},
        "scorer_version": changed.get("scorer_version", 1),
        "max_length": 128,
        "lm_eval": "0.4.13",
        "digests": {"tasks": changed.get("tasks", "t"), "tokenizer": "k", "weights": weights},
        "tasks": entries,
    }
    (place / "results.json").write_text(json.dumps(results))
    directory.seal({"kind": "Evaluation", "scores": "d", "weights": weights})


AFTER = {
    "ED:MLM": 0.97,
    "ND:MLM": 0.85,
    "ND:PLM": 0.60,
    "CD:FLM": 0.80,
    "CD:MLM": 0.52,
    "ED:PLM": 0.50,
}


def accuracy_of(run, draw):
    """Chance before finetuning; after it an interaction as in the paper, and each seed's luck."""
    line = lineage(run)
    base = 0.5 if not line[-1].endswith("MTF") else AFTER[line[-2]]
    return min(1.0, base + 0.01 * root(run).seed + draw.normal(0, 0.005))


def publish_all(runs, store, *, skip=(), **options):
    draw = np.random.default_rng(0)
    for run in runs:
        if isinstance(run, Evaluation) and run.slug not in skip:
            publish(run, store, accuracy_of(run.run, draw), draw=draw, **options)


def validate_all(runs, store):
    """Losses of every training, as its loop logs them."""
    draw = np.random.default_rng(1)
    for run in runs:
        if not isinstance(run, Trained):
            continue
        steps = [run.training.steps * part // 6 for part in range(1, 7)]
        losses = 1 + 4 * np.exp(-np.arange(1, 7) / 2) + draw.normal(0, 0.02, 6)
        lines = (
            json.dumps({"event": "validation", "step": step, "loss": float(loss)})
            for step, loss in zip(steps, losses, strict=True)
        )
        store.open(run).events.write_text("\n".join(lines) + "\n")


class Checker(HTMLParser):
    """Well-formed, and nothing from outside."""

    void = ("meta", "link", "br", "img", "hr", "input")

    def __init__(self):
        super().__init__()
        self.open, self.outside, self.words, self.ids = [], [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in self.void:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href") and re.match(r"[a-z]+:|/", value or ""):
                self.outside.append(value)
            if name == "id":
                self.ids.append(value)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def checked(path):
    checker = Checker()
    checker.feed(path.read_text())
    checker.close()
    assert not checker.open
    assert not checker.outside
    assert len(checker.ids) == len(set(checker.ids))
    return " ".join(" ".join(checker.words).split())
