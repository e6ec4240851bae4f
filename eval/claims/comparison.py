"""A contrast as people read it: effect and interval in its own unit, the paper's number, and what
more data would decide it.

Owns those words, which `study claims` and the report share; decides nothing. No torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from eval.claims.verdicts import ClaimVerdict, ComponentVerdict, p_values
from eval.evidence.contrast import Measure
from eval.evidence.statistics import more


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One contrast as it was decided. effect, low, high: in the measure's own unit (a score in
    [0, 1] or another number, a log of tokens, nats), None where nothing ran; low and high at the
    claim's level, None too where a side has no bound. more: what would decide it, in words, where
    it is undecided.
    """

    name: str
    suite: str
    measure: Measure | Literal["number"]
    part: str
    published: tuple[tuple[str, float], ...]
    margin: float
    verdict: str
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    seeds: int | None = None
    minimum_effect: float | None = None
    note: str = ""
    more: str = ""


def depends_on(found: ClaimVerdict) -> ComponentVerdict | None:
    """The contrast that most surely contradicts a contradicted claim, else the one that is furthest
    from being replicated; None where nothing ran.
    """
    ran = [each for each in found.deciding if each.estimate is not None]
    if not ran:
        return None
    side = 1 if found.verdict == "contradicted" else 0

    def p(each: ComponentVerdict) -> float:
        assert each.estimate is not None
        return p_values(each.contrast, each.estimate)[side]

    return min(ran, key=p) if side else max(ran, key=p)


def compare(found: ComponentVerdict, *, alpha: float) -> Comparison:
    """One contrast with what more data it needs. alpha: the claim's one-sided level."""
    contrast, estimate = found.contrast, found.estimate
    fields: dict[str, Any] = {}
    if estimate is not None:
        open_still = found.verdict.startswith("underpowered")
        fields = {
            "effect": estimate.value,
            "low": _finite(found.low),
            "high": _finite(found.high),
            "seeds": estimate.seeds,
            "minimum_effect": estimate.minimum_effect,
            "more": more(contrast, estimate, alpha=alpha).describe(estimate) if open_still else "",
        }
    return Comparison(
        name=contrast.name,
        suite=contrast.suite,
        measure=contrast.measure if estimate is None or estimate.is_share else "number",
        part=contrast.part,
        published=contrast.published,
        margin=contrast.margin,
        verdict=found.verdict,
        note=found.missing if estimate is None else estimate.note,
        **fields,
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def amount(value: float, measure: Measure | Literal["number"]) -> str:
    """A number of a contrast as people read it: points, a score that is no share, a factor of
    tokens, or nats.
    """
    match measure:
        case "number":
            return f"{value:+.3f}"
        case "score":
            return f"{100 * value:+.1f}"
        case "tokens_to_loss":
            return f"x{math.exp(value):.2f}"
        case "loss":
            return f"{value:+.3f} nats"


def interval(each: Comparison) -> str:
    """`+1.0 to +9.8`, with a dash for a side that has no bound."""
    if each.effect is None:
        return "–"
    sides = ("–" if one is None else amount(one, each.measure) for one in (each.low, each.high))
    return " to ".join(sides)


def effect(each: Comparison) -> str:
    """`+5.4 [+1.0 to +9.8]`; empty where nothing ran."""
    if each.effect is None:
        return ""
    return f"{amount(each.effect, each.measure)} [{interval(each)}]"


def size(value: float | None, measure: Measure | Literal["number"]) -> str:
    """A size without a sign, such as a margin."""
    if value is None:
        return "–"
    return amount(value, measure).removeprefix("+")


def paper_number(each: Comparison) -> str:
    """What the paper states, by benchmark."""
    factor = each.measure == "tokens_to_loss"
    return "; ".join(
        f"{name} {number:+.1f}".strip() if not factor else f"x{number:g}"
        for name, number in each.published
    )
