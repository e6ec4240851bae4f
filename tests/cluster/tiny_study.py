"""What the cluster's tests run: a corpus, a training of each architecture, a chain of stages."""

from study.language.recipes.presets import small_training, world, world_suite_task
from study.language.values.corpus import Corpus, Text, TrainedBPE
from study.language.values.model import Model
from study.language.values.objective import FullLM, Packing, PrefixLM, SpanCorruption
from study.language.values.stages import Adapt, Pretrain
from study.language.values.suite import Scoring
from study.runs.node import Evaluation
from study.runs.suite import Suite

STEPS = 60
CORPUS = Corpus(
    slug="text",
    documents=Text(sources=(world("text", documents=1500, seed=1),), held_out=0.02),
    tokenizer=TrainedBPE(vocab_size=384, sentinels=32),
)
PACKING = Packing(document_masking=True, eos_between=True)
SUITE = Suite(
    name="world",
    tasks=(world_suite_task("effect", rows=60, seed=5, chance=0.5, role="headline"),),
    scoring=Scoring(end_of_sequence=False, truncation="left"),
)


def model(architecture):
    return Model(
        architecture=architecture,
        mixer="attention",
        positions="rope",
        layers=2,
        d_model=64,
        heads=4,
        d_head=16,
        d_ff=128,
        vocab_size=384,
        tied=True,
    )


def pretrained(slug, architecture, objective, *, steps=STEPS):
    return Pretrain(
        slug=slug,
        corpus=CORPUS,
        model=model(architecture),
        objective=objective,
        packing=PACKING,
        training=small_training(2e-3, steps=steps, batch_size=16),
        seed=0,
    )


def runs():
    causal = pretrained("cd", "causal_decoder", FullLM(length=128))
    yield causal
    yield pretrained("nd", "prefix_decoder", PrefixLM(length=128))
    yield pretrained(
        "ed",
        "encoder_decoder",
        SpanCorruption(raw_length=112, noise_density=0.15, mean_span=3.0),
    )
    adapted = Adapt(
        slug="cd-nd",
        parent=causal,
        parent_step=STEPS,
        corpus=CORPUS,
        architecture="prefix_decoder",
        objective=PrefixLM(length=128),
        packing=PACKING,
        training=small_training(2e-3, steps=STEPS // 2, batch_size=16),
        optimizer_state="inherited",
        schedule_start="continued",
        seed=0,
    )
    yield adapted
    yield Evaluation(slug="cd-nd scores", run=adapted, step=STEPS // 2, suite=SUITE)
