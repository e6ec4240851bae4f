"""From estimates to verdicts: which claims are replicated, contradicted or underpowered.

Owns the decision rules, and which claims are corrected together; knows neither runs nor items. An
`Estimator` gives each contrast its value and error, so published tables and our own runs are
decided by one rule.

Rules, from the interval (low, high) of a contrast at its Holm level, with margin d:

    greater      replicated low > 0            contradicted high < d and not replicated
    positive     replicated low > 0            contradicted high < 0
    equivalent   replicated inside +-d         contradicted outside +-d
    not_greater  replicated high < d           contradicted low > 0

A claim is replicated when every contrast is (its p is their maximum), and contradicted when one
is, by Holm inside the claim. Holm runs over the claims that ran, one-sided at 0.025, each claim
entering with the smaller of its two p-values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from eval.claims.claim import Claim
from eval.evidence.contrast import ALPHA, LEAST_SEEDS, Contrast, Estimate, Estimator
from eval.evidence.statistics import Tested, holm

Decision = Literal["replicated", "contradicted", "underpowered"]
Pairs = Sequence[tuple[Contrast, Estimate]]


@dataclass(frozen=True, kw_only=True)
class ComponentVerdict:
    """One contrast. `low` and `high` are at the claim's Holm level; None where nothing ran."""

    contrast: Contrast
    estimate: Estimate | None
    low: float | None
    high: float | None
    verdict: str
    missing: str = ""


@dataclass(frozen=True, kw_only=True)
class ClaimVerdict:
    """verdict: `replicated`, `contradicted`, `underpowered`, `underpowered (N seeds)` or `not run`.

    p: the smaller of the two one-sided p-values, adjusted over the claims that ran. alpha: its
    level.
    """

    claim: Claim
    verdict: str
    qualifier: str
    p: float | None
    alpha: float
    components: tuple[ComponentVerdict, ...]

    @property
    def deciding(self) -> tuple[ComponentVerdict, ...]:
        return tuple(each for each in self.components if each.contrast.part == "deciding")

    @property
    def reason(self) -> str:
        """Why nothing ran."""
        missing = dict.fromkeys(each.missing for each in self.deciding if each.missing)
        return self.claim.reason or "; ".join(missing)


def decide(claims: Sequence[Claim], estimate: Estimator) -> tuple[ClaimVerdict, ...]:
    """The verdict of every claim, in order."""
    found = {
        claim.id: tuple(estimate(contrast) for contrast in claim.components) for claim in claims
    }
    ran = {claim.id: _deciding(claim, found[claim.id]) for claim in claims}
    p_values = {
        name: min(_p_replicated(pairs), _p_contradicted(pairs))
        for name, pairs in ran.items()
        if pairs and all(enough(one) for _, one in pairs)
    }
    tested = dict(zip(p_values, holm([*p_values.values()], alpha=ALPHA), strict=True))
    return tuple(
        _decide_one(
            claim,
            found[claim.id],
            tested=tested.get(claim.id),
            pairs=ran[claim.id],
        )
        for claim in claims
    )


def _deciding(claim: Claim, found: tuple[Estimate | str, ...]) -> Pairs:
    """The contrasts that decide, with their estimates; none where one of them has none."""
    pairs = [
        (contrast, one)
        for contrast, one in zip(claim.components, found, strict=True)
        if contrast.part == "deciding"
    ]
    whole = [(contrast, one) for contrast, one in pairs if isinstance(one, Estimate)]
    return whole if len(whole) == len(pairs) else []


def enough(estimate: Estimate) -> bool:
    """Whether so many seeds may decide; a published table has none to ask for."""
    return estimate.basis == "published, items only" or estimate.seeds >= LEAST_SEEDS


def p_values(contrast: Contrast, estimate: Estimate) -> tuple[float, float]:
    """One-sided (replicated, contradicted) p-values of a contrast."""
    margin = contrast.margin
    match contrast.kind:
        case "greater":
            return estimate.above(0.0), estimate.below(margin)
        case "positive":
            return estimate.above(0.0), estimate.below(0.0)
        case "equivalent":
            inside = max(estimate.above(-margin), estimate.below(margin))
            return inside, min(estimate.above(margin), estimate.below(-margin))
        case "not_greater":
            return estimate.below(margin), estimate.above(0.0)


def decision(contrast: Contrast, estimate: Estimate, alpha: float) -> Decision:
    """The rule table at one level. `greater` with a small certain effect counts as replicated."""
    if contrast.kind == "not_greater" and p_values(contrast, estimate)[1] < alpha:
        return "contradicted"
    if p_values(contrast, estimate)[0] < alpha:
        return "replicated"
    return "contradicted" if _contradicting(contrast, estimate) < alpha else "underpowered"


def _p_replicated(pairs: Pairs) -> float:
    return max(p_values(contrast, one)[0] for contrast, one in pairs)


def _p_contradicted(pairs: Pairs) -> float:
    """Holm inside the claim: the smallest p times the number of contrasts."""
    smallest = min(_contradicting(contrast, one) for contrast, one in pairs)
    return min(1.0, smallest * len(pairs))


def _contradicting(contrast: Contrast, estimate: Estimate) -> float:
    """A `greater` contrast that is surely above zero is negligible at most, never contradicted."""
    replicated, contradicted = p_values(contrast, estimate)
    return 1.0 if contrast.kind == "greater" and replicated < ALPHA else contradicted


def _decide_one(
    claim: Claim,
    found: tuple[Estimate | str, ...],
    *,
    tested: Tested | None,
    pairs: Pairs,
) -> ClaimVerdict:
    alpha = tested.level if tested else ALPHA
    components = tuple(
        _component(contrast, one, alpha)
        for contrast, one in zip(claim.components, found, strict=True)
    )
    verdict, qualifier = "not run", ""
    if tested:
        verdict, qualifier = _conjunction(pairs, alpha)
    elif pairs:
        verdict = few(min(one.seeds for _, one in pairs))
    return ClaimVerdict(
        claim=claim,
        verdict=verdict,
        qualifier=qualifier,
        p=tested.p if tested else None,
        alpha=alpha,
        components=components,
    )


def few(seeds: int) -> str:
    """The verdict of too few seeds."""
    return f"underpowered ({seeds} seed{'s' if seeds != 1 else ''})"


def _conjunction(pairs: Pairs, alpha: float) -> tuple[Decision, str]:
    if all(decision(contrast, one, alpha) == "replicated" for contrast, one in pairs):
        small = [
            contrast.kind == "greater" and one.interval(alpha)[1] < contrast.margin
            for contrast, one in pairs
        ]
        return "replicated", "negligible" if any(small) else ""
    if _p_contradicted(pairs) < alpha:
        reversed_ones = [
            contrast.kind in ("greater", "positive") and one.below(0.0) * len(pairs) < alpha
            for contrast, one in pairs
        ]
        if any(reversed_ones):
            return "contradicted", "reversed"
        floor = any(
            one.floor and _contradicting(contrast, one) * len(pairs) < alpha
            for contrast, one in pairs
        )
        return "contradicted", "at floor: its cells are at chance" if floor else ""
    return "underpowered", ""


def _component(contrast: Contrast, found: Estimate | str, alpha: float) -> ComponentVerdict:
    if isinstance(found, str):
        return ComponentVerdict(
            contrast=contrast, estimate=None, low=None, high=None, verdict="not run", missing=found
        )
    low, high = found.interval(alpha)
    verdict = decision(contrast, found, alpha) if enough(found) else few(found.seeds)
    return ComponentVerdict(contrast=contrast, estimate=found, low=low, high=high, verdict=verdict)
