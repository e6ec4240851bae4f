"""Which architecture and objective generalise zero-shot, in small: the paper's study on the
microworld, one seed.

Six pretrainings, LM-adaptation, non-causal adaptation and its control, eight multitask finetunings,
and zero-shot scores of all of them on held-out task families. The score counts *effect*, the one
family that the rules of sweeps/demo_inclusion.py admit; all families are shown and tested. Rates
come from sweeps/demo_rates.json (sweeps/demo_rates.py).
"""

from pathlib import Path

from eval.claims import files as claim_files
from eval.claims.claim import Benchmark
from study.language.recipes import microworld, rates
from study.language.recipes.tree import Study

REPORT = {
    "title": "The study in small: six cells, two adaptations, multitask finetuning",
    "banner": "toy scale: evidence about the pipeline, not about language models",
}
# the microworld stands for both of the paper's benchmarks
MICROWORLD = Benchmark(suite="microworld", margin=0.05)
SUITES = {"eai": MICROWORLD, "t0": MICROWORLD}
CLAIMS = claim_files.load("wang2022", SUITES)


def runs():
    chosen = rates.load(Path(__file__).with_name("demo_rates.json"))
    return Study(setting=microworld.SETTING, scale=microworld.SCALE, rates=chosen, seed=0).runs()
