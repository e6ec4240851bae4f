"""Which cells of a plan fit a card as declared, and what would have to change where one does not.

Owns the question, asked with the least memory that changes no result: one row a pass, activations
recomputed. Adafactor and Muon read whole matrices, so they run at ZeRO 0, where more ranks do not
help; what is offered instead is a card with more memory, or AdamW under ZeRO, which is another run
with another id. Bytes are `study.costs.memory`'s. No torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from study.costs.hardware import CARDS, Card
from study.costs.ledger import STAGES
from study.costs.memory import Zero, forecast
from study.language import cost
from study.language.recipes.presets import adamw
from study.runs.run import AdamW, Finetune, Run, Trained, cell, model_of

RANKS = (1, 2, 4, 8, 16, 32, 64)
SHARDED: tuple[Zero, ...] = (1, 2, 3)


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
    return sorted(found, key=lambda each: (STAGES.index(each.stage), each.cell, each.parameters))


def _kinds(runs: Iterable[Run]) -> dict[Any, tuple[tuple[str, str, int, str], Trained]]:
    """One run of each kind whose memory can differ: seeds, rates and lengths of training cannot."""
    kinds = {}
    for run in runs:
        if isinstance(run, Trained):
            model = model_of(run)
            optimizer = type(run.training.optimizer).__name__
            key = (type(run).__name__, cell(run), cost.parameters(model), optimizer)
            packing = None if isinstance(run, Finetune) else run.packing
            kind = (key, model, run.objective, packing, run.training.dropout > 0.0)
            kinds.setdefault(kind, (key, run))
    return kinds


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
    recipe = run.training.optimizer
    if not isinstance(recipe, AdamW):
        run = replace(run, training=replace(run.training, optimizer=adamw(recipe.learning_rate)))
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
