"""Which learning rate suits each cell and stage of the demo? Equal trials, each judged by its own
held-out loss.

A child's rate is searched on top of its parent's choice, so the sweep grows as choices are made:
three passes of

    study run sweeps/demo_rates.py && study rates sweeps/demo_rates.py --out sweeps/demo_rates.json

The seed is none that the demo uses.
"""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from study.language.recipes import microworld, rates
from study.language.recipes.tree import Study
from study.language.values import Pretrain, lineage

GRID = {
    "Pretrain": (4e-4, 1e-3, 2.5e-3, 6e-3),
    "Adapt": (1e-4, 4e-4, 1.5e-3, 6e-3, 2.4e-2),
    "Finetune": (2.5e-4, 6e-4, 1.5e-3, 4e-3, 1e-2),
}
SEED = 100


def runs():
    chosen = rates.load(Path(__file__).with_name("demo_rates.json"))
    for number, run in enumerate(_trained(chosen)):
        if not isinstance(run, Pretrain) and " > ".join(lineage(run.parent)) not in chosen:
            continue
        path = " > ".join(lineage(run))
        for rate in GRID[type(run).__name__]:
            trial = _trained({**chosen, path: rate})[number]
            yield replace(trial, slug=f"{trial.slug}-lr{rate:g}")


def _trained(chosen):
    # lineages without a choice yet get any rate: runs below them are not declared
    known = defaultdict(lambda: 1.0, chosen)
    return Study(
        setting=microworld.SETTING, scale=microworld.SCALE, rates=known, seed=SEED
    ).trained()
