"""Panels of made-up answers, for tests of the statistics."""

from dataclasses import replace

import numpy as np
import pytest

from eval.evidence.panel import Panel
from eval.evidence.task_scores import TaskScores
from study.language.cells import key_of as language_key
from study.language.recipes.presets import world_suite_task
from study.language.values.measures import MEASURES
from study.runs import domain

FAMILIES = ("effect", "cause", "similar", "ending")
OF_LANGUAGE = {each.name: each for each in MEASURES}
ACCURACY = OF_LANGUAGE["accuracy"]


def task_scores(task, correct, *, groups=None, twins=False, **columns):
    """correct: (C, S, K, I); columns: others of its measures, NaN where none is given."""
    others = tuple(OF_LANGUAGE[name] for name in ACCURACY.beside)
    names = {name for each in (ACCURACY, *others) for name in each.every_column}
    if unknown := columns.keys() - names:
        raise ValueError(f"unknown columns {unknown}; legal: {names}")
    nothing = dict.fromkeys(names, np.full(correct.shape, np.nan))
    return TaskScores(
        task=task,
        measure=ACCURACY,
        others=others,
        conditions=tuple(f"t{k}" for k in range(correct.shape[2])),
        columns=nothing | columns | {"correct": correct},
        groups=np.arange(correct.shape[3]) if groups is None else groups,
        twins=twins,
    )


def with_column(task, **columns):
    """The task with other values of these columns."""
    return replace(task, columns={**task.columns, **columns})


def panel_of_tasks(tasks, keys, *, suite="s"):
    return Panel(
        suite=suite,
        size="m",
        cells=tuple(keys),
        seeds=tuple(range(tasks[0].answers.shape[1])),
        tasks=tuple(tasks),
        runs=(),
        holes=(),
        domain=domain.registered()["language"],
    )


def _key(name, tokens=100, *, finetuned=False):
    lineage = (name, f"{name[:2]}:MTF") if finetuned else (name,)
    return language_key(lineage, tokens=tokens)


def _panel(answers, keys, *, chance=0.5, names=FAMILIES, twins=False, **options):
    """answers: for each task (C, S, K, I); options: other columns of the tasks, as functions of the
    answers.
    """
    tasks = []
    for place, values in enumerate(answers):
        task = world_suite_task(FAMILIES[place], rows=2, seed=1, chance=0.5, role="headline")
        task = type(task)(**{**vars(task), "name": names[place], "chance": chance})
        size = values.shape[3]
        tasks.append(
            task_scores(
                task,
                values,
                correct_other_end=1 - values,
                gold_nats_per_byte=values - 2,
                groups=np.arange(size) // 2 if twins else np.arange(size),
                twins=twins,
                **{name: made(values) for name, made in options.items()},
            )
        )
    return panel_of_tasks(tasks, keys)


@pytest.fixture
def key_of():
    return _key


@pytest.fixture
def panel_of():
    return _panel
