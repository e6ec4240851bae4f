"""T0's training mixture and T0-Eval as values: which data sets, which templates, which split.

Owns the two lists of t-zero (datasets.csv and seqio_tasks/tasks.py at 7a699e3) over promptsource's
last release; the 116 prompts that Wang et al. evaluate stand in `t0.toml`. Where rows come from is
a pin file's affair (`study.sources.pins`), how a suite is scored `eval`'s. No torch.
"""

from __future__ import annotations

import csv
import tomllib
from dataclasses import dataclass
from pathlib import Path

from study.language.recipes.presets import PROMPTSOURCE, released
from study.language.suites import published
from study.language.suites.data_sets import data_set
from study.language.suites.published import Origin, PublishedTask, from_hub
from study.language.values.corpus import Mixture, PromptedTask
from study.language.values.suite import Scoring
from study.runs.source import Source
from study.runs.suite import Suite
from study.sources.pins import Pins

CAP = 500_000


@dataclass(frozen=True, kw_only=True)
class TrainingSet:
    """One of T0's 38. directory: promptsource's. hub, config: its name on the hub today.

    rows: T0's count of training rows. templates: their number in promptsource 0.2.3. sha256: of its
    templates.yaml.
    """

    directory: str
    hub: str
    config: str
    rows: int
    templates: int
    sha256: str


def training_sets(table: Path) -> tuple[TrainingSet, ...]:
    """The rows of `sweeps/t0_train.csv` (t-zero, datasets.csv: do_train is BASE)."""
    with table.open(encoding="utf-8", newline="") as file:
        return tuple(
            TrainingSet(
                directory=row["directory"],
                hub=row["hub"],
                config=row["config"],
                rows=int(row["rows"]),
                templates=int(row["templates"]),
                sha256=row["sha256"],
            )
            for row in csv.DictReader(file)
        )


@dataclass(frozen=True, kw_only=True)
class Released:
    """A directory of promptsource. sha256: of its templates.yaml. prompts: those that are asked."""

    sha256: str
    prompts: tuple[str, ...]


def _released() -> dict[str, Released]:
    text = Path(__file__).with_name("t0.toml").read_text(encoding="utf-8")
    return {
        key: Released(sha256=each["sha256"], prompts=tuple(each["prompts"]))
        for key, each in tomllib.loads(text).items()
    }


_RELEASED = _released()


def _task(name: str, key: str, *, of: int, split: str = "validation") -> PublishedTask:
    """One of the 11: its data set (also promptsource's directory), and how many answers it has."""
    return PublishedTask(
        name=name,
        data=data_set(key),
        split=split,
        templates=_templates(key, _RELEASED[key].sha256),
        template_names=_RELEASED[key].prompts,
        metric="rank",
        chance=1 / of,
    )


def _templates(directory: str, sha256: str) -> Source:
    return released(f"{PROMPTSOURCE}/{directory}/templates.yaml", sha256=sha256)


TASKS: tuple[PublishedTask, ...] = (
    _task("copa", "super_glue/copa", of=2),
    *(_task(f"anli_{r}", "anli", of=3, split=f"dev_{r}") for r in ("r1", "r2", "r3")),
    _task("cb", "super_glue/cb", of=3),
    _task("rte", "super_glue/rte", of=2),
    _task("wsc", "super_glue/wsc.fixed", of=2),
    _task("winogrande", "winogrande/winogrande_xl", of=2),
    _task("wic", "super_glue/wic", of=2),
    _task("hellaswag", "hellaswag", of=4),
    _task("story_cloze", "story_cloze/2016", of=2),
)
SCORING = Scoring(end_of_sequence=True, truncation="right")


def mixture(pins: Pins, *, table: Path, held_out: float) -> Mixture:
    """T0's 38 training sets under all of their templates, each set capped at 500,000 rows."""
    return Mixture(
        tasks=tuple(
            PromptedTask(
                name=each.directory,
                rows=pins.rows(each.hub, "train", config=each.config),
                templates=_templates(each.directory, each.sha256),
                template_names=(),
            )
            for each in training_sets(table)
        ),
        cap=CAP,
        held_out=held_out,
    )


def suite(pins: Pins) -> Suite:
    """T0-Eval on the hub's rows; StoryCloze is a file, since its owners give it on request."""
    return suite_of(from_hub(pins))


def suite_of(rows: Origin) -> Suite:
    """T0-Eval: 11 sets, 116 prompts, ranked by summed log-likelihood with the end of sequence.

    Contexts that are too long lose their end, as seqio cuts them.
    """
    return published.suite("t0", TASKS, scoring=SCORING, rows=rows)
