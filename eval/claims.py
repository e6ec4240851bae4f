"""A claim as data: declared before scoring, decided by `eval.verdicts`, printed with its digest.

Owns the vocabulary and the claims of Wang et al. 2022, with what each needs to be run. Holds no
numbers of any run and imports nothing heavy, since sweeps import it. Another paper's claims are
another tuple of `Claim`. Whether a sweep declares what they need is `eval.needs`' question.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from itertools import pairwise, product
from typing import Literal

Cell = tuple[str, ...]
"""A lineage such as ("CD:FLM", "CD:MTF"). What a lineage does not say stands in brackets, as
`eval.cells` names it: ("ED:MLM", "ED:MTF (dropout 0)"), ("ND:MLM (positions t5_bias)",)."""

CHANCE: Cell = ("chance",)
"""The pseudo-cell whose score is the suite's chance."""

ContrastKind = Literal["greater", "positive", "equivalent", "not_greater"]
ClaimKind = Literal["greater", "equivalent", "not_greater", "interaction", "order", "ratio"]


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """A weighted sum of suite scores, and what is said of it.

    weights: over cells; the claim is about their weighted sum.
    kind: `greater` than zero by a margin that matters; `positive` (a sign, as orders and
        interactions need); `equivalent` to zero within the margin; `not_greater` than zero by the
        margin.
    margin: in the unit of the score, which lies in [0, 1].
    budget: which of the token budgets that all the cells have, ascending: -1 the largest, 0 the
        smallest. Tokens are those seen before finetuning. budgets: how many there must be.
    matching: `tokens` refuses cells of unequal budgets; `unequal` takes each cell's own and is
        labelled, for comparisons that the paper itself makes so.
    """

    name: str
    suite: str
    weights: tuple[tuple[Cell, float], ...]
    kind: ContrastKind
    margin: float
    budget: int = -1
    budgets: int = 1
    matching: Literal["tokens", "unequal"] = "tokens"


@dataclass(frozen=True, kw_only=True)
class Need:
    """What a claim needs of one cell beside the scores that its components name.

    evidence: `curve`, held-out losses over the training of the lineage's last stage; `prompts`, one
    checkpoint scored on all of `suites`, which must share a task and be two at least.
    """

    cell: Cell
    evidence: Literal["curve", "prompts"]
    suites: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A conjunction of contrasts. Without any it cannot be decided here, and `reason` says why.

    sizes: the model sizes that it is about, as `eval.cells` names them; empty for every size.
    """

    id: str
    text: str
    kind: ClaimKind
    components: tuple[Contrast, ...]
    needs: tuple[Need, ...] = ()
    reason: str = ""
    sizes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A suite's name and the margin below which a difference on it does not matter."""

    suite: str
    margin: float


def digest(claims: tuple[Claim, ...]) -> str:
    """sha256 over the claims as data: two reports with one digest decided the same claims."""
    form = json.dumps([asdict(claim) for claim in claims], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(form.encode()).hexdigest()


def before(cell: str) -> Cell:
    """A cell after pretraining."""
    return (cell,)


def after(*cells: str) -> Cell:
    """A lineage after finetuning under its last architecture."""
    return (*cells, f"{cells[-1][:2]}:MTF")


def without_dropout(cell: str) -> Cell:
    """A cell after finetuning at dropout 0, where the plan's other finetunings have some."""
    first, last = after(cell)
    return (first, f"{last} (dropout 0)")


def of_size(claims: Iterable[Claim], size: str) -> tuple[Claim, ...]:
    """The claims that are about this model size."""
    return tuple(claim for claim in claims if not claim.sizes or size in claim.sizes)


def label(cell: Cell) -> str:
    return " → ".join(cell)


LANGUAGE_MODELS = ("CD:FLM", "ND:PLM", "ED:PLM")
MASKED_MODELS = ("CD:MLM", "ND:MLM", "ED:MLM")
ORDER_ON_T0 = ("ED:MLM", "ND:MLM", "ND:PLM", "CD:FLM", "CD:MLM", "ED:PLM")
ORDER_ON_EAI = ("ED:MLM", "ND:MLM", "CD:FLM", "ND:PLM", "CD:MLM", "ED:PLM")


def paper_claims(suite: str, margin: float) -> tuple[Claim, ...]:
    """The paper's claims read on one suite, which stands for both of its benchmarks. Where these
    two disagree (C6), the order on T0-Eval is taken.
    """
    one = Benchmark(suite=suite, margin=margin)
    return paper_claims_on(eai=one, t0=one)


def paper_claims_on(*, eai: Benchmark, t0: Benchmark) -> tuple[Claim, ...]:
    """C1 to C18 on the paper's two benchmarks; the same benchmark twice makes each component
    once.
    """
    both = (eai,) if eai == t0 else (eai, t0)
    orders = ((t0, ORDER_ON_T0),) if eai == t0 else ((eai, ORDER_ON_EAI), (t0, ORDER_ON_T0))
    return (
        Claim(
            id="C1",
            text="After pretraining, CD:FLM > ND:PLM > ED:PLM",
            kind="greater",
            components=tuple(
                _greater(before(high), before(low), eai) for high, low in pairwise(LANGUAGE_MODELS)
            ),
        ),
        Claim(
            id="C2",
            text="After pretraining alone, every language model is at chance on held-out tasks",
            kind="equivalent",
            components=tuple(
                _contrast(before(cell), CHANCE, t0, "equivalent") for cell in LANGUAGE_MODELS
            ),
        ),
        Claim(
            id="C3",
            text="Without finetuning, span corruption is worse than language modelling",
            kind="greater",
            components=tuple(
                _greater(before(lm), before(mlm), eai)
                for lm, mlm in zip(LANGUAGE_MODELS, MASKED_MODELS, strict=True)
            ),
        ),
        Claim(
            id="C4",
            text="Multitask finetuning improves every language model",
            kind="greater",
            components=tuple(
                _greater(after(cell), before(cell), on) for on in both for cell in LANGUAGE_MODELS
            ),
        ),
        Claim(
            id="C5",
            text="After finetuning, ED:MLM is best and ND:MLM second",
            kind="greater",
            components=tuple(
                _greater(after(high), after(low), on)
                for on in both
                for high, low in (
                    ("ED:MLM", "ND:MLM"),
                    *(("ND:MLM", other) for other in ORDER_ON_T0[2:]),
                )
            ),
        ),
        Claim(
            id="C6",
            text="After finetuning, the full order of the six cells is the paper's",
            kind="order",
            components=tuple(
                _positive(after(high), after(low), on)
                for on, order in orders
                for high, low in pairwise(order)
            ),
        ),
        Claim(
            id="C7",
            text="After finetuning, span corruption pays only where inputs are seen both ways: "
            "MLM - LM is positive in ED and ND, negative in CD",
            kind="interaction",
            components=tuple(
                _positive(after(high), after(low), on)
                for on in both
                for high, low in (
                    ("ED:MLM", "ED:PLM"),
                    ("ND:MLM", "ND:PLM"),
                    ("CD:FLM", "CD:MLM"),
                )
            ),
        ),
        Claim(
            id="C8",
            text="After finetuning, ED:PLM and CD:MLM are the two worst",
            kind="order",
            components=tuple(
                _positive(after(high), after(low), on)
                for on in both
                for high, low in product(ORDER_ON_T0[:4], ORDER_ON_T0[4:])
            ),
        ),
        Claim(
            id="C9",
            text="The best before finetuning is not the best after: CD:FLM > ED:PLM before, "
            "ED:MLM > CD:FLM after",
            kind="greater",
            components=(
                _greater(before("CD:FLM"), before("ED:PLM"), eai),
                _greater(after("ED:MLM"), after("CD:FLM"), t0),
            ),
        ),
        Claim(
            id="C10",
            text="The order after finetuning is the same at each token budget",
            kind="order",
            components=tuple(
                # the two largest: the paper finetunes span-corruption models at a third, smaller
                replace(_positive(after(high), after(low), t0), budget=budget, budgets=2)
                for budget in (-2, -1)
                for high, low in pairwise(ORDER_ON_T0)
            ),
        ),
        Claim(
            id="C11",
            text="LM-adaptation before finetuning does not help a span-corruption model",
            kind="not_greater",
            components=tuple(
                _contrast(after(mlm, lm), after(mlm), on, "not_greater", budget=0)
                for on in both
                for mlm, lm in zip(MASKED_MODELS, LANGUAGE_MODELS, strict=True)
            ),
        ),
        _undecided(
            "C12",
            "LM-adaptation reaches a causal model's loss 1.6 times sooner",
            "needs the tokens at which validation losses meet, which this report does not compute",
            needs=_curves(("CD:FLM",), ("ND:MLM", "CD:FLM")),
        ),
        _undecided(
            "C13",
            "Non-causal adaptation reaches ND:MLM's loss 3.3 times sooner than from scratch, and "
            "CD:MLM's 9.1 times",
            "needs the tokens at which validation losses meet, which this report does not compute",
            needs=_curves(("ND:MLM",), ("CD:MLM",), ("CD:FLM", "ND:MLM")),
        ),
        Claim(
            id="C14",
            text="A non-causally adapted CD:FLM, finetuned, beats its token-matched control, "
            "equals ND:MLM and stays below ED:MLM",
            kind="greater",
            components=(
                *(
                    _greater(after("CD:FLM", "ND:MLM"), after("CD:FLM", "CD:FLM"), on)
                    for on in both
                ),
                *(
                    _contrast(
                        after("CD:FLM", "ND:MLM"),
                        after("ND:MLM"),
                        on,
                        "equivalent",
                        matching="unequal",
                    )
                    for on in both
                ),
                _contrast(
                    after("ED:MLM"),
                    after("CD:FLM", "ND:MLM"),
                    t0,
                    "greater",
                    matching="unequal",
                ),
            ),
        ),
        Claim(
            id="C15",
            text="Non-causal finetuning of a causal language model equals causal finetuning",
            kind="equivalent",
            components=(
                _contrast(
                    ("CD:FLM", "CD:FLM", "ND:MTF"),
                    ("CD:FLM", "CD:FLM", "CD:MTF"),
                    t0,
                    "equivalent",
                ),
            ),
        ),
        Claim(
            id="C16",
            text="Dropout 0.1 in finetuning beats 0.0 in every cell",
            kind="greater",
            components=tuple(
                _greater(after(cell), without_dropout(cell), t0) for cell in ORDER_ON_T0
            ),
        ),
        _undecided(
            "C17",
            "An encoder-decoder adapted into a causal decoder is worse than one from scratch",
            "compares losses at matched adaptation tokens, which this report does not compute",
            needs=_curves(("CD:FLM",), ("ED:MLM", "CD:FLM")),
        ),
        _undecided(
            "C18",
            "EAI's prompts are at least as good as the mean T0 prompt on every shared task",
            "compares two prompt sets for each task, which this report does not compute",
            needs=tuple(
                Need(cell=cell, evidence="prompts", suites=tuple(each.suite for each in both))
                for cell in (*map(before, LANGUAGE_MODELS), *map(after, ORDER_ON_T0))
            ),
        ),
    )


def _contrast(
    high: Cell,
    low: Cell,
    on: Benchmark,
    kind: ContrastKind,
    *,
    budget: int = -1,
    matching: Literal["tokens", "unequal"] = "tokens",
) -> Contrast:
    sign = {"greater": ">", "positive": ">", "equivalent": "≈", "not_greater": "not >"}[kind]
    return Contrast(
        name=f"{label(high)} {sign} {label(low)}",
        suite=on.suite,
        weights=((high, 1.0), (low, -1.0)),
        kind=kind,
        margin=on.margin,
        budget=budget,
        matching=matching,
    )


def _greater(high: Cell, low: Cell, on: Benchmark) -> Contrast:
    return _contrast(high, low, on, "greater")


def _positive(high: Cell, low: Cell, on: Benchmark) -> Contrast:
    return _contrast(high, low, on, "positive")


def _curves(*cells: Cell) -> tuple[Need, ...]:
    return tuple(Need(cell=cell, evidence="curve") for cell in cells)


def _undecided(name: str, text: str, reason: str, *, needs: tuple[Need, ...]) -> Claim:
    return Claim(id=name, text=text, kind="ratio", components=(), needs=needs, reason=reason)
