"""Which claims were declared before there was anything to decide them by.

Owns what a claim's declaration is (the digest of its data, suites and margins included) and which
runs it looks at. `study.store.declared` keeps the records. No torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from eval.evidence.claims import Claim, digest
from study.runs.run import Evaluation, Run, Trained
from study.store import declared
from study.store.directory import Store


def post_hoc(claims: Sequence[Claim], runs: Sequence[Run], *, store: Store) -> frozenset[str]:
    """Ids of the claims that were recorded after the first run that they look at was sealed, or
    not at all while one is.
    """
    return frozenset(
        claim.id
        for claim in claims
        if declared.post_hoc(digest((claim,)), _looked_at(claim, runs), store=store)
    )


def _looked_at(claim: Claim, runs: Iterable[Run]) -> list[Run]:
    """Scores on the claim's suites; where it measures losses, every training run."""
    suites = {name for each in claim.components for name in (each.suite, each.against) if name}
    losses = any(each.measure != "score" for each in claim.components)
    return [
        run
        for run in runs
        if (isinstance(run, Evaluation) and run.suite.name in suites)
        or (losses and isinstance(run, Trained))
    ]
