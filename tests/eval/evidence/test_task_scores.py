"""A measure's number by hand: means, ratios, functions of a set, vectors, missing items."""

import numpy as np
import pytest
import toy_domain as toy

from eval.evidence.statistics import REPLICATES, resampling_counts
from eval.evidence.task_scores import BOOTSTRAP_SEED, TaskScores
from study.runs.measure import Measure

CELLS, SEEDS, CONDITIONS, ITEMS = 2, 3, 3, 24
GROUPS = np.arange(ITEMS) // 2


@pytest.fixture
def draw():
    return np.random.default_rng(7)


def scored(measure, columns, **rest):
    return TaskScores(
        task=toy.Sums(name="near", distance=1.0),
        measure=measure,
        conditions=("a", "b", "c"),
        columns=columns,
        groups=GROUPS,
        twins=False,
        **rest,
    )


def by_hand(of, places):
    """(C, S): the median over conditions of a function of these items."""
    found = np.empty((CELLS, SEEDS))
    for cell, seed in np.ndindex(CELLS, SEEDS):
        found[cell, seed] = np.median([of(cell, seed, at, places) for at in range(CONDITIONS)])
    return found


def resampled(places=(0, 3, REPLICATES - 1)):
    """(replicate, its items, as often as they were drawn)."""
    counts = resampling_counts(GROUPS, replicates=REPLICATES, seed=BOOTSTRAP_SEED)
    return [(at, np.repeat(np.arange(ITEMS), counts[at].astype(int))) for at in places]


def check(task, of):
    assert task.scores() == pytest.approx(by_hand(of, np.arange(ITEMS)))
    drawn = task.bootstrap()
    assert drawn.shape == (REPLICATES, CELLS, SEEDS)
    for at, places in resampled():
        assert drawn[at] == pytest.approx(by_hand(of, places), rel=1e-5)


def test_a_ratio_is_of_sums_and_not_a_mean_of_ratios(draw):
    above, below = draw.random((2, CELLS, SEEDS, CONDITIONS, ITEMS)) + 0.1
    measure = Measure(name="r", columns=("above", "below"), aggregation="ratio", better="lower")

    def of(cell, seed, at, places):
        return above[cell, seed, at, places].sum() / below[cell, seed, at, places].sum()

    task = scored(measure, {"above": above, "below": below})
    check(task, of)
    means = np.median((above / below).mean(axis=3), axis=2)
    assert (np.abs(means - task.scores()) > 0.01).any()


def test_a_set_is_a_function_of_all_items_of_one_resample(draw):
    values = draw.exponential(size=(CELLS, SEEDS, CONDITIONS, ITEMS))
    measure = Measure(
        name="p", columns=("error",), aggregation="set", of=toy.ninetieth, better="lower"
    )
    check(
        scored(measure, {"error": values}),
        lambda cell, seed, at, places: np.quantile(values[cell, seed, at, places], 0.9),
    )


def test_a_set_of_vectors_leaves_out_what_has_no_value(draw):
    values = draw.normal(size=(CELLS, SEEDS, CONDITIONS, ITEMS, 2))
    values[0, 1, :, 5:] = np.nan
    measure = Measure(
        name="d", columns=("pair",), aggregation="set", of=toy.distance_of_means, better="lower"
    )
    task = scored(measure, {"pair": values})
    own = values[0, 1, :, :5]
    assert task.scores()[0, 1] == pytest.approx(
        np.median(np.abs(own.mean(axis=1) @ np.array([1.0, -1.0])))
    )
    assert task.known.sum() == values.size / 2 - CONDITIONS * (ITEMS - 5)
    assert task.independent == ITEMS // 2


def test_what_resampling_biases_has_no_spread_over_items(draw):
    values = draw.normal(size=(CELLS, SEEDS, CONDITIONS, ITEMS, 2))
    measure = Measure(
        name="d",
        columns=("pair",),
        aggregation="set",
        of=toy.distance_of_means,
        better="lower",
        resampled=False,
    )
    task = scored(measure, {"pair": values})
    assert (task.bootstrap() == task.scores()).all()


def test_items_without_a_value_are_in_no_mean(draw):
    values = draw.random((CELLS, SEEDS, CONDITIONS, ITEMS))
    values[1, 2, 0, 3:9] = np.nan
    values[0, 0] = np.nan
    task = scored(Measure(name="m", columns=("m",), better="higher"), {"m": values})
    assert np.isnan(task.scores()[0, 0])
    own = [np.nanmean(values[1, 2, at]) for at in range(CONDITIONS)]
    assert task.scores()[1, 2] == pytest.approx(np.median(own))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"columns": ("a", "b")}, r"mean of the columns \('a', 'b'\); legal: 1"),
        ({"columns": ("a",), "aggregation": "ratio"}, r"ratio of the columns .* legal: 2"),
        ({"columns": ("a",), "aggregation": "set"}, "a function `of` belongs to `set`"),
        ({"columns": ("a",), "of": toy.ninetieth}, "a function `of` belongs to `set`"),
        (
            {"columns": ("a", "b"), "aggregation": "ratio", "blind": "c"},
            "blind and otherwise are of `mean`, not ratio",
        ),
    ],
)
def test_a_measure_that_is_none_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Measure(**({"name": "m", "better": "lower"} | fields))
