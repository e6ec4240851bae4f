"""Every claim of the paper in small: its whole tree of runs on the microworld, three seeds, two
budgets, both suites.

The demo has one seed, one budget and one suite, so most claims cannot run on it. Here each of the
18 has the runs that it needs (`study claims sweeps/demo_claims.py`): finetuning at both budgets and
without dropout, the small and the large LM-adaptation, NC-adaptation with its control, a pruned
encoder-decoder, and a suite of many prompts (for T0-Eval) beside one of single prompts and more
tasks (for EAI-Eval).

All families count in the scores, since the claims are about suites of several tasks; which of them
a model of this size can learn at all is the demo's question. Rates are those that the demo's search
chose; a lineage that it did not search takes the rate of its last stages.
"""

from dataclasses import replace
from pathlib import Path

from eval.claims import files as claim_files
from eval.claims.claim import Benchmark
from study.language.recipes import microworld, rates
from study.language.recipes.presets import small_training, world_suite_task
from study.language.recipes.tree import Replication, Steps
from study.language.values import Scoring, Suite

REPORT = {
    "title": "Every claim in small: three seeds, two budgets, two suites",
    "banner": "toy scale: evidence about the pipeline, not about language models",
}
SUITES = {
    "eai": Benchmark(suite="single", margin=0.05),
    "t0": Benchmark(suite="prompts", margin=0.05),
}
CLAIMS = (*claim_files.load("wang2022", SUITES), *claim_files.load("redllm2025", SUITES))
SHARED = ("effect", "cause", "similar")
MORE = ("ending", "referent", "last_word")
PROMPT = "plain"
STEPS = Steps(budgets=(586, 1172), unfinetuned=0, lm_from=530, lm=780, non_causal=390, pruned=390)
# half the demo's: 24 finetunings a seed take most of the time
FINETUNING_STEPS = 146
CHOSEN = rates.load(Path(__file__).with_name("demo_rates.json"))


def task(family, *, names=()):
    declared = world_suite_task(family, rows=200, seed=11, chance=0.5, role="headline")
    return replace(declared, template_names=names)


PROMPTS = Suite(
    name="prompts",
    tasks=tuple(task(family) for family in SHARED),
    scoring=Scoring(end_of_sequence=True, truncation="left"),
)
SINGLE = Suite(
    name="single",
    tasks=tuple(task(family, names=(PROMPT,)) for family in (*SHARED, *MORE)),
    scoring=Scoring(end_of_sequence=False, truncation="left"),
)


class Rates(dict):
    """A lineage without a choice takes that of its last stages, or of plain finetuning."""

    def __missing__(self, path):
        shorter = path.partition(" > ")[2]
        return self[shorter] if shorter else self["CD:FLM > CD:MTF"]


def runs():
    setting, scale = microworld.SETTING, microworld.SCALE
    for seed in (1, 2, 3):
        yield from Replication(
            corpus=setting.corpus,
            mixture=setting.mixture,
            suites=(SINGLE, PROMPTS),
            model=setting.model,
            spans=setting.spans,
            prompted=setting.prompted,
            packing=setting.packing,
            span_packing=setting.packing,
            pretraining=small_training(1.0, steps=STEPS.budgets[-1], batch_size=scale.batch_size),
            finetuning=small_training(
                1.0,
                steps=FINETUNING_STEPS,
                batch_size=scale.finetune_batch_size,
                dropout=0.1,
            ),
            steps=STEPS,
            rates=Rates(CHOSEN),
            seed=seed,
            tag=f"s{seed}",
        ).runs()
