"""What `study plan --memory` prints: the peak of one rank for each ZeRO stage, cell by cell.

Owns which runs share a line and which columns there are. The bytes are `study.costs.memory`'s. No
torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from study.costs.memory import Forecast, Zero, forecast
from study.runs.cells import Naming
from study.runs.domain import cost, kinds
from study.runs.execution import Execution, check_runs
from study.runs.node import Run, Trained
from study.runs.plan import Sweep
from study.show.terminal import quantity, table

SEVERAL: tuple[Zero, ...] = (0, 1, 2, 3)
ONE: tuple[Zero | None, ...] = (None, *SEVERAL)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a step is spread. micro_batch: None is a rank's share at once."""

    ranks: int
    micro_batch: int | None
    activation_checkpointing: Literal["off", "on"]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One cell under one stage. zero: None is plain torch. forecast: None, and refusal says why."""

    stage: str
    cell: str
    parameters: int
    zero: Zero | None
    forecast: Forecast | None
    refusal: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def lines(sweep: Sweep, *, setting: Setting) -> list[Line]:
    """Every cell once, under plain torch (where there is one rank) and ZeRO 0 to 3."""
    naming = Naming(sweep.runs)
    found = dict.fromkeys(line for run in sweep.runs for line in _of(run, naming, setting))
    order = list(kinds())
    return sorted(found, key=lambda line: (order.index(line.stage), line.cell, line.parameters))


def _of(run: Run, naming: Naming, setting: Setting) -> Iterator[Line]:
    if not isinstance(run, Trained):
        return
    for zero in SEVERAL if setting.ranks > 1 else ONE:
        said, refusal = None, ""
        try:
            execution = Execution(ranks=setting.ranks, zero=zero, micro_batch=setting.micro_batch)
            check_runs([run], execution=execution)
            said = forecast(
                run,
                zero=zero,
                ranks=setting.ranks,
                micro_batch=setting.micro_batch,
                activation_checkpointing=setting.activation_checkpointing,
            )
        except ValueError as error:
            refusal = str(error)
        yield Line(
            stage=type(run).__name__,
            cell=naming.cell(run),
            parameters=cost(run).parameters,
            zero=zero,
            forecast=said,
            refusal=refusal,
        )


def show(sweep: Sweep, *, setting: Setting, as_json: bool) -> None:
    """One table of peaks; as JSON with their parts."""
    found = lines(sweep, setting=setting)
    if as_json:
        print(json.dumps([line.as_json() for line in found], indent=1))
        return
    share = "its share" if setting.micro_batch is None else f"{setting.micro_batch} rows"
    print(
        f"{sweep.title}\nBytes of one rank of {setting.ranks} at its peak, {share} at a time, "
        f"activation checkpointing {setting.activation_checkpointing}\n"
    )
    _peaks(found)
    for refusal in dict.fromkeys(line.refusal for line in found if line.refusal):
        print(f"-: {refusal}")


def _peaks(found: list[Line]) -> None:
    stages: list[Zero | None] = list(dict.fromkeys(line.zero for line in found))
    grouped: dict[tuple[str, str, int], list[list[str]]] = {}
    for line in found:
        columns = grouped.setdefault((line.stage, line.cell, line.parameters), [[] for _ in stages])
        text = "-" if line.forecast is None else _bytes(line.forecast.total)
        columns[stages.index(line.zero)].append(text)
    table(
        ("stage", "cell", "parameters", *map(_named, stages)),
        [
            (stage, name, quantity(numbers), *(", ".join(each) for each in columns))
            for (stage, name, numbers), columns in grouped.items()
        ],
    )


def _bytes(number: int) -> str:
    return f"{quantity(number)}B"


def _named(zero: Zero | None) -> str:
    return "torch" if zero is None else f"ZeRO {zero}"
