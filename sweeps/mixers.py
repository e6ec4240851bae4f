"""Which sequence mixer recalls, and at what cost: CD, ND and ED on the microworld with associative
recall at two lengths, matched in parameters and in training FLOPs.

Every mixer stands beside attention twice: once with as many parameters (to 3 %), once with as many
training FLOPs a token at this row length. Width, depth and embeddings are equal; the inner width of
the MLP makes up the difference (tests/study/language/recipes/test_mixer_sweep.py). The corpus is
the microworld's text with documents of recall among it, in which look-up forms within a few million
tokens. How fast it forms depends on the learning rate; there is one here, for all, unsearched.
Rate, shares and budget were fixed on other seeds and items (100, 101, 111), until attention looked
up in CD and ED; the long length was then doubled, since attention and ssd both filled 16 pairs.
Attention in ND was first tried after that, and did not look up on seed 100.
"""

from dataclasses import replace

from study.language.recipes import microworld
from study.language.recipes.presets import recall_suite_task, small_training, world
from study.language.values import (
    ARCHITECTURE_SHORT,
    Corpus,
    Evaluation,
    FullLM,
    Model,
    PrefixLM,
    Pretrain,
    Scoring,
    Suite,
    Text,
    TrainedBPE,
)

REPORT = {
    "title": "Sequence mixers in three architectures: recall at two lengths, and cost",
    "banner": "toy scale: evidence about the pipeline, not about language models",
}
SEEDS = (1,)
LENGTH = 256
SHORT_PAIRS, LONG_PAIRS = 4, 32
STEPS = 6000
RATE = 3e-3

CORPUS = Corpus(
    slug="world-and-recall",
    documents=Text(
        sources=(
            world("text", documents=40_000, seed=1),
            world("text/recall", documents=260_000, pairs=SHORT_PAIRS, seed=1),
            world("text/recall", documents=20_000, pairs=LONG_PAIRS, seed=1),
        ),
        held_out=0.01,
    ),
    # every word is one token, keys and values too (tested)
    tokenizer=TrainedBPE(vocab_size=720, sentinels=16),
)

SUITE = Suite(
    name="recall",
    tasks=(
        recall_suite_task("short", pairs=SHORT_PAIRS, rows=300, seed=11),
        recall_suite_task("long", pairs=LONG_PAIRS, rows=300, seed=11),
        *(
            replace(task, role="stretch")
            for task in microworld.SUITE.tasks
            if task.name == "effect"
        ),
    ),
    scoring=Scoring(end_of_sequence=False, truncation="left"),
)

BASE = Model(
    architecture="causal_decoder",
    mixer="attention",
    positions="rope",
    layers=2,
    d_model=64,
    heads=2,
    d_head=32,
    d_ff=168,
    vocab_size=720,
    tied=True,
)
# What each mixer changes of BASE, to be equal to attention in parameters or in training FLOPs.
GATED = {"mixer": "monarch", "positions": "none", "blocks": 4, "d_filter": 16, "span": LENGTH}
MODELS = {
    "attention": {},
    "monarch-parameters": {**GATED, "d_ff": 860},
    "monarch-flops": {**GATED, "d_ff": 1508},
    "ssd-parameters": {"mixer": "ssd", "positions": "none", "d_state": 16, "d_ff": 164},
    "ssd-flops": {"mixer": "ssd", "positions": "none", "d_state": 16, "d_ff": 288},
}
OBJECTIVES = {
    "causal_decoder": FullLM(length=LENGTH),
    "prefix_decoder": PrefixLM(length=LENGTH),
    "encoder_decoder": PrefixLM(length=LENGTH),
}


def runs():
    for seed in SEEDS:
        for name, fields in MODELS.items():
            for architecture, objective in OBJECTIVES.items():
                run = Pretrain(
                    slug=f"{ARCHITECTURE_SHORT[architecture].lower()}-{name}-s{seed}",
                    corpus=CORPUS,
                    model=replace(BASE, architecture=architecture, **fields),
                    objective=objective,
                    packing=microworld.SETTING.packing,
                    training=small_training(RATE, steps=STEPS, batch_size=4),
                    seed=seed,
                )
                yield run
                yield Evaluation(slug=f"{run.slug}-recall", run=run, step=STEPS, suite=SUITE)
