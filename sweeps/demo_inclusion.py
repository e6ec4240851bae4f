"""Which held-out families count in the demo's score? Those that two cells learn from 20 times the
tokens, under another seed.

First rule, frozen before its runs: CD:FLM and ED:MLM, finetuned, both reach .85 (median over
templates) when pretraining and finetuning are 20 times the demo's. It admitted no family: 6 M
tokens of prompts at a constant rate undo what pretraining taught (LOG.md).

Second rule, frozen when the first had failed and before its own runs: the same two pretrainings
cool down to a rate of zero over a tenth of their steps more, and are finetuned as long as the demo
finetunes. A family is a headline family when both cells reach .85 on it, each before or after
finetuning. Others are shown beside the score as stretch.
"""

from dataclasses import replace
from pathlib import Path

from study.language.recipes import microworld, rates
from study.language.recipes.presets import small_training, world
from study.language.recipes.tree import Study, with_rate
from study.language.values import Adapt, Corpus, Pretrain, Text, WarmupStableDecay, lineage

REPORT = {
    "title": "Inclusion of held-out families: 20 times the demo's tokens",
    "banner": "toy scale: evidence about the pipeline, not about language models",
}
CLAIMS = ()
TIMES = 20
SEED = 200
CELLS = ("CD:FLM", "ED:MLM")


def cooled(run: Pretrain) -> Adapt:
    """A tenth more steps of the same, down to a rate of zero."""
    steps = run.training.steps // 10
    training = replace(
        small_training(1.0, steps=steps, batch_size=run.training.batch_size),
        schedule=WarmupStableDecay(warmup_steps=0, decay_steps=steps),
    )
    return Adapt(
        slug=f"{run.slug}-cooled",
        parent=run,
        parent_step=run.training.steps,
        corpus=run.corpus,
        architecture=run.model.architecture,
        objective=run.objective,
        packing=run.packing,
        training=with_rate(training, run.training.optimizer.learning_rate),
        optimizer_state="inherited",
        schedule_start="continued",
        seed=run.seed,
    )


def runs():
    text = Corpus(
        slug="world-text-long",
        documents=Text(sources=(world("text", documents=300_000, seed=4),), held_out=0.01),
        tokenizer=microworld.CORPUS.tokenizer,
    )
    mixture = replace(microworld.MIXTURE, slug="world-prompts-long", tokenizer=text)
    # no family counts here: which ones do in the demo is decided by these very scores
    suite = replace(
        microworld.SUITE,
        tasks=tuple(replace(task, role="stretch") for task in microworld.SUITE.tasks),
    )
    study = Study(
        setting=replace(microworld.SETTING, corpus=text, mixture=mixture, suite=suite),
        scale=replace(
            microworld.SCALE,
            pretrain_steps=TIMES * microworld.SCALE.pretrain_steps,
            finetune_steps=TIMES * microworld.SCALE.finetune_steps,
        ),
        rates=rates.load(Path(__file__).with_name("demo_rates.json")),
        seed=SEED,
    )
    short = replace(
        study, scale=replace(study.scale, finetune_steps=microworld.SCALE.finetune_steps)
    )
    for run in study.trained():
        if not isinstance(run, Pretrain) or lineage(run)[0] not in CELLS:
            continue
        cool = cooled(run)
        as_the_demo = replace(
            short.finetune(run),
            slug=f"{cool.slug}-finetuned",
            parent=cool,
            parent_step=cool.training.steps,
        )
        for trained in (run, study.finetune(run), cool, as_the_demo):
            yield trained
            yield study.evaluate(trained)
