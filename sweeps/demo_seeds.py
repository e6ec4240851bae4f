"""The demo with three pretraining seeds and twice the tokens: how large is the seed noise?"""

from dataclasses import replace
from pathlib import Path

from eval.claims import files as claim_files
from eval.claims.claim import Benchmark
from study.language.recipes import microworld, rates
from study.language.recipes.tree import Study

REPORT = {
    "title": "The study in small, three seeds, twice the tokens",
    "banner": "toy scale: evidence about the pipeline, not about language models",
}
# the microworld stands for both of the paper's benchmarks
MICROWORLD = Benchmark(suite="microworld", margin=0.05)
SUITES = {"eai": MICROWORLD, "t0": MICROWORLD}
CLAIMS = claim_files.load("wang2022", SUITES)
SCALE = replace(
    microworld.SCALE,
    pretrain_steps=2 * microworld.SCALE.pretrain_steps,
    adapt_steps=2 * microworld.SCALE.adapt_steps,
    finetune_steps=2 * microworld.SCALE.finetune_steps,
)


def runs():
    chosen = rates.load(Path(__file__).with_name("demo_rates.json"))
    for seed in (1, 2, 3):
        yield from Study(setting=microworld.SETTING, scale=SCALE, rates=chosen, seed=seed).runs()
