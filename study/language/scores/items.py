"""Per-item scores: one row a question, in Parquet, always kept.

Owns how the columns of `study.language.scores.columns` follow from the scorer's answers. What a
reader wants to know of an item beyond these follows from the log-likelihoods kept here, without a
model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from lm_eval.api.instance import Instance
from lm_eval.utils import softmax

from study.language.scores.columns import SCHEMA
from study.language.scores.lm import StudyLM
from study.language.scores.score import Scored
from study.language.scores.tasks import Item, Prompts
from study.language.values.suite import Scoring


def collect(prompts: Sequence[Prompts], *, lm: StudyLM, run: str) -> pa.Table:
    """The rows of a suite that `lm` has scored. Asks it for the null contexts, which are few."""
    null = _null_scores(prompts, lm)
    rows = [row for each in prompts for row in _rows(each, lm=lm, run=run, null=null)]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _null_scores(prompts: Sequence[Prompts], lm: StudyLM) -> dict[str, Scored]:
    answers = dict.fromkeys(
        answer
        for each in prompts
        if each.task.metric != "rolling"
        for item in each.items
        for answer in item.continuations
    )
    lm.loglikelihood(
        [
            Instance(request_type="loglikelihood", doc={}, arguments=("", answer), idx=0)
            for answer in answers
        ]
    )
    return {answer: lm.scored("", answer) for answer in answers}


def _rows(
    prompts: Prompts, *, lm: StudyLM, run: str, null: dict[str, Scored]
) -> Iterator[dict[str, Any]]:
    for item in prompts.items:
        shared = {
            "run": run,
            "task": prompts.task.name,
            "template": prompts.template,
            "metric": prompts.task.metric,
            "index": item.index,
            "group": item.group,
            "twins": prompts.twins,
            "key": item.key,
        }
        match prompts.task.metric:
            case "rank" | "rank_contexts" | "rank_all":
                without = [null[answer] for answer in item.continuations]
                chosen = item.credit([_value(each, lm.scoring) for each in without])
                yield shared | _ranked(item, lm) | _null(without, chosen)
            case "greedy" | "greedy_any":
                without = [null[answer] for answer in item.continuations]
                chosen = float(any(each.greedy(lm.scoring) for each in without))
                yield shared | _greedy(item, lm) | _null(without, chosen)
            case "rolling":
                yield shared | _rolled(item, lm)


def _null(found: Sequence[Scored], chosen: float) -> dict[str, Any]:
    return {
        "null_log_likelihoods": [each.target_log_likelihood for each in found],
        "null_end_log_likelihoods": [each.end_log_likelihood for each in found],
        "correct_without_context": chosen,
    }


def _scores(item: Item, lm: StudyLM) -> tuple[list[Scored], dict[str, Any]]:
    found = [lm.scored(*pair) for pair in item.pairs]
    return found, {
        "log_likelihoods": [each.target_log_likelihood for each in found],
        "end_log_likelihoods": [each.end_log_likelihood for each in found],
        "tokens": [each.tokens for each in found],
        "bytes": [len(answer.encode()) for answer in item.continuations],
        "gold": None if item.golds else item.gold,
        "valid": all(each.valid for each in found),
        "truncated": max(each.truncated for each in found),
    }


def _ranked(item: Item, lm: StudyLM) -> dict[str, Any]:
    """Of an item of several decisions: the smallest margin, means per byte and of Brier scores."""
    found, columns = _scores(item, lm)
    own = [_value(each, lm.scoring) for each in found]
    other = [_value(each, other_end(lm.scoring)) for each in found]
    columns |= {
        "valid": all(map(math.isfinite, own)),
        "correct": item.credit(own),
        "correct_other_end": item.credit(other),
    }
    if not columns["valid"]:
        return columns | {"prediction": None if item.golds else -1, "tie": False}
    parts = [_decision(values, gold) for values, gold in item.decisions(own)]
    golds = [values[gold] for values, gold in item.decisions(own)]
    sizes = [size[gold] for size, gold in item.decisions(columns["bytes"])]
    # letters without a token have bytes and cost next to nothing
    known = not any(lm.encoded(*pair).lost_of_target.unknown for pair in item.pairs)
    return columns | {
        "prediction": None if item.golds else parts[0]["prediction"],
        "gold_nats_per_byte": sum(golds) / sum(sizes) if known else None,
        "margin": min(each["margin"] for each in parts),
        "brier": float(np.mean([each["brier"] for each in parts])),
        "tie": any(each["tie"] for each in parts),
    }


def _decision(values: Sequence[float], gold: int) -> dict[str, Any]:
    best = max(values)
    winners = [index for index, value in enumerate(values) if value == best]
    rest = max(value for index, value in enumerate(values) if index != gold)
    chances = softmax(np.array(values))
    return {
        "prediction": winners[0] if len(winners) == 1 else -1,
        "tie": len(winners) > 1,
        "margin": values[gold] - rest,
        "brier": float(((chances - np.eye(len(values))[gold]) ** 2).sum()),
    }


def _greedy(item: Item, lm: StudyLM) -> dict[str, Any]:
    """Any of the answers; what is said of the gold is said of the likeliest."""
    found, columns = _scores(item, lm)
    values = [_value(each, lm.scoring) for each in found]
    gold = int(np.argmax(values))
    known = not lm.encoded(*item.pairs[gold]).lost_of_target.unknown
    return columns | {
        "gold": gold,
        "correct": float(any(each.greedy(lm.scoring) for each in found)),
        "correct_other_end": float(any(each.greedy(other_end(lm.scoring)) for each in found)),
        "gold_nats_per_byte": (
            values[gold] / columns["bytes"][gold] if math.isfinite(values[gold]) and known else None
        ),
    }


def _rolled(item: Item, lm: StudyLM) -> dict[str, Any]:
    value, tokens = lm.rolled(item.inputs)
    size = len(item.inputs.encode())
    finite = math.isfinite(value)
    return {
        "log_likelihoods": [value],
        "tokens": [tokens],
        "bytes": [size],
        "gold_nats_per_byte": value / size if finite else None,
        "valid": finite,
        "truncated": 0,
    }


def _value(found: Scored, scoring: Scoring) -> float:
    value = found.log_likelihood(scoring)
    # Not a number: the end of sequence did not fit behind this target.
    return value if found.valid and not math.isnan(value) else float("-inf")


def other_end(scoring: Scoring) -> Scoring:
    """The same options with the end of sequence the other way round."""
    return replace(scoring, end_of_sequence=not scoring.end_of_sequence)
