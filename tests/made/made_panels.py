"""Panels of made-up answers, for tests of the statistics."""

import numpy as np
import pytest

from eval.evidence.panel import Panel, TaskScores
from study.language.recipes.presets import world_suite_task
from study.runs.cells import CellKey

FAMILIES = ("effect", "cause", "similar", "ending")


def _key(name, tokens=100, *, finetuned=False):
    lineage = (name, f"{name[:2]}:MTF") if finetuned else (name,)
    return CellKey(lineage=lineage, tokens=tokens)


def _panel(answers, keys, *, chance=0.5, names=FAMILIES, twins=False, **options):
    """answers: for each task (C, S, K, I); options: other fields of the tasks, as functions of the
    answers.
    """
    tasks = []
    for place, values in enumerate(answers):
        task = world_suite_task(FAMILIES[place], rows=2, seed=1, chance=0.5, role="headline")
        task = type(task)(**{**vars(task), "name": names[place], "chance": chance})
        size = values.shape[3]
        tasks.append(
            TaskScores(
                task=task,
                templates=tuple(f"t{k}" for k in range(values.shape[2])),
                correct=values,
                other=1 - values,
                nats=values - 2,
                groups=np.arange(size) // 2 if twins else np.arange(size),
                twins=twins,
                rolled=None,
                **{name: made(values) for name, made in options.items()},
            )
        )
    return Panel(
        suite="s",
        size="m",
        cells=tuple(keys),
        seeds=tuple(range(answers[0].shape[1])),
        tasks=tuple(tasks),
        runs=(),
        holes=(),
    )


@pytest.fixture
def key_of():
    return _key


@pytest.fixture
def panel_of():
    return _panel
