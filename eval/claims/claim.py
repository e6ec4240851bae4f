"""A claim as data: declared before scoring, decided by `eval.claims.verdicts`, printed with its
digest.

Owns the vocabulary over contrasts (`eval.evidence.contrast`). Imports nothing heavy, since sweeps
import it. The claims themselves are files (`eval.claims.files`), and another paper's are another
file. Whether a sweep declares what they need is `eval.claims.needs`' question.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from eval.evidence.contrast import CHANCE, Contrast
from study.runs.cells import Cell
from study.store import declared

ClaimKind = Literal["greater", "equivalent", "not_greater", "interaction", "order", "ratio"]


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

    source: whose claim it is. sizes: the model sizes that it is about, as `study.runs.cells` names
    them; empty for every size.
    """

    id: str
    text: str
    kind: ClaimKind
    components: tuple[Contrast, ...]
    needs: tuple[Need, ...] = ()
    reason: str = ""
    source: str = ""
    sizes: tuple[str, ...] = ()

    @property
    def deciding(self) -> tuple[Contrast, ...]:
        return tuple(each for each in self.components if each.part == "deciding")


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A suite's name and the margin below which a difference on it does not matter."""

    suite: str
    margin: float


def digest(claims: Iterable[Claim]) -> str:
    """sha256 over the claims as data: two reports with one digest decided the same claims."""
    return declared.digest(claims)


def of_size(claims: Iterable[Claim], size: str) -> tuple[Claim, ...]:
    """The claims that are about this model size."""
    return tuple(claim for claim in claims if not claim.sizes or size in claim.sizes)


def margin_of(claims: Iterable[Claim], suite: str) -> float | None:
    """The smallest margin that the claims name for a suite; None where none compares its cells."""
    return min(
        (
            contrast.margin
            for claim in claims
            for contrast in claim.components
            if contrast.suite == suite and all(cell != CHANCE for cell, _ in contrast.weights)
        ),
        default=None,
    )
