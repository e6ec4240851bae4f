"""What `study claims` prints: each claim, the runs it needs, whether the sweep has them, and its
verdict.

Owns the rows and their words. Needs come from `eval.needs`, verdicts from `eval.blocks`, and only
where a score is there; otherwise a claim is `not run`. No torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from eval.claims import Claim
from eval.needs import Needed, needed
from study import display
from study.run import Evaluation, Run, run_id
from study.store import State, Store

NOT_RUN = "not run"


@dataclass(frozen=True, kw_only=True)
class Item:
    """One need of a claim: what, the slugs that give it with their states, or why none does."""

    what: str
    runs: dict[str, State]
    missing: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """One claim at one model size. reason: why there is no verdict."""

    size: str
    claim: str
    text: str
    verdict: str
    reason: str
    needs: tuple[Item, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(each.missing for each in self.needs if each.missing)


def rows(claims: Sequence[Claim], runs: Sequence[Run], *, store: Store) -> list[Row]:
    """The checklist of every claim at every model size of the plan."""
    states = store.statuses(runs)
    found = needed(claims, runs)
    verdicts = _verdicts(claims, runs, states=states, store=store)
    return [
        Row(
            size=size,
            claim=claim.id,
            text=claim.text,
            verdict=verdicts.get((size, claim.id), (NOT_RUN, ""))[0],
            reason=verdicts.get((size, claim.id), (NOT_RUN, claim.reason))[1],
            needs=tuple(_item(each, states=states) for each in by_claim[claim.id]),
        )
        for size, by_claim in found.items()
        for claim in claims
        if claim.id in by_claim
    ]


def _item(each: Needed, *, states: Mapping[str, State]) -> Item:
    return Item(
        what=each.what,
        runs={run.slug: states[run_id(run)] for run in each.runs},
        missing=each.missing,
    )


def _verdicts(
    claims: Sequence[Claim],
    runs: Sequence[Run],
    *,
    states: Mapping[str, State],
    store: Store,
) -> dict[tuple[str, str], tuple[str, str]]:
    """(size, claim) -> (verdict, why there is none); empty where nothing was scored."""
    if not any(isinstance(run, Evaluation) and states[run_id(run)] == "done" for run in runs):
        return {}
    from eval.blocks import by_size
    from eval.panel import panels

    found = {}
    for block in by_size(panels(runs, store=store), tuple(claims)):
        for each in block.verdicts:
            told = f"{each.verdict} ({each.qualifier})" if each.qualifier else each.verdict
            found[block.name, each.claim.id] = (told, each.reason)
    return found


def show(
    claims: Sequence[Claim], runs: Sequence[Run], *, store: Store, every: bool, as_json: bool
) -> None:
    """Print the checklist. every: each need with its runs instead of counts."""
    found = rows(claims, runs, store=store)
    if as_json:
        print(json.dumps([asdict(row) for row in found], indent=1))
        return
    if every:
        _every(found)
    else:
        columns = ("size", "claim", "needs", "missing", "verdict", "")
        lines = [
            (
                row.size,
                row.claim,
                str(len(row.needs)),
                str(len(row.missing) or ""),
                row.verdict,
                row.text,
            )
            for row in found
        ]
        display.table(columns, lines)
    missing = dict.fromkeys(
        f"{row.size}: {row.claim}: {each}" for row in found for each in row.missing
    )
    if missing:
        print(f"\n{len(missing)} needs have no run in this sweep:")
        print("\n".join(missing))
    else:
        print("\nno run is missing")


def _every(found: Sequence[Row]) -> None:
    for row in found:
        print(f"{row.claim}  {row.text}  [{row.size}: {row.verdict}]")
        if row.verdict == NOT_RUN and row.reason:
            print(f"    {row.reason}")
        for each in row.needs:
            runs = ", ".join(f"{slug} ({state})" for slug, state in each.runs.items())
            print(f"    {each.what}: {runs or 'MISSING'}")
