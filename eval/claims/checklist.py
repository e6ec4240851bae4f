"""What `study claims` prints: each claim, its verdict with effect and interval, the runs it needs,
and what more data would decide it. Without a sweep, the claims with the paper's own numbers.

Owns the rows and their words. Needs come from `eval.claims.needs`, verdicts from
`eval.claims.decided`, and only where a run is done; otherwise a claim is `not run`. No torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from eval.claims.claim import Claim, digest
from eval.claims.comparison import Comparison, compare, depends_on, effect
from eval.claims.needs import Needed, needed
from study.runs.node import Evaluation, Run, Trained
from study.show import terminal
from study.store.directory import State, Store

NOT_RUN = "not run"


@dataclass(frozen=True, kw_only=True)
class Item:
    """One need of a claim: what, the slugs that give it with their states, or why none does."""

    what: str
    runs: dict[str, State]
    missing: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """One claim at one model size. reason: why there is no verdict. equal_flops: the verdict at
    equal training FLOPs, or why there is none. weakest: the contrast on which the verdict hangs.
    """

    size: str
    claim: str
    text: str
    source: str
    digest: str
    verdict: str
    qualifier: str
    post_hoc: bool
    p: float | None
    equal_flops: str
    reason: str
    weakest: Comparison | None
    components: tuple[Comparison, ...]
    needs: tuple[Item, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(each.missing for each in self.needs if each.missing)


def rows(claims: Sequence[Claim], runs: Sequence[Run], *, store: Store) -> list[Row]:
    """The checklist of every claim at every model size of the plan."""
    states = store.statuses(runs)
    verdicts = _verdicts(claims, runs, states=states, store=store)
    found = []
    for size, by_claim in needed(claims, runs).items():
        for claim in claims:
            if claim.id not in by_claim:
                continue
            needs = tuple(_item(each, states=states) for each in by_claim[claim.id])
            fields = verdicts.get((size, claim.id), _nothing(claim))
            found.append(
                Row(
                    size=size,
                    claim=claim.id,
                    text=claim.text,
                    source=claim.source,
                    digest=digest((claim,)),
                    needs=needs,
                    **fields,
                )
            )
    return found


def _item(each: Needed, *, states: Mapping[str, State]) -> Item:
    return Item(
        what=each.what,
        runs={run.slug: states[run.id] for run in each.runs},
        missing=each.missing,
    )


def _nothing(claim: Claim) -> dict[str, Any]:
    return {
        "verdict": NOT_RUN,
        "qualifier": "",
        "post_hoc": False,
        "p": None,
        "equal_flops": "not computed",
        "reason": claim.reason,
        "weakest": None,
        "components": (),
    }


def _verdicts(
    claims: Sequence[Claim],
    runs: Sequence[Run],
    *,
    states: Mapping[str, State],
    store: Store,
) -> dict[tuple[str, str], dict[str, Any]]:
    """(size, claim) -> the row's fields that a verdict has; empty where nothing is done."""
    kinds = (Evaluation, Trained)
    if not any(isinstance(run, kinds) and states[run.id] == "done" for run in runs):
        return {}
    from eval.claims.decided import by_size, post_hoc
    from eval.evidence.panel import panels

    late = post_hoc(claims, runs, store=store)
    found = {}
    blocks = by_size(
        panels(runs, store=store), tuple(claims), runs=runs, store=store, post_hoc=late
    )
    for block in blocks:
        for each in block.verdicts:
            final = block.resolved(each)
            made = {one: compare(one, alpha=each.alpha) for one in each.components}
            weakest = depends_on(each)
            found[block.name, each.claim.id] = {
                "verdict": final.verdict,
                "qualifier": final.qualifier,
                "post_hoc": each.claim.id in late,
                "p": each.p,
                "equal_flops": final.equal_flops,
                "reason": each.reason if each.verdict == NOT_RUN else "",
                "weakest": made[weakest] if weakest else None,
                "components": tuple(made.values()),
            }
    return found


def show(
    claims: Sequence[Claim], runs: Sequence[Run], *, store: Store, every: bool, as_json: bool
) -> None:
    """Print the checklist. every: each contrast, and each need with its runs, instead of counts."""
    found = rows(claims, runs, store=store)
    if as_json:
        print(json.dumps([asdict(row) for row in found], indent=1))
        return
    if every:
        _every(found)
    else:
        head = ("size", "claim", "verdict", "effect [interval]", "needs", "missing", "")
        terminal.table(head, [_short(row) for row in found])
    undecided = [row for row in found if row.weakest and row.weakest.more]
    if undecided:
        print(f"\n{len(undecided)} claims need more to find an effect as large as their margin:")
        for row in undecided:
            assert row.weakest is not None
            print(f"{row.size}: {row.claim}: {row.weakest.more}, for {row.weakest.name}")
    missing = dict.fromkeys(
        f"{row.size}: {row.claim}: {each}" for row in found for each in row.missing
    )
    if missing:
        print(f"\n{len(missing)} needs have no run in this sweep:")
        print("\n".join(missing))
    else:
        print("\nno run is missing")


def _short(row: Row) -> tuple[str, ...]:
    return (
        row.size,
        row.claim,
        _verdict(row),
        effect(row.weakest) if row.weakest else "",
        str(len(row.needs)),
        str(len(row.missing) or ""),
        row.text,
    )


def _verdict(row: Row) -> str:
    return f"{row.verdict} ({row.qualifier})" if row.qualifier else row.verdict


def _every(found: Sequence[Row]) -> None:
    for row in found:
        print(f"{row.claim}  {row.text}  [{row.size}: {_verdict(row)}]")
        if row.verdict == NOT_RUN and row.reason:
            print(f"    {row.reason}")
        elif row.verdict != NOT_RUN:
            print(f"    at equal FLOPs: {row.equal_flops}")
        for each in row.components:
            parts = (effect(each), each.suite, each.verdict, each.note, each.more)
            shown = " (shown, does not decide)" if each.part == "shown" else ""
            print(f"    {each.name}{shown}: {'; '.join(part for part in parts if part)}")
        for each in row.needs:
            runs = ", ".join(f"{slug} ({state})" for slug, state in each.runs.items())
            print(f"    {each.what}: {runs or 'MISSING'}")
