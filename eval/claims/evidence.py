"""What a sweep has found, as the one estimator that claims are decided by.

Owns which estimator serves which contrast: scores (`eval.evidence.estimates`), scores at equal
FLOPs (`eval.evidence.equal_flops`), parts of suites (`eval.evidence.subpanels`), held-out losses
(`eval.evidence.speedups`). An estimate at equal tokens says how unequal its cells are in FLOPs,
parameters and loss tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from eval.evidence import equal_flops, speedups, subpanels
from eval.evidence.claims import Contrast
from eval.evidence.equal_flops import AtEqualFlops, Spent
from eval.evidence.estimates import OwnRuns
from eval.evidence.held_out import HeldOut
from eval.evidence.panel import End, Panel
from eval.evidence.verdicts import Estimate
from study.runs.cells import CellKey

View = Literal["tokens", "flops"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """An `eval.evidence.verdicts.Estimator` over everything of one model size.

    panels: by suite. curves: of this size. spent: by suite, what each cell took. decided: how many
    claims Holm runs over, for the minimum detectable effect. end: the end-of-sequence option.
    """

    panels: Mapping[str, Panel]
    curves: Sequence[HeldOut] = ()
    spent: Mapping[str, Mapping[CellKey, Spent]] = field(default_factory=dict)
    decided: int = 1
    end: End = "own"
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
            return self._told(estimator(contrast), contrast)
        found = OwnRuns({contrast.suite: panel}, decided=self.decided, end=self.end)(contrast)
        if isinstance(found, Estimate) and (unequal := equal_flops.ratios(contrast, panel, taken)):
            note = "; ".join(part for part in (found.note, unequal.told) if part)
            found = replace(found, note=note)
        return self._told(found, contrast)

    def _told(self, found: Estimate | str, contrast: Contrast) -> Estimate | str:
        """A difference of prompts is no score, so that it is small says nothing of chance."""
        if isinstance(found, Estimate) and contrast.against:
            return replace(found, floor=False)
        return found

    def _panel(self, contrast: Contrast) -> Panel | str:
        """Each part of a suite is made once, since its bootstraps are kept by object."""
        key = (contrast.suite, contrast.against, contrast.outside, contrast.without)
        if key not in self._parts:
            self._parts[key] = subpanels.asked(contrast, self.panels)
        return self._parts[key]
