"""A suite as lm-eval tasks, offline: one task for each data set under each of its templates.

Owns which rows and answers a task has, and what is left out and why. Rows come from
`study.data.sources`, prompts from `study.prompts`; lm-eval gets finished texts, so none of its own
templating, hub access or defaults takes part.

    rank      multiple choice over the template's own choices for the row
    greedy    the answer is right when greedy decoding gives exactly its tokens
    rolling   bits per byte of whole documents
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from datasets import Dataset
from lm_eval.api.task import ConfigurableTask

from study.data import sources
from study.data.readers import Row
from study.data.sources import Access
from study.prompts import Rendered, Template, join_target, load_templates
from study.run import Suite, SuiteTask, identity

SPLIT = "test"


@dataclass(frozen=True, kw_only=True)
class Item:
    """One question as it is asked.

    index: the row's place in its source, equal under all templates. group: items of one group are
    no independent evidence (twins, or the row under other templates). key: the row by content.
    continuations: what is scored after `inputs`, joined; one for greedy, none for rolling.
    """

    index: int
    group: int
    key: str
    inputs: str
    continuations: tuple[str, ...]
    gold: int


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """One data set under one template ("" for rolling).

    twins: items of a group have the same choices and opposite golds, always two.
    skipped: rows left out, by reason.
    """

    task: SuiteTask
    template: str
    items: tuple[Item, ...]
    twins: bool
    skipped: dict[str, int]

    @property
    def name(self) -> str:
        return f"{self.task.name}/{self.template}" if self.template else self.task.name


def build(suite: Suite, *, access: Access) -> tuple[Prompts, ...]:
    """Every task under every template, in order. Raises ValueError where a task keeps no row."""
    built: list[Prompts] = []
    for task in suite.tasks:
        if task.metric == "rolling":
            built.append(_documents(task, access))
            continue
        assert task.templates is not None
        templates = load_templates(task.templates, access=access, names=task.template_names)
        rows = list(sources.rows(task.rows, access=access))
        keys = [sources.row_key(row) for row in rows]
        groups = _groups(task, rows)
        built.extend(
            _prompts(task, template, rows=rows, keys=keys, groups=groups) for template in templates
        )
    names = [each.name for each in built]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"suite {suite.name!r} has two tasks named {twice[0]!r}")
    for each in built:
        if not each.items:
            raise ValueError(
                f"suite {suite.name!r}: {each.name!r} keeps no row; skipped: {each.skipped}"
            )
    return tuple(built)


def digest(prompts: Sequence[Prompts]) -> str:
    """sha256 over every question as it is asked, and over what each task is."""
    state = hashlib.sha256()
    for each in prompts:
        form = identity(each.task) | {"template": each.template}
        state.update(json.dumps(form, sort_keys=True).encode())
        for item in each.items:
            state.update(json.dumps(asdict(item), sort_keys=True).encode())
    return state.hexdigest()


def lm_eval_task(prompts: Prompts) -> ConfigurableTask:
    """The same questions as lm-eval asks and aggregates them."""
    documents = [
        {
            "index": item.index,
            "inputs": item.inputs,
            "continuations": list(item.continuations),
            "gold": item.gold,
        }
        for item in prompts.items
    ]
    config: dict[str, Any] = {
        "task": prompts.name,
        "custom_dataset": lambda **_: {SPLIT: Dataset.from_list(documents)},
        "test_split": SPLIT,
        "num_fewshot": 0,
        "target_delimiter": "",
        "doc_to_text": lambda document: document["inputs"],
    }
    match prompts.task.metric:
        case "rank":
            config |= {
                "output_type": "multiple_choice",
                "doc_to_choice": lambda document: document["continuations"],
                "doc_to_target": lambda document: document["gold"],
                "process_results": _rank,
                "metric_list": [_mean("acc")],
            }
        case "greedy":
            config |= {
                "output_type": "loglikelihood",
                "doc_to_target": lambda document: document["continuations"][0],
                "metric_list": [_mean("acc")],
            }
        case "rolling":
            config |= {
                "output_type": "loglikelihood_rolling",
                "doc_to_text": lambda _: "",
                "doc_to_target": lambda document: document["inputs"],
                "metric_list": [
                    {
                        "metric": "bits_per_byte",
                        "aggregation": "bits_per_byte",
                        "higher_is_better": False,
                    }
                ],
            }
    return ConfigurableTask(config=config)


def credit(log_likelihoods: Sequence[float], gold: int) -> float:
    """1 where the gold alone is likeliest; a tie at the top shares the point. A choice that is not
    finite could not be scored, so the item is invalid and nothing wins it, whatever the others are.
    """
    if not all(math.isfinite(value) for value in log_likelihoods):
        return 0.0
    best = max(log_likelihoods)
    winners = [index for index, value in enumerate(log_likelihoods) if value == best]
    return 1.0 / len(winners) if gold in winners else 0.0


def _rank(document: dict[str, Any], results: list[tuple[float, bool]]) -> dict[str, float]:
    """In place of lm-eval's argmax, which gives every tie to the first choice."""
    return {"acc": credit([value for value, _ in results], document["gold"])}


def _mean(metric: str) -> dict[str, Any]:
    return {"metric": metric, "aggregation": "mean", "higher_is_better": True}


def _groups(task: SuiteTask, rows: Sequence[Row]) -> list[int]:
    """The microworld numbers its twins; elsewhere each row stands alone."""
    if task.rows.uri.startswith("world://") and all("pair" in row for row in rows):
        return [int(row["pair"]) for row in rows]
    return list(range(len(rows)))


def _prompts(
    task: SuiteTask,
    template: Template,
    *,
    rows: Sequence[Row],
    keys: Sequence[str],
    groups: Sequence[int],
) -> Prompts:
    items: list[Item] = []
    skipped: Counter[str] = Counter()
    for index, (row, key, group) in enumerate(zip(rows, keys, groups, strict=True)):
        found = _item(task, template, row, key=key)
        if isinstance(found, str):
            skipped[found] += 1
        else:
            items.append(replace(found, index=index, group=group))
    return Prompts(
        task=task,
        template=template.name,
        items=tuple(items),
        twins=task.metric == "rank" and _are_twins(items),
        skipped=dict(skipped),
    )


def _item(task: SuiteTask, template: Template, row: Row, *, key: str) -> Item | str:
    """The question, or why the row has none."""
    outcome = template.outcome(row, key=key)
    if not isinstance(outcome, Rendered):
        return outcome.reason
    inputs, answers, gold = outcome.inputs, [outcome.targets], 0
    if task.metric == "rank":
        choices = template.choices(row, key=key)
        if choices is None:
            return "no choices"
        if len(choices) < 2 or not all(choices) or len(set(choices)) < len(choices):
            return "choices empty or equal"
        if outcome.targets not in choices:
            return "answer not among the choices"
        answers, gold = choices, choices.index(outcome.targets)
    return Item(
        index=0,
        group=0,
        key=key,
        inputs=inputs,
        continuations=tuple(join_target(inputs, answer) for answer in answers),
        gold=gold,
    )


def _are_twins(items: Sequence[Item]) -> bool:
    """Checked, not trusted: each group is two items with equal choices and different golds."""
    groups: dict[int, list[Item]] = {}
    for item in items:
        groups.setdefault(item.group, []).append(item)
    return bool(groups) and all(
        len(pair) == 2
        and pair[0].continuations == pair[1].continuations
        and pair[0].gold != pair[1].gold
        for pair in groups.values()
    )


def _documents(task: SuiteTask, access: Access) -> Prompts:
    items: list[Item] = []
    skipped: Counter[str] = Counter()
    for index, text in enumerate(_texts(task, access)):
        if not text:
            skipped["empty"] += 1
            continue
        items.append(
            Item(
                index=index,
                group=index,
                key=hashlib.sha256(text.encode()).hexdigest(),
                inputs=text,
                continuations=(),
                gold=0,
            )
        )
    return Prompts(task=task, template="", items=tuple(items), twins=False, skipped=dict(skipped))


def _texts(task: SuiteTask, access: Access) -> Iterator[str]:
    if not task.rows.text_field:
        raise ValueError(f"suite task {task.name!r}: `rolling` rows need a text_field")
    return sources.documents(task.rows, access=access)


def chance_of(prompts: Prompts) -> float:
    """The accuracy of guessing among the choices as they are, against which `chance` is checked."""
    shares = [1 / len(item.continuations) for item in prompts.items if item.continuations]
    return float(np.mean(shares)) if prompts.task.metric == "rank" else 0.0
