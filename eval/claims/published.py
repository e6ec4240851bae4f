"""`study claims` without a sweep: a claims file with its paper's numbers, and what these decide.

Owns that table, and the published numbers as an estimator: they have no seeds, so only the number
of items gives an error, and cells count as independent; verdicts are labelled so. No torch.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from eval.claims import files
from eval.claims.claim import digest
from eval.claims.comparison import Comparison, compare, effect, paper_number
from eval.claims.files import File
from eval.claims.verdicts import ClaimVerdict, decide
from eval.evidence.contrast import CHANCE, Contrast, Estimate
from study.show import terminal


def show(name: str | Path, *, every: bool, as_json: bool) -> None:
    """Print the claims of a file. every: each contrast instead of the count."""
    file = files.read(name)
    found = decide(file.claims, AsPublished(file=file))
    if as_json:
        print(json.dumps([_as_json(each) for each in found], indent=1))
        return
    if every:
        for each in found:
            print(f"{each.claim.id}  {each.claim.text}  [{each.claim.kind}: {_as_published(each)}]")
            for one in _contrasts(each):
                number = paper_number(one) or "no number"
                print(f"    {one.name}: {number}; {effect(one) or one.note}; {one.verdict}")
    else:
        head = ("claim", "kind", "contrasts", "the paper's numbers", "as published", "")
        terminal.table(head, [_line(each) for each in found])
    print(f"\n{file.source}: {len(file.claims)} claims, digest {digest(file.claims)[:16]}")
    if any(each.item_error for each in file.suites):
        print("as published: by the published table alone, with the error of its items")


def _contrasts(found: ClaimVerdict) -> list[Comparison]:
    return [compare(each, alpha=found.alpha) for each in found.components]


def _as_published(found: ClaimVerdict) -> str:
    return found.verdict if found.p is None else f"{found.verdict}, p {found.p:.2g}"


def _line(found: ClaimVerdict) -> tuple[str, ...]:
    numbers = [paper_number(each) for each in _contrasts(found)]
    listed = [each for each in numbers if each]
    short = "; ".join(listed[:3]) + (f"; and {len(listed) - 3} more" if len(listed) > 3 else "")
    number = str(len(found.claim.deciding))
    claim = found.claim
    return (claim.id, claim.kind, number, short, _as_published(found), claim.text)


def _as_json(found: ClaimVerdict) -> dict:
    return asdict(found.claim) | {
        "digest": digest((found.claim,)),
        "as_published": {
            "verdict": found.verdict,
            "p": found.p,
            "reason": found.reason if found.verdict == "not run" else "",
            "components": [asdict(each) for each in _contrasts(found)],
        },
    }


@dataclass(frozen=True, kw_only=True)
class AsPublished:
    """An `eval.evidence.contrast.Estimator` for claims whose suites are the file's own roles."""

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
