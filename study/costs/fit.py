"""Which cells of a plan fit a card as declared, and what would have to change where one does not.

Owns the question, asked with the least memory that changes no result: one row a pass, activations
recomputed. Adafactor and Muon read whole matrices, so they run at ZeRO 0, where more ranks do not
help; what is offered instead is a card with more memory, or AdamW under ZeRO, which is another run
with another id. Owns the columns and sentences of `study plan --hardware` too. Bytes are
`study.costs.memory`'s, hours `study.costs.hardware`'s. No torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from study.costs.hardware import CARDS, USABLE, Card, Hardware
from study.costs.memory import Zero, forecast
from study.runs.cells import Naming
from study.runs.domain import cost, kinds
from study.runs.node import Run, Trained, stages
from study.runs.plan import Sweep
from study.runs.training import AdamW
from study.show.terminal import quantity, table

RANKS = (1, 2, 4, 8, 16, 32, 64)
SHARDED: tuple[Zero, ...] = (1, 2, 3)
_ADAMW = AdamW(learning_rate=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.0)


@dataclass(frozen=True, kw_only=True)
class Sharded:
    """AdamW that fits: the fewest ranks, then the lowest stage. bytes: of the fullest rank."""

    zero: Zero
    ranks: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Fit:
    """One cell on one card.

    bytes: the peak of one rank as declared, None where no formula knows it. holds: the card does.
    cards: those of the table that would. instead: AdamW under ZeRO on this card, where the declared
    optimiser does not fit on one.
    """

    stage: str
    cell: str
    parameters: int
    optimizer: str
    bytes: int | None
    holds: bool
    cards: tuple[str, ...]
    instead: Sharded | None
    why: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def fits(runs: Iterable[Run], *, card: Card) -> list[Fit]:
    """Every cell and stage once, the largest demand of those that share a line."""
    worst: dict[tuple[str, str, int, str], tuple[int, Trained]] = {}
    unknown: dict[tuple[str, str, int, str], str] = {}
    for key, run in _kinds(runs).values():
        try:
            peak = _peak(run, zero=0, ranks=1)
        except ValueError as error:
            unknown[key] = str(error)
            continue
        if key not in worst or peak > worst[key][0]:
            worst[key] = (peak, run)
    found = [_fit(key, peak, run, card=card) for key, (peak, run) in worst.items()]
    found += [
        Fit(
            stage=key[0],
            cell=key[1],
            parameters=key[2],
            optimizer=key[3],
            bytes=None,
            holds=False,
            cards=(),
            instead=None,
            why=why,
        )
        for key, why in unknown.items()
        if key not in worst
    ]
    order = list(kinds())
    return sorted(found, key=lambda each: (order.index(each.stage), each.cell, each.parameters))


def _kinds(runs: Iterable[Run]) -> dict[Any, tuple[tuple[str, str, int, str], Trained]]:
    """One run of each kind whose memory can differ: seeds, rates and lengths of training cannot."""
    runs = tuple(runs)
    naming, found = Naming(runs), {}
    for run in runs:
        if isinstance(run, Trained):
            optimizer = type(run.training.optimizer).__name__
            key = (type(run).__name__, naming.cell(run), cost(run).parameters, optimizer)
            found.setdefault((key, *_own_parts(run)), (key, run))
    return found


def _own_parts(run: Trained) -> Iterator[object]:
    """What a pass may depend on: the parts of every stage above, and of training not its rates."""
    for stage in stages(run):
        for each in fields(stage):  # type: ignore[arg-type]  every kind is a dataclass
            part = getattr(stage, each.name)
            if each.name not in ("slug", "seed", "parent_step", "training") and not isinstance(
                part, Run
            ):
                yield part
    yield (run.training.dropout > 0.0, run.training.precision, run.training.batch_size)


def _fit(key: tuple[str, str, int, str], peak: int, run: Trained, *, card: Card) -> Fit:
    holds = peak <= card.usable
    return Fit(
        stage=key[0],
        cell=key[1],
        parameters=key[2],
        optimizer=key[3],
        bytes=peak,
        holds=holds,
        cards=tuple(name for name, each in CARDS.items() if peak <= each.usable),
        instead=None if holds else _sharded(run, card=card),
    )


def _sharded(run: Trained, *, card: Card) -> Sharded | None:
    """The same run under AdamW (at any rate: memory does not depend on it)."""
    if not isinstance(run.training.optimizer, AdamW):
        training = replace(run.training, optimizer=_ADAMW)
        run = replace(run, training=training)  # type: ignore[type-var]  every kind is a dataclass
    for ranks in RANKS[1:]:
        if ranks > run.training.batch_size:
            break
        for zero in SHARDED:
            peak = _peak(run, zero=zero, ranks=ranks)
            if peak <= card.usable:
                return Sharded(zero=zero, ranks=ranks, bytes=peak)
    return None


def _peak(run: Trained, *, zero: Zero, ranks: int) -> int:
    said = forecast(run, zero=zero, ranks=ranks, micro_batch=1, activation_checkpointing="on")
    return said.total


def hours_text(flops: int | None, *, on: Hardware) -> str:
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
        f"\n{hours_text(flops, on=on) or '0'} {card.name}-hours of training at {on.mfu:.0%} of "
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
