"""A claims file's own numbers as an estimator: what its paper's published table decides.

Owns that estimate. Published scores have no seeds, so only the number of items gives an error, and
cells count as independent; verdicts are labelled so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from eval.claims.files import File
from eval.evidence.claims import CHANCE, Contrast
from eval.evidence.verdicts import Estimate


@dataclass(frozen=True, kw_only=True)
class AsPublished:
    """An `eval.evidence.verdicts.Estimator` for claims whose suites are the file's own roles."""

    file: File

    def __call__(self, contrast: Contrast) -> Estimate | str:
        if contrast.measure != "score":
            return "the paper states no error of it"
        if not contrast.published:
            return "the paper gives no number"
        role = self.file.roles()[contrast.suite]
        if role.item_error is None:
            return f"no error of a published difference on {role.name}"
        ((_, number),) = contrast.published
        against_chance = any(cell == CHANCE for cell, _ in contrast.weights)
        error = role.item_error / 100 / (math.sqrt(2) if against_chance else 1)
        return Estimate(
            value=number / 100,
            standard_error=error,
            degrees=math.inf,
            seeds=1,
            basis="published, items only",
            item_variance=error**2,
        )
