"""Packing of prompted examples: whole, in the order drawn, and tight."""

from __future__ import annotations

from itertools import chain, count

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.language.layout import Segment
from study.language.objectives import prompted
from study.language.values.objective import Prompted

LIMITS = Prompted(inputs=20, targets=6)


def example(name: int, inputs: int, targets: int) -> Segment:
    return Segment(
        inputs=np.full(inputs, name, dtype=np.int32), targets=np.full(targets, name, dtype=np.int32)
    )


@given(
    sizes=st.lists(st.tuples(st.integers(0, 20), st.integers(1, 6)), max_size=30),
    rows=st.integers(1, 6),
)
def test_rows_hold_the_first_examples_whole_and_within_both_limits(sizes, rows):
    drawn = [example(name, n, m) for name, (n, m) in enumerate(sizes)]
    packed = prompted.pack(drawn, objective=LIMITS, rows=rows)
    assert len(packed) == rows
    for row in packed:
        assert sum(len(one.inputs) for one in row) <= 20
        assert sum(len(one.targets) for one in row) <= 6
    names = sorted(int(one.targets[0]) for row in packed for one in row)
    assert names == list(range(len(names))), "a beginning of what was drawn: none left out"
    assert len(names) >= min(rows, len(drawn)), "any example fits a row of its own"
    for row in packed:
        for one in row:
            assert (len(one.inputs), len(one.targets)) == sizes[int(one.targets[0])]


@pytest.mark.parametrize(
    ("inputs", "targets", "asked"),
    # two rows hold 40 inputs and 12 targets; the example that exceeds either is the last asked for
    [(10, 1, 5), (1, 4, 4), (20, 6, 3), (19, 1, 3), (0, 5, 3)],
)
def test_no_example_is_asked_for_beyond_what_rows_could_hold(inputs, targets, asked):
    names = count()
    endless = (example(name, inputs, targets) for name in names)
    packed = prompted.pack(endless, objective=LIMITS, rows=2)
    assert next(names) == asked
    assert sum(map(len, packed)) <= asked - 1


def test_padding_is_a_few_percent_and_lengths_are_not_biased():
    objective = Prompted(inputs=1024, targets=256)
    rng = np.random.default_rng(0)

    def length() -> int:
        return int(np.clip(rng.lognormal(5.3, 0.7), 20, 1024))

    population = np.mean([length() for _ in range(20_000)])
    used, filled = [], []
    for _ in range(20):
        rows = prompted.pack(
            (example(name, length(), 4) for name in count()), objective=objective, rows=32
        )
        used += [len(one.inputs) for row in rows for one in row]
        filled.append(sum(len(one.inputs) for row in rows for one in row) / (32 * 1024))
    assert np.mean(filled) > 0.97
    assert abs(np.mean(used) / population - 1) < 0.03


def test_an_example_that_is_too_long_is_refused_never_cut():
    with pytest.raises(ValueError, match="21 inputs and 1 targets; legal: at most 20 and 6"):
        prompted.pack([example(0, 21, 1)], objective=LIMITS, rows=2)
    with pytest.raises(ValueError, match="1 inputs and 7 targets"):
        prompted.pack([example(0, 1, 7)], objective=LIMITS, rows=2)


def test_the_longest_by_either_limit_come_first_and_equals_as_they_were_drawn():
    """A share is of its own limit: 6 targets fill their side, 10 inputs half of theirs."""
    sizes = [(10, 1), (1, 6), (10, 1)]
    (row,) = [row for row in _packed(sizes, rows=2) if 1 in row]
    assert row == [1], "the second fills a row's targets, so it was placed first, into row 0"
    assert [1, *_packed(sizes, rows=2)[1]] == [1, 0, 2]
    mixed = [(place % 3, 1 + place % 2) for place in range(300)]
    by_share = sorted(range(300), key=lambda place: -max(mixed[place][0] / 20, mixed[place][1] / 6))
    assert list(chain(*_packed(mixed, rows=75))) == by_share


def _packed(sizes, *, rows):
    """Names by row, in the order in which they stand there."""
    drawn = [example(name, n, m) for name, (n, m) in enumerate(sizes)]
    found = prompted.pack(drawn, objective=LIMITS, rows=rows)
    return [[int(one.targets[0]) for one in row] for row in found]
