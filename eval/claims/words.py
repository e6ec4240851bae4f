"""The words of a claims file, and the claims that they make in the place of one sweep.

Owns what a component, a need and a claim may say beside the fields of `Contrast`, `Need` and
`Claim`, and how each is then called. Each word is a parameter of the function that reads it. No
torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from eval.claims.claim import Benchmark, Claim, ClaimKind, Need
from eval.evidence.contrast import CHANCE, Contrast, ContrastKind
from study.runs.cells import Cell, label
from study.runs.decode import Words

# what each component of a claim of this kind asks for, unless it says otherwise
_ASKS: dict[ClaimKind, ContrastKind] = {
    "greater": "greater",
    "equivalent": "equivalent",
    "not_greater": "not_greater",
    "interaction": "positive",
    "order": "positive",
    "ratio": "greater",
}
RATIO_MARGIN = 1.1
"""A factor of tokens or of perplexity."""
_SIGN = {"greater": ">", "positive": ">", "equivalent": "≈", "not_greater": "not >"}


@dataclass(frozen=True, kw_only=True)
class Role:
    """A benchmark that the claims are about. name: the paper's word for it. margin, item_error: in
    points; item_error is that of a published difference of two cells, from items alone.
    """

    role: str
    name: str
    margin: float
    item_error: float | None = None

    def __post_init__(self) -> None:
        if not self.margin > 0:
            raise ValueError(f"margin is {self.margin}; legal: above 0 points")
        if self.item_error is not None and not self.item_error > 0:
            raise ValueError(f"item_error is {self.item_error}; legal: above 0 points")


@dataclass(frozen=True, kw_only=True)
class Term:
    """One weighted cell of a contrast of more than two."""

    weight: float
    cell: str


Where = Literal["always", "apart"]


@dataclass(frozen=True, kw_only=True)
class Component:
    """A contrast in a file. where: `apart` stands only where the file's roles are bound to
    different suites.
    """

    contrast: Contrast
    where: Where


@dataclass(frozen=True, kw_only=True)
class Place:
    """Reads a file's words in the place of one sweep. suites: role -> its suite and margin; a role
    that is left out is a suite of its own name, with the file's margin.
    """

    suites: Mapping[str, Benchmark]
    _roles: dict[str, Role] = field(default_factory=dict)
    _claims: set[str] = field(default_factory=set)

    def words(self) -> dict[type, Words]:
        return {
            Role: Words(fields_of=Role, made=self.role),
            Component: Words(fields_of=Contrast, made=self.component, computed=("name", "weights")),
            Need: Words(fields_of=Need, made=self.need),
            Claim: Words(fields_of=Claim, made=self.claim, computed=("source",)),
        }

    def role(self, *, around: Mapping[str, Any], **fields: Any) -> Role:
        made = Role(**fields)
        if made.role in self._roles:
            raise ValueError(f"a second role {made.role!r}; legal: each once")
        self._roles[made.role] = made
        return made

    def component(
        self,
        *,
        around: Mapping[str, Any],
        suite: str = "",
        high: str = "",
        low: str = "",
        terms: tuple[Term, ...] = (),
        kind: ContrastKind | None = None,
        margin: float | None = None,
        where: Where = "always",
        published: float | None = None,
        **fields: Any,
    ) -> Component:
        """suite: a role, as are `against` and `outside`. high, low: cells, stages joined by ` > `;
        low is left out with `against`. terms: in their place, where there are more than two. kind:
        the claim's. margin: another than the role's, in points, or than the file's factor.
        """
        asked = Contrast(
            name="",
            suite=suite,
            weights=_weights(high, low, terms),
            # a claim without a kind is refused when it is whole
            kind=kind or _ASKS[around.get("kind", "greater")],
            margin=0.0,
            **fields,
        )
        if bool(high) == bool(terms):
            raise ValueError("a component has high and low, or terms; legal: one of these")
        if not (low or asked.against or terms) or (low and terms):
            raise ValueError("a component compares high with low; legal: a cell or `chance` as low")
        if terms and asked.measure != "score":
            raise ValueError(f"{asked.measure} is of losses; legal: high and low, without a suite")
        if margin is not None and not margin > 0:
            raise ValueError(f"margin is {margin}; legal: above 0")
        bound = replace(
            asked,
            suite=self._suite(suite),
            against=self._suite(asked.against),
            outside=self._suite(asked.outside),
        )
        if asked.measure != "score":
            factor = margin or around.get("ratio_margin", RATIO_MARGIN)
            size = math.log(factor) if factor > 0 else 0.0  # which the file is refused for
        else:
            size = self._benchmark(suite).margin if margin is None else margin / 100
        paper = self._roles[suite].name if suite else ""
        made = replace(
            bound,
            name=_sum(bound) if terms else _comparison(bound),
            margin=size,
            published=() if published is None else ((paper, published),),
        )
        return Component(contrast=made, where=where)

    def need(
        self, *, around: Mapping[str, Any], cell: str, suites: tuple[str, ...] = (), **fields: Any
    ) -> Need:
        """suites: roles."""
        bound = dict.fromkeys(self._suite(role) for role in suites)
        return Need(cell=cell_of(cell), suites=tuple(bound), **fields)

    def claim(
        self, *, around: Mapping[str, Any], components: tuple[Component, ...] = (), **fields: Any
    ) -> Claim:
        """Without a component that decides it has a reason, and no other has one."""
        made = Claim(
            components=self._each_once(components), source=around.get("source", ""), **fields
        )
        deciding = [each for each in components if each.contrast.part == "deciding"]
        if bool(deciding) == bool(made.reason):
            raise ValueError(
                f"claim {made.id} has {len(deciding)} deciding components and the reason "
                f"{made.reason!r}; legal: components, or a reason why there are none"
            )
        if made.id in self._claims:
            raise ValueError(f"a second claim {made.id!r}; legal: each once")
        self._claims.add(made.id)
        return made

    def _each_once(self, components: Iterable[Component]) -> tuple[Contrast, ...]:
        """Equal ones keep both benchmarks' numbers."""
        suites = {self._suite(role) for role in self._roles}
        found: dict[Contrast, tuple[tuple[str, float], ...]] = {}
        for each in components:
            if each.where == "apart" and len(suites) < len(self._roles):
                continue
            bare = replace(each.contrast, published=())
            found[bare] = (*found.get(bare, ()), *each.contrast.published)
        return tuple(replace(bare, published=numbers) for bare, numbers in found.items())

    def _suite(self, role: str) -> str:
        return self._benchmark(role).suite if role else ""

    def _benchmark(self, role: str) -> Benchmark:
        if role not in self._roles:
            listed = ", ".join(sorted(self._roles)) or "none yet, `suites` stands before `claims`"
            raise ValueError(f"no role {role!r}; legal: {listed}")
        own = Benchmark(suite=role, margin=self._roles[role].margin / 100)
        return self.suites.get(role, own)


def cell_of(text: str) -> Cell:
    """`CD:FLM > CD:MTF` as a lineage."""
    return CHANCE if text == CHANCE[0] else tuple(part.strip() for part in text.split(" > "))


def _weights(high: str, low: str, terms: Iterable[Term]) -> tuple[tuple[Cell, float], ...]:
    pair = [Term(weight=1.0, cell=high), *([Term(weight=-1.0, cell=low)] if low else ())]
    return tuple((cell_of(each.cell), each.weight) for each in terms or pair)


def _sum(asked: Contrast) -> str:
    return " ".join(f"{weight:+g} {label(cell)}" for cell, weight in asked.weights)


def _comparison(asked: Contrast) -> str:
    """How a contrast of high and low reads, without its suite."""
    sign = _SIGN[asked.kind]
    high, *low = (label(cell) for cell, _ in asked.weights)
    if not low:
        return f"{high}: its prompts {sign} the mean prompt of {asked.against}, shared tasks"
    text = f"{high} {sign} {low[0]}"
    match asked.measure:
        case "tokens_to_loss":
            last = "all tokens" if asked.counted == "total" else "tokens"
            return f"{last} to the loss: {text}"
        case "loss":
            return f"loss at equal tokens of the last stage: {text}"
        case "score":
            left = [f"tasks of {asked.outside}"] if asked.outside else []
            left += list(asked.without)
            if asked.matching == "flops":
                text = f"{text} at equal FLOPs"
            return f"{text} without {' and '.join(left)}" if left else text
