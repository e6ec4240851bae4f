"""Prompted examples packed into rows: whole examples, never cut, each a segment of its own (MTF).

Rows are packed under both limits, `inputs` tokens of inputs and `targets` tokens of targets, for
every architecture alike. A decoder's row of inputs + targets tokens could hold a little more, but
then a step's examples would depend on the architecture, and cells that are compared would not have
been trained on the same ones.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from study.language.layout import Row, Segment
from study.language.values.objective import Prompted


def pack(examples: Iterable[Segment], *, objective: Prompted, rows: int) -> list[Row]:
    """As many of the first examples as `rows` rows can hold.

    First fit over the examples from long to short, which wastes least; and for the largest number
    of examples, in the order drawn, that fits without leaving one out. Skipping what does not fit
    in favour of a later, shorter example would fill rows a little better, but would sample short
    examples more often than the mixture says.
    """
    drawn = _up_to_capacity(examples, objective=objective, rows=rows)
    fits, too_many = 0, len(drawn) + 1
    best: list[Row] = [()] * rows
    trial = len(drawn)  # Everything fits surprisingly often: try that first, then bisect.
    while fits < trial < too_many:
        packed = _first_fit(drawn[:trial], objective=objective, rows=rows)
        if packed is None:
            too_many = trial
        else:
            fits, best = trial, packed
        trial = (fits + too_many) // 2
    return best


def _up_to_capacity(
    examples: Iterable[Segment], *, objective: Prompted, rows: int
) -> list[Segment]:
    """The first examples whose inputs and targets do not exceed those of all rows together."""
    inputs = targets = 0
    drawn: list[Segment] = []
    for example in examples:
        num_inputs, num_targets = len(example.inputs), len(example.targets)
        if num_inputs > objective.inputs or num_targets > objective.targets:
            raise ValueError(
                f"a prompted example has {num_inputs} inputs and {num_targets} targets; legal: at "
                f"most {objective.inputs} and {objective.targets} (longer ones are left out, and "
                "counted, when the corpus is built)"
            )
        inputs += num_inputs
        targets += num_targets
        if inputs > rows * objective.inputs or targets > rows * objective.targets:
            break
        drawn.append(example)
    return drawn


def _first_fit(examples: list[Segment], *, objective: Prompted, rows: int) -> list[Row] | None:
    """All examples in `rows` rows, first fit from the longest on; None where one finds no room."""
    sizes = np.array([(len(one.inputs), len(one.targets)) for one in examples], dtype=np.int64)
    share = (sizes / [objective.inputs, objective.targets]).max(axis=1)
    free_inputs = np.full(rows, objective.inputs)
    free_targets = np.full(rows, objective.targets)
    packed: list[list[Segment]] = [[] for _ in range(rows)]
    for index in np.argsort(-share, kind="stable").tolist():
        inputs, targets = sizes[index]
        room = (free_inputs >= inputs) & (free_targets >= targets)
        row = int(room.argmax())
        if not room[row]:
            return None
        packed[row].append(examples[index])
        free_inputs[row] -= inputs
        free_targets[row] -= targets
    return [tuple(row) for row in packed]
