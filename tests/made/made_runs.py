"""Runs made by hand for the tests of plan, store, launcher and commands.

Not a test module. Nothing here calls a preset: the golden ids of these runs change when the
canonical form does, and for no other reason.
"""

from study.language.values.corpus import Corpus, Mixture, PromptedTask, Text, TrainedBPE
from study.language.values.model import Model
from study.language.values.objective import FullLM, Packing, Prompted, SpanCorruption
from study.language.values.stages import Adapt, Finetune, Pretrain
from study.language.values.suite import Scoring, SuiteTask
from study.runs.node import Evaluation
from study.runs.source import Source
from study.runs.suite import Suite
from study.runs.training import AdamW, Constant, Training

ROWS = Source(
    uri="world://rows/effect?items=20&seed=7",
    digest="world:1",
    text_field="",
    where=(("kind", "plain"),),
    part=None,
)
TEMPLATES = Source(
    uri="world://templates/effect", digest="world:1", text_field="", where=(), part=None
)
CORPUS = Corpus(
    slug="text",
    documents=Text(
        sources=(
            Source(
                uri="world://text?documents=200&seed=1",
                digest="world:1",
                text_field="text",
                where=(),
                part=None,
            ),
        ),
        held_out=0.05,
    ),
    tokenizer=TrainedBPE(vocab_size=320, sentinels=16),
)
MIXTURE = Corpus(
    slug="mixture",
    documents=Mixture(
        tasks=(PromptedTask(name="effect", rows=ROWS, templates=TEMPLATES, template_names=()),),
        cap=100,
        held_out=0.1,
    ),
    tokenizer=CORPUS,
)
MODEL = Model(
    architecture="causal_decoder",
    mixer="attention",
    positions="rope",
    layers=1,
    d_model=16,
    heads=2,
    d_head=8,
    d_ff=32,
    vocab_size=320,
    tied=True,
)
PACKING = Packing(document_masking=False, eos_between=True)
SUITE = Suite(
    name="suite",
    tasks=(
        SuiteTask(
            name="effect",
            rows=ROWS,
            templates=TEMPLATES,
            template_names=("one", "two"),
            metric="rank",
            chance=0.5,
            role="headline",
        ),
    ),
    scoring=Scoring(end_of_sequence=True, truncation="left"),
)


def training(*, steps=10, learning_rate=1e-3, weight_decay=0.1):
    return Training(
        optimizer=AdamW(
            learning_rate=learning_rate,
            beta1=0.9,
            beta2=0.95,
            epsilon=1e-8,
            weight_decay=weight_decay,
        ),
        schedule=Constant(warmup_steps=2),
        steps=steps,
        batch_size=4,
        dropout=0.0,
        z_loss=0.0,
        clip_norm=1.0,
        precision="float32",
        reduction="mean",
    )


def pretrain(slug="pretrain", *, seed=1, steps=10, corpus=CORPUS, **changes):
    return Pretrain(
        slug=slug,
        corpus=corpus,
        model=MODEL,
        objective=FullLM(length=32),
        packing=PACKING,
        training=training(steps=steps, **changes),
        seed=seed,
    )


def adapt(parent, slug="adapt", *, step=None, steps=10, seed=1):
    return Adapt(
        slug=slug,
        parent=parent,
        parent_step=parent.training.steps if step is None else step,
        corpus=parent.corpus,
        architecture="prefix_decoder",
        objective=SpanCorruption(raw_length=36, noise_density=0.15, mean_span=3.0),
        packing=PACKING,
        training=training(steps=steps),
        optimizer_state="fresh",
        schedule_start="restarted",
        seed=seed,
    )


def finetune(parent, slug="finetune", *, steps=10, seed=1):
    return Finetune(
        slug=slug,
        parent=parent,
        parent_step=parent.training.steps,
        corpus=MIXTURE,
        architecture="prefix_decoder",
        objective=Prompted(inputs=48, targets=16),
        training=training(steps=steps),
        optimizer_state="fresh",
        schedule_start="restarted",
        seed=seed,
    )


def evaluation(run, slug="evaluation", *, step=None):
    last = run.training.steps
    return Evaluation(slug=slug, run=run, step=last if step is None else step, suite=SUITE)


def tree():
    """One run of every kind but External."""
    first = pretrain()
    second = adapt(first)
    third = finetune(second)
    return (CORPUS, MIXTURE, first, second, third, evaluation(third))
