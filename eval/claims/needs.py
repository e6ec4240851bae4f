"""What claims need to be run, and whether a plan declares it.

Owns the comparison of claims with declared runs, one model size at a time; decides nothing. Reads
no file. No torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from eval.claims.claim import Claim, Need, of_size
from eval.evidence.budgets import CLOSE, matched
from eval.evidence.contrast import CHANCE, Contrast
from study.runs.cells import EXTERNAL, Cell, Naming, label
from study.runs.node import Evaluation, Run, Trained, data_of, root
from study.runs.suite import Suite


@dataclass(frozen=True, kw_only=True)
class Needed:
    """One thing that a claim needs. runs: what of the plan gives it, none where it is missing."""

    what: str
    runs: tuple[Run, ...]
    missing: str = ""


class Declared:
    """The cells that one model size of a plan declares."""

    def __init__(self, runs: Iterable[Run], *, naming: Naming, size: str) -> None:
        self._scores: dict[tuple[str, Cell], dict[int, list[Evaluation]]] = {}
        self._curves: dict[Cell, list[Trained]] = {}
        for run in runs:
            subject = run.run if isinstance(run, Evaluation) else run
            if not isinstance(subject, Trained) or naming.size(subject) != size:
                continue
            if isinstance(run, Evaluation):
                key = naming.key(subject, run.step)
                by_tokens = self._scores.setdefault((run.suite.name, key.name), {})
                by_tokens.setdefault(key.tokens, []).append(run)
            elif _has_curve(subject):
                name = naming.key(subject, subject.training.steps).name
                self._curves.setdefault(name, []).append(subject)

    def needed(self, claim: Claim) -> list[Needed]:
        """Everything that a claim needs, each once."""
        found = [each for contrast in claim.components for each in self._of_contrast(contrast)]
        found += [self._of_need(need) for need in claim.needs]
        return list({each.what: each for each in found}.values())

    def _of_contrast(self, contrast: Contrast) -> list[Needed]:
        cells = [cell for cell, _ in contrast.weights if cell != CHANCE]
        if contrast.measure != "score":
            return [self._of_need(Need(cell=cell, evidence="curve")) for cell in cells]
        if contrast.against:
            suites = tuple(dict.fromkeys((contrast.suite, contrast.against)))
            wanted = [Need(cell=cell, evidence="prompts", suites=suites) for cell in cells]
            return [self._of_need(need) for need in wanted]
        suite = contrast.suite
        what = {cell: f"{label(cell)} on {suite}" for cell in cells}
        scores = {cell: self._scores.get((suite, cell), {}) for cell in what}
        if lacking := [cell for cell in what if not scores[cell]]:
            return [_missing(what[cell], f"no scores of {what[cell]}") for cell in lacking]
        if contrast.matching == "flops":
            every = {
                cell: [run for each in scores[cell].values() for run in each] for cell in cells
            }
            return [
                Needed(what=f"{what[cell]} at every budget", runs=tuple(every[cell]))
                for cell in cells
            ]
        found = matched(contrast, lambda cell: sorted(scores[cell]))
        if isinstance(found, str):
            name = f"{contrast.name} on {suite}"
            return [_missing(name, f"{name}: {found}")]
        own = {cell: sorted(scores[cell])[contrast.budget] for cell in what}
        meant = _meant(contrast, own)
        needed = []
        for cell, tokens in found.tokens.items():
            at = f"{what[cell]} at {_billions(meant.get(cell, tokens))}"
            if abs(own[cell] - meant.get(cell, own[cell])) > CLOSE * own[cell]:
                needed.append(_missing(at, f"no scores of {at}"))
            else:
                needed.append(Needed(what=at, runs=tuple(scores[cell][own[cell]])))
        return needed

    def _of_need(self, need: Need) -> Needed:
        match need.evidence:
            case "curve":
                what = f"held-out losses of {label(need.cell)}"
                runs = tuple(self._curves.get(need.cell, ()))
                return Needed(what=what, runs=runs, missing="" if runs else f"no {what}")
            case "prompts":
                return self._of_prompts(need)

    def _of_prompts(self, need: Need) -> Needed:
        suites = " and ".join(need.suites)
        what = f"prompts of {label(need.cell)} on {suites}"
        if len(need.suites) < 2:
            return _missing(what, f"{what}: two prompt sets are compared, this is one")
        by_suite = [self._scores.get((suite, need.cell), {}) for suite in need.suites]
        common = set.intersection(*(set(each) for each in by_suite))
        if not common:
            return _missing(what, f"no {what} at one budget")
        runs = tuple(run for each in by_suite for run in each[max(common)])
        if not _shared({run.suite.name: run.suite for run in runs}):
            return _missing(what, f"{suites} share no task")
        return Needed(what=what, runs=runs)


def _meant(contrast: Contrast, own: Mapping[Cell, int]) -> dict[Cell, int]:
    """The budget at which a claim means each cell: the largest (or smallest) that any of them has
    at its place. A verdict falls back to a budget that all have; a plan should not have to.
    """
    if contrast.matching == "unequal":
        return dict(own)
    furthest = max if contrast.budget < 0 else min
    return dict.fromkeys(own, furthest(own.values()))


def _missing(what: str, why: str) -> Needed:
    return Needed(what=what, runs=(), missing=why)


def _billions(tokens: int) -> str:
    return f"{tokens / 1e9:.3g} B tokens"


def _has_curve(run: Trained) -> bool:
    return data_of(root(run)).holds_out


def _shared(suites: Mapping[str, Suite]) -> set[str]:
    """Tasks that all suites have, by name."""
    return set.intersection(*({task.name for task in suite.tasks} for suite in suites.values()))


def needed(claims: Sequence[Claim], runs: Iterable[Run]) -> dict[str, dict[str, list[Needed]]]:
    """size -> claim -> what it needs of this plan at that size."""
    runs = tuple(runs)
    naming = Naming(runs)
    subjects = (run.run if isinstance(run, Evaluation) else run for run in runs)
    sizes = dict.fromkeys(naming.size(each) for each in subjects if isinstance(each, Trained))
    return {
        size: {claim.id: declared.needed(claim) for claim in of_size(claims, size)}
        for size in sizes
        if size != EXTERNAL
        for declared in (Declared(runs, naming=naming, size=size),)
    }
