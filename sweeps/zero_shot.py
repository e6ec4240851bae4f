"""The published suites on small models of each architecture: does T0-Eval run from a local mirror?

CD:FLM, ND:PLM and ED:PLM are pretrained on films and scripture (sweeps/movies.py), finetuned on
imdb's prompts, and scored before and after on T0-Eval and EAI-Eval, from the rows of a mirror
directory whose digests stand in sweeps/mirror.toml. What has no digest there is a hole of its
suite, which is shown; the mean is over the others, and says over how many.

Models of this size are near chance on both suites: this is evidence about the pipeline.

    study suites --mirror DIR                                         what a mirror has
    study pin sweeps/zero_shot.py --data-dir DIR                      its digests, where empty
    study run sweeps/zero_shot.py --data-dir sweeps --data-dir DIR
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from study.language.recipes.tree import Scale, Study
from study.language.suites import eai, published, t0
from study.language.values import Evaluation
from study.runs.plan import load_sweep
from study.sources import pins

HERE = Path(__file__).parent
MOVIES: Any = load_sweep(HERE / "movies.py").module
PINS = pins.load(HERE / "mirror.toml")
REPORT = {
    "title": "The published suites on small models, from a local mirror",
    "banner": "toy scale: evidence about the pipeline, not about language models",
}
SUITES = tuple(each.suite_of(published.mirror(PINS)) for each in (t0, eai))
# 0.35 M and 0.5 M parameters: what counts here is that each architecture is trained and scored
SETTING = replace(
    MOVIES.SETTING,
    model=replace(MOVIES.SETTING.model, layers=2, d_model=64, heads=2, d_ff=160),
)
# 0.3 M tokens of pretraining and 0.15 M of finetuning a cell
SCALE = Scale(
    pretrain_steps=150,
    adapt_steps=1,
    finetune_steps=75,
    batch_size=8,
    finetune_batch_size=8,
)
ARCHITECTURES = ("causal_decoder", "prefix_decoder", "encoder_decoder")


class _Rates(dict):
    """One rate a stage, unsearched: 2e-3 before finetuning, 1e-3 in it."""

    def __missing__(self, path):
        return 1e-3 if path.endswith("MTF") else 2e-3


def held():
    """Why this sweep is not run yet."""
    empty = [suite.name for suite in SUITES if not suite.tasks]
    return f"{PINS.path.name} has no digest of any file of {', '.join(empty)}" if empty else ""


def runs():
    study = Study(setting=SETTING, scale=SCALE, rates=_Rates(), seed=0)
    language_modelling = dict(reversed(study.stages.cells()))
    for architecture in ARCHITECTURES:
        pretrained = study.stages.pretrain(architecture, language_modelling[architecture])
        for run in (pretrained, study.finetune(pretrained)):
            yield run
            for suite in SUITES:
                yield Evaluation(
                    slug=f"{run.slug}-{suite.name}",
                    run=run,
                    step=run.training.steps,
                    suite=suite,
                )
