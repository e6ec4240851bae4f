"""Which learning rate suits each cell and stage of the ladder? Equal trials, each judged by its own
held-out loss: finetuning's on held-out rows of the training tasks.

The two smaller sizes and their half-depth encoder-decoders are searched; the largest takes the
second's choices. Pretraining is searched at the smallest budget, on a seed that the ladder does not
use. A child's rate is searched on top of its parent's choice, so the sweep grows as choices are
made, one stage after the other: four passes (99 H100-hours at 40 %) of

    study run sweeps/ladder_rates.py && study rates sweeps/ladder_rates.py \\
        --out sweeps/ladder_rates.json

A best rate at the edge of its grid is refused: widen the grid of the stage for every cell.
"""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from study.language.recipes import ladder, rates
from study.language.values import Adapt, lineage
from study.sources import pins

HERE = Path(__file__).parent
PINS = pins.load(HERE / "pins.toml")
CLAIMS = ()
SEED = 100
GRID = {
    "Pretrain": (5e-4, 1e-3, 2e-3, 4e-3),
    "Adapt": (1e-4, 3e-4, 1e-3, 3e-3),
    "Finetune": (1e-4, 3e-4, 1e-3, 3e-3),
}
SHORT = replace(
    ladder.STEPS, budgets=ladder.STEPS.budgets[:1], lm=4_096, non_causal=4_096, pruned=4_096
)


def trained(model, chosen, *, tag):
    """One run of each lineage: path -> run."""
    # lineages without a choice yet get any rate: runs below them are not declared
    known = defaultdict(lambda: 1.0, chosen)
    tree = ladder.study(
        PINS, table=HERE / "t0_train.csv", model=model, rates=known, seed=SEED, tag=tag
    )
    tree = replace(
        tree, steps=SHORT, finetuning=replace(tree.finetuning, steps=ladder.FINETUNE_STEPS // 2)
    )
    found = {}
    for run, _ in tree.trained():
        cells = lineage(run)
        # the ladder has half the depth in encoder-decoders that are not adapted
        if model.architecture == "encoder_decoder" and (
            cells[0][:2] != "ED" or len(cells) > 2 or isinstance(run, Adapt)
        ):
            continue
        found.setdefault(" > ".join(cells), run)
    return found


def runs():
    chosen = rates.load(HERE / "ladder_rates.json")
    for rung in ladder.RUNGS[:2]:
        for model in (rung.model, rung.half):
            tag = f"{rung.name}-half" if model is rung.half else rung.name
            own = rates.of_size(chosen, model)
            for path, run in trained(model, own, tag=tag).items():
                kind = type(run).__name__
                if kind != "Pretrain" and " > ".join(lineage(run.parent)) not in own:
                    continue
                for rate in GRID[kind]:
                    trial = trained(model, {**own, path: rate}, tag=tag)[path]
                    yield replace(trial, slug=f"{trial.slug}-lr{rate:g}")
