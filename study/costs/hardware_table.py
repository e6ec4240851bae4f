"""What `study plan --hardware` adds: hours of a card, and which cells fit it.

Owns the columns and the sentences. Hours are `study.costs.hardware`'s, fits `study.costs.fit`'s. No
torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from study.costs.fit import Fit, fits
from study.costs.hardware import USABLE, Hardware
from study.runs.plan import Sweep
from study.show.terminal import quantity, table


def hours(flops: int | None, *, on: Hardware) -> str:
    """A number of hours as people read it; empty where nothing is trained."""
    if not flops:
        return ""
    number = on.hours(flops)
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def as_json(sweep: Sweep, rows: list[dict[str, Any]], *, on: Hardware) -> dict[str, Any]:
    total = sum(row["flops"] or 0 for row in rows)
    return {
        "hardware": on.card.name,
        "mfu": on.mfu,
        "hours": on.hours(total),
        "fit": [each.as_json() for each in fits(sweep.runs, card=on.card)],
        "runs": [row | {"hours": on.hours(row["flops"] or 0)} for row in rows],
    }


def show(sweep: Sweep, *, flops: int, on: Hardware) -> None:
    """Print the hours of the whole plan, and the table of what fits."""
    card = on.card
    print(
        f"\n{hours(flops, on=on) or '0'} {card.name}-hours of training at {on.mfu:.0%} of "
        f"{card.flops / 1e12:,.0f} TFLOP/s ({card.source}); scoring is not counted"
    )
    found = fits(sweep.runs, card=card)
    if not found:
        return
    print(
        f"\nas declared on one {card.name} of {card.memory / 1e9:.0f} GB ({USABLE:.0%} of it "
        "planned for; one row a pass, activations recomputed):"
    )
    columns = ("parameters", "optimizer", "memory", "", "cards that hold it", "cells")
    table(columns, [_line(group) for group in _alike(found)])
    for sentence in _changes(found, card=card.name):
        print(sentence)


def _alike(found: Sequence[Fit]) -> list[list[Fit]]:
    """Cells of one size, optimiser and verdict, the most demanding first."""
    groups: dict[tuple[object, ...], list[Fit]] = {}
    for each in found:
        groups.setdefault((each.parameters, each.optimizer, each.cards, each.why), []).append(each)
    return [sorted(group, key=lambda each: -(each.bytes or 0)) for group in groups.values()]


def _line(group: Sequence[Fit]) -> tuple[str, ...]:
    first = group[0]
    verdict = "unknown" if first.bytes is None else "fits" if first.holds else "DOES NOT FIT"
    return (
        quantity(first.parameters),
        first.optimizer,
        "" if first.bytes is None else f"{first.bytes / 1e9:.1f} GB",
        verdict,
        ", ".join(first.cards) or first.why,
        ", ".join(dict.fromkeys(each.cell for each in sorted(group, key=lambda each: each.cell))),
    )


def _changes(found: Sequence[Fit], *, card: str) -> list[str]:
    """What a user can do about each cell that does not fit, once for cells that need the same."""
    sentences = []
    for group in _alike([each for each in found if each.bytes is not None and not each.holds]):
        first = group[0]
        assert first.bytes is not None
        cells = ", ".join(dict.fromkeys(each.cell for each in group))
        ways = [f"a card with more memory ({', '.join(first.cards)})"] if first.cards else []
        if first.optimizer != "AdamW":
            least = f"{first.optimizer} runs at ZeRO 0 only, so more ranks do not help. "
            shard = "AdamW, a declared change with another id,"
        else:
            least, shard = "", "the same optimiser"
        if first.instead is not None:
            ways.append(
                f"{shard} under ZeRO {first.instead.zero} on {first.instead.ranks} {card} "
                f"({first.instead.bytes / 1e9:.1f} GB each)"
            )
        sentences.append(
            f"{cells} ({quantity(first.parameters)}): weights and gradients in float32 alone are "
            f"{8 * first.parameters / 1e9:.0f} GB, the peak {first.bytes / 1e9:.1f} GB. {least}"
            f"Legal: {' or '.join(ways) or 'a smaller model'}"
        )
    return ["", *sentences] if sentences else []
