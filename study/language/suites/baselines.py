"""What guessing scores on the paper's two benchmarks: the corrected table, and the paper's own.

Owns why the paper (Wang et al. 2022, arXiv 2204.05832) prints two others for EAI-Eval than its 31
tasks' chances. The corrected chances are those of the tasks (`study.language.suites.eai`,
`study.language.suites.t0`). No torch.

    EAI 32.9   Tables 3 and 8: the mean over the plotting script's dictionary
               (bigscience-workshop/architecture-objective, bigscience/scripts/plot_eai_eval.py)
    EAI 33.3   Tables 5 and 6: the mean over Table 5's entries, 33.36, cut to one digit
    T0 41.7    with CB at one third, which EAI's tables have at one half
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from study.language.suites import eai, t0

LAMBADA = ("lambada",)

CORRECTED: Mapping[str, float] = {each.name: each.chance for each in eai.TASKS}
T0: Mapping[str, float] = {each.name: each.chance for each in t0.TASKS}

TABLE_5: Mapping[str, float] = {
    **CORRECTED,
    **dict.fromkeys(("anli_r1", "anli_r2", "anli_r3", "pubmedqa"), 0.333),
    "cb": 0.5,
}
"""As the paper prints them."""

# 4,360 questions of five answers and 115 of four: the script subtracts the second term.
MATHQA_AS_SUBTRACTED = (4360 / 5 - (4475 - 4360) / 4) / 4475
MATHQA_AS_ADDED = (4360 / 5 + (4475 - 4360) / 4) / 4475

SCRIPT: Mapping[str, float] = {
    **CORRECTED,
    "arc_challenge": 0.2502,
    "arc_easy": 0.2502,
    "cb": 0.5,
    "headqa": 0.25,
    "mathqa": MATHQA_AS_SUBTRACTED,
    "multirc": 0.0,
}
"""The script's 32 entries, HeadQA twice among them."""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """One mean of guessing. printed: what the paper prints, in percent, "" of what it does not.

    value: the mean of the entries, in [0, 1].
    """

    suite: str
    name: str
    printed: str
    entries: int
    value: float
    why: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A task on which the paper's entries and the corrected one differ by more than rounding."""

    task: str
    script: float | None
    table_5: float | None
    corrected: float | None
    why: str


def mean(entries: Mapping[str, float]) -> float:
    """The plain mean over tasks, as the suite's score is."""
    return float(np.mean(list(entries.values())))


def baselines() -> tuple[Baseline, ...]:
    """Every mean that stands or should stand in a table, with why they differ."""
    return (
        Baseline(
            suite="eai",
            name="the paper's Tables 3 and 8",
            printed="32.9",
            entries=len(SCRIPT),
            value=mean(SCRIPT),
            why="the plotting script's 32 entries: HeadQA twice, MultiRC 0, MathQA with a wrong "
            "sign (18.8), CB one half",
        ),
        Baseline(
            suite="eai",
            name="the paper's Tables 5 and 6",
            printed="33.3",
            entries=len(TABLE_5),
            value=mean(TABLE_5),
            why="Table 5's 31 entries, whose mean is 33.36: CB one half, though it has three "
            "answers; MultiRC 5.8, MathQA 20.1",
        ),
        Baseline(
            suite="eai",
            name="corrected",
            printed="",
            entries=len(CORRECTED),
            value=mean(CORRECTED),
            why="Table 5 with CB one third: what scores over chance are normalised by here",
        ),
        Baseline(
            suite="t0",
            name="the paper's, and corrected",
            printed="41.7",
            entries=len(T0),
            value=mean(T0),
            why="CB one third; with CB one half, as in the paper's EAI tables, it would be "
            f"{100 * mean({**T0, 'cb': 0.5}):.1f}",
        ),
    )


def disputed() -> tuple[Entry, ...]:
    """The entries behind the differences."""
    reasons = {
        "headqa": "the same task as headqa_en, counted twice",
        "multirc": "left at 0 in the script, with a note that it was not worked out",
        "mathqa": "(4360/5 - 115/4)/4475 in the script; the second term is to be added",
        "cb": "three answers, so one third",
    }
    return tuple(
        Entry(
            task=task,
            script=SCRIPT.get(task),
            table_5=TABLE_5.get(task),
            corrected=CORRECTED.get(task),
            why=why,
        )
        for task, why in reasons.items()
    )
