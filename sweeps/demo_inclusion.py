"""Which held-out families count in the demo's score? Those that 20 times the tokens and another
seed learn.

The rule was frozen before the demo ran: a family is a headline family when CD:FLM and ED:MLM,
finetuned, both reach .85 on it (median over templates) at 20 times the demo's tokens. Others are
shown beside the score as stretch.
"""

from dataclasses import replace
from pathlib import Path

from study import microworld, rates
from study.presets import world
from study.run import Corpus, Text, lineage
from study.tree import Study

REPORT = {
    "title": "Inclusion of held-out families: 20 times the demo's tokens",
    "banner": "toy scale: evidence about the pipeline, not about language models",
}
CLAIMS = ()
TIMES = 20
SEED = 200
CELLS = ("CD:FLM", "ED:MLM")


def runs():
    text = Corpus(
        slug="world-text-long",
        documents=Text(sources=(world("text", documents=300_000, seed=4),), held_out=0.01),
        tokenizer=microworld.CORPUS.tokenizer,
    )
    mixture = replace(microworld.MIXTURE, slug="world-prompts-long", tokenizer=text)
    study = Study(
        setting=replace(microworld.SETTING, corpus=text, mixture=mixture),
        scale=replace(
            microworld.SCALE,
            pretrain_steps=TIMES * microworld.SCALE.pretrain_steps,
            finetune_steps=TIMES * microworld.SCALE.finetune_steps,
        ),
        rates=rates.load(Path(__file__).with_name("demo_rates.json")),
        seed=SEED,
    )
    for run in study.trained():
        cell, *later = lineage(run)
        if cell in CELLS and later in ([], [f"{cell[:2]}:MTF"]):
            yield run
            yield study.evaluate(run)
