"""A row under a template as one question: what is asked, and what earns its point.

Owns the item and its credit. Which rows a task has is `study.language.scores.tasks`' affair, what a
template renders `study.language.prompts.templates`'.

    rank            the template's choices after its prompt; the likeliest must be the answer
    rank_contexts   the template's choices as contexts before one ending
    rank_all        rows of one question: each is a `rank` of its own, and all must be right
    greedy          the answer is the greedy continuation
    greedy_any      any of the template's choices is: they are the answer's other names
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from study.language.prompts.missing import is_blank
from study.language.prompts.templates import Rendered, Template, join_target
from study.language.values.suite import Metric
from study.sources.formats import Row


@dataclass(frozen=True, kw_only=True)
class Item:
    """One question as it is asked.

    index: the row's place in its source, equal under all templates. group: items of one group are
    no independent evidence (twins, or the row under other templates). key: the row by content.
    continuations: what is scored after `inputs`, joined; none for rolling. contexts: where each
    continuation has its own context instead of `inputs`. golds: where an item is several decisions
    over as many continuations each, the gold of each; `gold` is then -1.
    """

    index: int
    group: int
    key: str
    inputs: str
    continuations: tuple[str, ...]
    gold: int
    contexts: tuple[str, ...] = ()
    golds: tuple[int, ...] = ()

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """(context, continuation) of every continuation."""
        contexts = self.contexts or (self.inputs,) * len(self.continuations)
        return tuple(zip(contexts, self.continuations, strict=True))

    def decisions(self, values: Sequence[float]) -> list[tuple[Sequence[float], int]]:
        """(values, gold) of each decision, from one value a continuation."""
        if not self.golds:
            return [(values, self.gold)]
        width = len(values) // len(self.golds)
        return [
            (values[place * width : (place + 1) * width], gold)
            for place, gold in enumerate(self.golds)
        ]

    def credit(self, log_likelihoods: Sequence[float]) -> float:
        """Of a ranked item: its decisions are independent, so shares of ties multiply."""
        return math.prod(credit(values, gold) for values, gold in self.decisions(log_likelihoods))

    @property
    def chance(self) -> float:
        """Of guessing each decision."""
        # texts in the place of numbers: only how many there are counts
        return math.prod(1 / len(values) for values, _ in self.decisions(self.continuations))  # type: ignore[arg-type]


def credit(log_likelihoods: Sequence[float], gold: int) -> float:
    """1 where the gold alone is likeliest; a tie at the top shares the point. A choice that is not
    finite could not be scored, so the item is invalid and nothing wins it, whatever the others are.
    """
    if not all(math.isfinite(value) for value in log_likelihoods):
        return 0.0
    best = max(log_likelihoods)
    winners = [index for index, value in enumerate(log_likelihoods) if value == best]
    return 1.0 / len(winners) if gold in winners else 0.0


def ask(metric: Metric, template: Template, row: Row, *, key: str) -> Item | str:
    """The question (index and group are still 0), or why the row has none."""
    outcome = template.outcome(row, key=key)
    if not isinstance(outcome, Rendered):
        return outcome.reason
    inputs, target = outcome.inputs, outcome.targets
    choices = template.choices(row, key=key)
    item = Item(index=0, group=0, key=key, inputs=inputs, continuations=(), gold=0)
    if metric in ("greedy", "greedy_any"):
        answers = [target] if choices is None or metric == "greedy" else choices
        if any(map(is_blank, answers)):
            return "choices empty or equal"
        return replace(item, continuations=_joined(inputs, dict.fromkeys(answers)))
    if choices is None:
        return "no choices"
    # a model that says one of two answers that differ in spaces has said both
    if len({" ".join(choice.split()) for choice in choices}) < max(2, len(choices)):
        return "choices empty or equal"
    chosen = inputs if metric == "rank_contexts" else target
    if chosen not in choices:
        return "answer not among the choices"
    gold = choices.index(chosen)
    if metric == "rank_contexts":
        endings = tuple(join_target(context, target) for context in choices)
        return replace(item, inputs="", contexts=tuple(choices), continuations=endings, gold=gold)
    return replace(item, continuations=_joined(inputs, choices), gold=gold)


def together(items: Sequence[Item]) -> Item:
    """Rows of one question, in order, as one item. Raises ValueError where they do not fit."""
    first = items[0]
    if any(each.inputs != first.inputs for each in items):
        raise ValueError(f"rows of one question have several contexts: {first.inputs!r:.60}")
    if any(len(each.continuations) != len(first.continuations) for each in items):
        raise ValueError(f"rows of one question have unequal choices: {first.inputs!r:.60}")
    return replace(
        first,
        key=hashlib.sha256("\n".join(each.key for each in items).encode()).hexdigest(),
        continuations=tuple(answer for each in items for answer in each.continuations),
        gold=-1,
        golds=tuple(each.gold for each in items),
    )


def _joined(inputs: str, answers: Sequence[str] | dict[str, None]) -> tuple[str, ...]:
    return tuple(join_target(inputs, answer) for answer in answers)
