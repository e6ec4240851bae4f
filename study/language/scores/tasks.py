"""A suite as lm-eval tasks, offline: one task for each data set under each of its templates.

Owns which rows a task has, and what is left out and why. Rows come from `study.sources.content`,
prompts from `study.language.prompts.templates`, what a question is from
`study.language.scores.questions`; lm-eval gets finished texts, so none of its own templating, hub
access or defaults takes part. Beside the metrics of questions, `rolling` is bits per byte of whole
documents.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from datasets import Dataset
from lm_eval.api.task import ConfigurableTask

from study.language.prompts.missing import is_blank
from study.language.prompts.rows import labelled, prepared, value_at
from study.language.prompts.templates import Skipped, Template, load_templates
from study.language.scores.questions import Item, ask, credit, together
from study.language.values.suite import SuiteTask
from study.runs.identity import identity
from study.runs.suite import Suite
from study.sources import content
from study.sources.content import Access
from study.sources.formats import Row

__all__ = ["Item", "Prompts", "build", "chance_of", "credit", "digest", "lm_eval_task"]

SPLIT = "test"
# left out of digests where empty, so that questions without them keep the digest they had
_RARE = ("contexts", "golds")


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """One data set under one template ("" for rolling).

    twins: items of a group have the same choices and opposite golds, always two.
    skipped: rows left out, by reason. first: the first of each reason, in words.
    """

    task: SuiteTask
    template: str
    items: tuple[Item, ...]
    twins: bool
    skipped: dict[str, int]
    first: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.task.name}/{self.template}" if self.template else self.task.name


def build(suite: Suite, *, access: Access) -> tuple[Prompts, ...]:
    """Every task under every template, in order.

    Raises ValueError where a task keeps no row, as one of a hidden test split does.
    """
    if not suite.tasks:
        listed = "; ".join(f"{hole.name}: {hole.reason}" for hole in suite.holes)
        raise ValueError(f"suite {suite.name!r} has nothing to score ({listed or 'no tasks'})")
    built: list[Prompts] = []
    for task in suite.tasks:
        if task.metric == "rolling":
            built.append(_documents(task, access))
            continue
        assert task.templates is not None
        templates = load_templates(task.templates, access=access, names=task.template_names)
        rows = asked_rows(suite, task, access=access)
        built.extend(_prompts(suite, task, template, rows=rows) for template in templates)
    names = [each.name for each in built]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"suite {suite.name!r} has two tasks named {twice[0]!r}")
    for each in built:
        if not each.items:
            raise ValueError(
                f"suite {suite.name!r}: {each.name!r} ({each.task.rows.uri}) keeps no row; "
                f"skipped: {each.skipped}; first: {'; '.join(each.first.values()) or 'none read'}"
            )
    return tuple(built)


@dataclass(frozen=True, kw_only=True)
class AskedRow:
    """One row as templates read it. number: its place in the source, from 1. index: `number`, from
    0, or its question's. group, key: see `Item`. unlabelled: why it can't be asked.
    """

    row: Row
    number: int
    index: int
    group: int
    key: str
    unlabelled: Skipped | None


def asked_rows(suite: Suite, task: SuiteTask, *, access: Access) -> list[AskedRow]:
    """Every row of a task that is no document. Raises ValueError where one has a foreign form."""
    origin = _origin(suite, task)
    found = list(labelled(content.rows(task.rows, access=access), task.labels, origin=origin))
    groups = _groups(task, [row for row, _ in found], origin=origin)
    # rows of a question share its number; twins stand apart
    index = groups if task.question else range(len(found))
    asked = []
    for place, (row, unlabelled) in enumerate(found):
        # by the row before it is prepared, after its label has one form: a mirror that says
        # "entailment" draws the same prompts as one that says 0
        key = content.row_key(row)
        try:
            ready = row if unlabelled else prepared(row, task.preparation)
        except ValueError as error:
            raise ValueError(f"{origin}, row {place + 1}: {error}") from error
        asked.append(
            AskedRow(
                row=ready,
                number=place + 1,
                index=index[place],
                group=groups[place],
                key=key,
                unlabelled=unlabelled,
            )
        )
    return asked


def _origin(suite: Suite, task: SuiteTask) -> str:
    return f"suite {suite.name!r}, {task.name!r} ({task.rows.uri})"


def digest(prompts: Sequence[Prompts]) -> str:
    """sha256 over every question as it is asked, and over what each task is."""
    state = hashlib.sha256()
    for each in prompts:
        form = identity(each.task) | {"template": each.template}
        state.update(json.dumps(form, sort_keys=True).encode())
        for item in each.items:
            form = asdict(item)
            form = {name: form[name] for name in form if form[name] or name not in _RARE}
            state.update(json.dumps(form, sort_keys=True).encode())
    return state.hexdigest()


def lm_eval_task(prompts: Prompts) -> ConfigurableTask:
    """The same questions as lm-eval asks and aggregates them."""
    documents = [asdict(item) for item in prompts.items]
    config: dict[str, Any] = {
        "task": prompts.name,
        "custom_dataset": lambda **_: {SPLIT: Dataset.from_list(documents)},
        "test_split": SPLIT,
        "num_fewshot": 0,
        "target_delimiter": "",
        "doc_to_text": lambda document: document["inputs"],
    }
    match prompts.task.metric:
        case "rank" | "rank_all":
            config |= {
                "output_type": "multiple_choice",
                "doc_to_choice": lambda document: document["continuations"],
                "doc_to_target": lambda document: document["gold"],
                "process_results": _rank,
                "metric_list": [_mean("acc")],
            }
        case "rank_contexts":
            config |= {
                # lm-eval's form for several contexts: the place of the right one, all of them, and
                # the one ending (equal for all, as no context ends in white space)
                "output_type": "multiple_choice",
                "doc_to_text": lambda document: document["gold"],
                "doc_to_choice": lambda document: document["contexts"],
                "doc_to_target": lambda document: document["continuations"][0],
                "process_results": _rank,
                "metric_list": [_mean("acc")],
            }
        case "greedy" | "greedy_any":
            config |= {
                "output_type": "multiple_choice",
                "doc_to_choice": lambda document: document["continuations"],
                "doc_to_target": lambda _: 0,
                "process_results": _any_greedy,
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


def _rank(document: dict[str, Any], results: list[tuple[float, bool]]) -> dict[str, float]:
    """In place of lm-eval's argmax, which gives every tie to the first choice."""
    item = Item(**{name: _tuple(value) for name, value in document.items()})
    return {"acc": item.credit([value for value, _ in results])}


def _any_greedy(_: dict[str, Any], results: list[tuple[float, bool]]) -> dict[str, float]:
    return {"acc": float(any(greedy for _, greedy in results))}


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _mean(metric: str) -> dict[str, Any]:
    return {"metric": metric, "aggregation": "mean", "higher_is_better": True}


def _groups(task: SuiteTask, rows: Sequence[Row], *, origin: str) -> list[int]:
    """The microworld numbers its twins, and questions gather rows; elsewhere each stands alone."""
    if task.question:
        number: dict[str, int] = {}
        groups = []
        for place, row in enumerate(rows, start=1):
            try:
                value = json.dumps([value_at(row, path) for path in task.question])
            except (ValueError, TypeError) as error:
                raise ValueError(f"{origin}, row {place}: {error}") from error
            groups.append(number.setdefault(value, len(number)))
        return groups
    if task.rows.uri.startswith("world://") and all("pair" in row for row in rows):
        return [int(row["pair"]) for row in rows]
    return list(range(len(rows)))


def _prompts(
    suite: Suite, task: SuiteTask, template: Template, *, rows: Sequence[AskedRow]
) -> Prompts:
    questions: dict[int, list[Item | str]] = {}
    first: dict[str, str] = {}
    for each in rows:
        try:
            found = _asked(task, template, each)
            if isinstance(found, str) and found not in first:
                first[found] = f"row {each.number}: {_described(template, each)}"
        except ValueError as error:
            raise ValueError(f"{_origin(suite, task)}, row {each.number}: {error}") from error
        questions.setdefault(each.index, []).append(found)
    items: list[Item] = []
    skipped: Counter[str] = Counter()
    for question in questions.values():
        # a question of several rows is asked whole or not at all
        if reasons := [found for found in question if isinstance(found, str)]:
            skipped[reasons[0]] += 1
            continue
        asked = [found for found in question if isinstance(found, Item)]
        items.append(together(asked) if task.metric == "rank_all" else asked[0])
    return Prompts(
        task=task,
        template=template.name,
        items=tuple(items),
        twins=task.metric == "rank" and _are_twins(items),
        skipped=dict(skipped),
        first=first,
    )


def _asked(task: SuiteTask, template: Template, asked: AskedRow) -> Item | str:
    """The question, or why there is none."""
    if asked.unlabelled:
        return asked.unlabelled.reason
    found = ask(task.metric, template, asked.row, key=asked.key)
    if isinstance(found, Item):
        return replace(found, index=asked.index, group=asked.group)
    return found


def _described(template: Template, asked: AskedRow) -> str:
    """Why a row has no question, in words."""
    outcome = asked.unlabelled or template.outcome(asked.row, key=asked.key)
    if isinstance(outcome, Skipped):
        return outcome.detail
    return f"answer {outcome.targets!r:.60} of {template.choices(asked.row, key=asked.key)!r:.200}"


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
        if is_blank(text):
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
    return content.documents(task.rows, access=access)


def chance_of(prompts: Prompts) -> float:
    """The accuracy of guessing among the choices as they are, against which `chance` is checked."""
    if prompts.task.metric in ("greedy", "greedy_any", "rolling"):
        return 0.0
    return float(np.mean([item.chance for item in prompts.items]))
