"""What of the 2022 study holds at sizes that a university can pay for, and does it grow with size?

Three sizes x three token budgets, which are checkpoints of one run; five seeds at the smallest size
and three above; LM- and NC-adaptation, finetuning with and without dropout, both suites. RoPE
throughout, one setting of packing, AdamW at a constant rate (no horizon), and a learning rate for
each cell and stage from equal trials (sweeps/ladder_rates.py; nothing is run before). Beside them:

  - an encoder-decoder of half the depth in each stack, equal in parameters to the decoders, without
    which the encoder-decoder's lead may be its 1.9 to 2.2 times as many;
  - at the smallest size `t5_bias` against `t5_bias_paper` in ND:MLM and ED:MLM, at RoPE's rates: is
    their gap the paper's bucket for later keys (P1, P2)?

              decoders   encoder-decoders, half   seeds   FLOPs       H100-hours at 40%
    small      52.6 M      101 M       52.6 M      5      2.7e20         192
    medium      133 M      280 M        133 M      3      3.1e20         215
    large       322 M      713 M        323 M      3      7.6e20         531

Budgets are 2.6, 5.3 and 10.5 B tokens, adaptations 0.2 to 7.9 B, a finetuning 0.8 B: 1.7 T tokens
and 1.34e21 FLOPs in all, 938 H100-hours at 40 % of the peak (`study plan`; models of this size may
reach half of that), and 99 more to choose the rates. Scoring is not counted.

Hub data sets at the commits of `sweeps/pins.toml`; `study pin` fills what is empty.

    study plan sweeps/ladder.py --hardware h100 --mfu 0.4
    study claims sweeps/ladder.py
"""

from dataclasses import replace
from pathlib import Path

from eval.claims import files as claim_files
from study.language.recipes import ladder, rates
from study.language.values import SpanCorruption
from study.sources import pins

HERE = Path(__file__).parent
PINS = pins.load(HERE / "pins.toml")
CHOSEN = rates.load(HERE / "ladder_rates.json")
SMALL, MEDIUM, LARGE = ladder.RUNGS
# A rate is chosen at the first two sizes; the largest takes the second's.
SEARCHED = {SMALL.name: SMALL, MEDIUM.name: MEDIUM, LARGE.name: MEDIUM}
PLACEHOLDER = 1e-3
UNSEARCHED = set()
REPORT = {"title": "A ladder of three sizes and three budgets"}


CLAIMS = (
    *claim_files.load("wang2022"),
    *claim_files.load("redllm2025"),
    *claim_files.load(HERE / "ladder_claims.yaml"),
)


class Rates(dict):
    """The rates of one size. A lineage without a choice can be planned at a placeholder, and is
    remembered, so that nothing is run with it.
    """

    def __init__(self, model):
        super().__init__(rates.of_size(CHOSEN, model))
        self.size = rates.size(model)

    def __missing__(self, path):
        UNSEARCHED.add(f"{self.size}: {path}")
        return PLACEHOLDER


def held():
    """Why this sweep is not run yet."""
    if not UNSEARCHED:
        return ""
    return (
        f"{len(UNSEARCHED)} lineages have no learning rate and stand at {PLACEHOLDER:g}, such as "
        f"{min(UNSEARCHED)!r}; legal: search them by sweeps/ladder_rates.py first"
    )


def study(model, chosen, *, seed, tag):
    return ladder.study(
        PINS, table=HERE / "t0_train.csv", model=model, rates=chosen, seed=seed, tag=tag
    )


def cell_of(tree, architecture, objective):
    """One cell: pretrained, finetuned and scored at each budget."""
    run = tree.pretrain(architecture, objective)
    yield run
    for step in ladder.STEPS.budgets:
        yield from tree.evaluate(run, step)
        tuned = tree.finetune(run, step)
        yield tuned
        yield from tree.evaluate(tuned, tuned.training.steps)


def runs():
    for rung in ladder.RUNGS:
        searched = SEARCHED[rung.name]
        for seed in rung.seeds:
            # the paper's whole tree
            tag = f"{rung.name}-s{seed}"
            tree = study(rung.model, Rates(searched.model), seed=seed, tag=tag)
            yield from tree.runs()

            # the encoder-decoder of half the depth
            tag = f"{rung.name}-half-s{seed}"
            tree = study(rung.half, Rates(searched.half), seed=seed, tag=tag)
            for architecture, objective in tree.cells():
                if architecture == "encoder_decoder":
                    yield from cell_of(tree, architecture, objective)

    # relative positions as T5 has them, and as the paper's decoders have them
    for seed in SMALL.seeds:
        for scheme in ("t5_bias", "t5_bias_paper"):
            model = replace(SMALL.model, positions=scheme)
            tag = f"{SMALL.name}-{scheme}-s{seed}"
            tree = study(model, Rates(SMALL.model), seed=seed, tag=tag)
            for architecture, objective in tree.cells():
                if architecture != "causal_decoder" and isinstance(objective, SpanCorruption):
                    yield from cell_of(tree, architecture, objective)
