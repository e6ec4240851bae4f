"""The verdicts of a sweep's claims, one block for each model size.

Owns which verdicts stand together (Holm runs over the claims of one size), and what another view or
the other option of the scoring rule makes of one.

Owns which estimator serves which contrast, as the one that claims are decided by: scores
(`eval.evidence.estimates`), scores at equal FLOPs (`eval.evidence.equal_flops`), parts of suites
(`eval.evidence.subpanels`), held-out losses (`eval.evidence.speedups`). An estimate at equal tokens
says how unequal its cells are in FLOPs, parameters and loss tokens.

Owns what a claim's declaration is (the digest of its data, suites and margins included) and which
runs it looks at, so that it is known which were declared before there was anything to decide them
by; `study.store.declared` keeps the records. No torch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from eval.claims.claim import Claim, digest, of_size
from eval.claims.verdicts import ClaimVerdict, ComponentVerdict, decide
from eval.evidence import equal_flops, held_out, speedups, subpanels
from eval.evidence.contrast import Contrast, Estimate
from eval.evidence.equal_flops import AtEqualFlops, Spent
from eval.evidence.estimates import OwnRuns
from eval.evidence.held_out import HeldOut
from eval.evidence.panel import Panel
from eval.evidence.task_scores import Option
from eval.report import prose
from study.runs.cells import EXTERNAL, CellKey
from study.runs.node import Evaluation, Run, Trained
from study.store import declared
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
    """The claims as one model size decides them, under both options of the scoring rule and at
    equal FLOPs.

    spread: what the seeds' own variance is. post_hoc: claims (by id) that were not recorded before
    scores existed.
    """

    name: str
    verdicts: tuple[ClaimVerdict, ...]
    other_option: tuple[ClaimVerdict, ...]
    spread: str
    equal_flops: tuple[ClaimVerdict, ...] = ()
    post_hoc: frozenset[str] = frozenset()

    def resolved(self, found: ClaimVerdict) -> Resolved:
        """A verdict that the other option or another view overturns is none."""
        at_flops = _of(self.equal_flops, found)
        verdict, qualifier = self._verdict(found, at_flops)
        if found.claim.id in self.post_hoc and found.verdict != "not run":
            qualifier = f"{POST_HOC}; {qualifier}" if qualifier else POST_HOC
        return Resolved(
            verdict=verdict, qualifier=qualifier, equal_flops=_verdict_at_flops(at_flops)
        )

    def _verdict(self, found: ClaimVerdict, at_flops: ClaimVerdict | None) -> tuple[str, str]:
        other = _of(self.other_option, found)
        if other and found.verdict != other.verdict and {found.verdict, other.verdict} & {*DECIDED}:
            text = f"{found.verdict} as scored, {other.verdict} the other way round"
            return "scorer-dependent", text
        if at_flops and (turned := sign_differs(found, at_flops)):
            text = f"{found.verdict} at equal tokens, {at_flops.verdict} at equal FLOPs: {turned}"
            return "view-dependent", text
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


def _verdict_at_flops(found: ClaimVerdict | None) -> str:
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
                other_option=decide(about, replace(evidence, option="other")),
                equal_flops=decide(about, replace(evidence, view="flops")),
                spread=prose.spread(own),
                post_hoc=frozenset(post_hoc),
            )
        )
    return blocks


View = Literal["tokens", "flops"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """An `eval.evidence.contrast.Estimator` over everything of one model size.

    panels: by suite. curves: of this size. spent: by suite, what each cell took. decided: how many
    claims Holm runs over, for the minimum detectable effect. option: of the scoring rule.
    """

    panels: Mapping[str, Panel]
    curves: Sequence[HeldOut] = ()
    spent: Mapping[str, Mapping[CellKey, Spent]] = field(default_factory=dict)
    decided: int = 1
    option: Option = "own"
    view: View = "tokens"
    _parts: dict[tuple, Panel | str] = field(default_factory=dict)

    def __call__(self, contrast: Contrast) -> Estimate | str:
        if contrast.measure != "score":
            return speedups.estimate(
                contrast, self.curves, unit=self.view, decided=max(self.decided, 1)
            )
        panel = self._panel(contrast)
        if isinstance(panel, str):
            return panel
        taken = self.spent.get(contrast.suite, {})
        if self.view == "flops" or contrast.matching == "flops":
            estimator = AtEqualFlops(
                {contrast.suite: panel}, spent={contrast.suite: taken}, decided=self.decided
            )
            return self._without_floor(estimator(contrast), contrast)
        found = OwnRuns({contrast.suite: panel}, decided=self.decided, option=self.option)(contrast)
        if isinstance(found, Estimate) and (unequal := equal_flops.ratios(contrast, panel, taken)):
            note = "; ".join(part for part in (found.note, unequal.description) if part)
            found = replace(found, note=note)
        return self._without_floor(found, contrast)

    def _without_floor(self, found: Estimate | str, contrast: Contrast) -> Estimate | str:
        """A difference of prompts is no score, so that it is small says nothing of chance."""
        if isinstance(found, Estimate) and contrast.against:
            return replace(found, floor=False)
        return found

    def _panel(self, contrast: Contrast) -> Panel | str:
        """Each part of a suite is made once, since its bootstraps are kept by object."""
        key = (contrast.suite, contrast.against, contrast.outside, contrast.without)
        if key not in self._parts:
            self._parts[key] = subpanels.panel_for(contrast, self.panels)
        return self._parts[key]


def post_hoc(claims: Sequence[Claim], runs: Sequence[Run], *, store: Store) -> frozenset[str]:
    """Ids of the claims that were recorded after the first run that they look at was sealed, or
    not at all while one is.
    """
    return frozenset(
        claim.id
        for claim in claims
        if declared.post_hoc(digest((claim,)), _runs_of(claim, runs), store=store)
    )


def _runs_of(claim: Claim, runs: Iterable[Run]) -> list[Run]:
    """Scores on the claim's suites; where it measures losses, every training run."""
    suites = {name for each in claim.components for name in (each.suite, each.against) if name}
    losses = any(each.measure != "score" for each in claim.components)
    return [
        run
        for run in runs
        if (isinstance(run, Evaluation) and run.suite.name in suites)
        or (losses and isinstance(run, Trained))
    ]
