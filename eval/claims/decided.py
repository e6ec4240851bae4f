"""The verdicts of a sweep's claims, one block for each model size.

Owns which verdicts stand together (Holm runs over the claims of one size), and what another view or
another end-of-sequence option makes of one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from eval.claims.evidence import Evidence
from eval.evidence import equal_flops, held_out
from eval.evidence.claims import Claim, of_size
from eval.evidence.panel import Panel
from eval.evidence.verdicts import ClaimVerdict, ComponentVerdict, decide
from eval.report import prose
from study.runs.cells import EXTERNAL
from study.runs.run import Run
from study.store.directory import Store

DECIDED = ("replicated", "contradicted")
POST_HOC = "post hoc"


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """verdict: of all views together. qualifier: what to know of it. equal_flops: the verdict at
    equal training FLOPs, or in words why there is none.
    """

    verdict: str
    qualifier: str
    equal_flops: str


@dataclass(frozen=True, kw_only=True)
class Block:
    """The claims as one model size decides them, under both end-of-sequence options and at equal
    FLOPs.

    spread: what the seeds' own variance is. post_hoc: claims (by id) that were not recorded before
    scores existed.
    """

    name: str
    verdicts: tuple[ClaimVerdict, ...]
    other_end: tuple[ClaimVerdict, ...]
    spread: str
    equal_flops: tuple[ClaimVerdict, ...] = ()
    post_hoc: frozenset[str] = frozenset()

    def resolved(self, found: ClaimVerdict) -> Resolved:
        """A verdict that another end-of-sequence option or another view overturns is none."""
        at_flops = _of(self.equal_flops, found)
        verdict, qualifier = self._verdict(found, at_flops)
        if found.claim.id in self.post_hoc and found.verdict != "not run":
            qualifier = f"{POST_HOC}; {qualifier}" if qualifier else POST_HOC
        return Resolved(verdict=verdict, qualifier=qualifier, equal_flops=_told(at_flops))

    def _verdict(self, found: ClaimVerdict, at_flops: ClaimVerdict | None) -> tuple[str, str]:
        other = _of(self.other_end, found)
        if other and found.verdict != other.verdict and {found.verdict, other.verdict} & {*DECIDED}:
            told = f"{found.verdict} as scored, {other.verdict} the other way round"
            return "scorer-dependent", told
        if at_flops and (turned := sign_differs(found, at_flops)):
            told = f"{found.verdict} at equal tokens, {at_flops.verdict} at equal FLOPs: {turned}"
            return "view-dependent", told
        return found.verdict, found.qualifier


def sign_differs(tokens: ClaimVerdict, flops: ClaimVerdict) -> str:
    """The contrast whose sign the view turns, "" where none is: one that is decided in one view and
    has its estimate on the other side of zero in the other, or verdicts that exclude each other.
    """
    if "not run" in (tokens.verdict, flops.verdict):
        return ""
    if not {tokens.verdict, flops.verdict} & {*DECIDED}:
        return ""
    for own, other in zip(tokens.deciding, flops.deciding, strict=True):
        if {own.verdict, other.verdict} == {*DECIDED} or _opposite(own, other):
            return own.contrast.name
    return ""


def _opposite(own: ComponentVerdict, other: ComponentVerdict) -> bool:
    if own.contrast.kind == "equivalent" or own.estimate is None or other.estimate is None:
        return False
    decided = {own.verdict, other.verdict} & {*DECIDED}
    return bool(decided) and own.estimate.value * other.estimate.value < 0


def _of(verdicts: Sequence[ClaimVerdict], found: ClaimVerdict) -> ClaimVerdict | None:
    return next((each for each in verdicts if each.claim.id == found.claim.id), None)


def _told(found: ClaimVerdict | None) -> str:
    if found is None:
        return "not computed"
    return found.reason or found.verdict if found.verdict == "not run" else found.verdict


def by_size(
    found: Sequence[Panel],
    claims: tuple[Claim, ...],
    *,
    runs: Iterable[Run] = (),
    store: Store | None = None,
    post_hoc: Collection[str] = (),
) -> list[Block]:
    """The claims as each model size decides them; no block without claims.

    runs, store: where held-out losses are read from; without a store there are none.
    """
    if not claims:
        return []
    curves = held_out.read(runs, store=store) if store else []
    sizes = dict.fromkeys(panel.size for panel in found if panel.size != EXTERNAL)
    sizes |= dict.fromkeys(curve.size for curve in curves)
    blocks = []
    for size in sizes or {"": None}:
        own = {panel.suite: panel for panel in found if panel.size == size}
        evidence = Evidence(
            panels=own,
            curves=[curve for curve in curves if curve.size == size],
            spent={suite: equal_flops.spent(panel, store=store) for suite, panel in own.items()},
        )
        about = of_size(claims, size)
        first = decide(about, evidence)
        evidence = replace(evidence, decided=sum(1 for each in first if each.p is not None))
        blocks.append(
            Block(
                name=size,
                verdicts=decide(about, evidence),
                other_end=decide(about, replace(evidence, end="other")),
                equal_flops=decide(about, replace(evidence, view="flops")),
                spread=prose.spread(own),
                post_hoc=frozenset(post_hoc),
            )
        )
    return blocks
