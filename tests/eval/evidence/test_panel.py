"""Scores of one suite as arrays: what is a mean, what a median, and what is no score at all."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import test_report as made

from eval.evidence import panel as panels
from eval.evidence.panel import BOOTSTRAP_SEED
from eval.evidence.statistics import REPLICATES, resampling_counts
from study.runs.run import Evaluation
from study.store.directory import Store


def by_hand(values, counts):
    """(C, S): the median over templates of the mean over the items that are there, each counted."""
    cells, seeds, templates, _ = values.shape
    found = np.empty((cells, seeds))
    for cell in range(cells):
        for seed in range(seeds):
            means = []
            for template in range(templates):
                row = values[cell, seed, template]
                known = np.isfinite(row)
                means.append((row[known] * counts[known]).sum() / counts[known].sum())
            found[cell, seed] = np.median(means)
    return found


@pytest.fixture
def uneven():
    """(2, 3, 3, 40) answers: one prompt of three is far off, and one leaves out some items."""
    rng = np.random.default_rng(4)
    shares = np.array([0.8, 0.7, 0.1])[:, None]
    values = (rng.random((2, 3, 3, 40)) < shares).astype(float)
    values[:, :, 1, 30:] = np.nan
    return values


def test_a_score_and_its_replicates_are_the_median_over_prompts(panel_of, key_of, uneven):
    panel = panel_of([uneven, 1 - uneven], [key_of("a"), key_of("b")])
    task = panel.tasks[0]
    assert task.scores() == pytest.approx(by_hand(uneven, np.ones(40)))
    counts = resampling_counts(np.arange(40), replicates=REPLICATES, seed=BOOTSTRAP_SEED)
    drawn = task.bootstrap()
    for place in (0, 7, 1999):
        assert drawn[place] == pytest.approx(by_hand(uneven, counts[place]), abs=1e-6)
    # every replicate's own median: their mean is that of the prompts' middle, far from their mean
    assert drawn.mean(axis=0) == pytest.approx(task.scores(), abs=0.03)
    # a suite's score is the mean over its tasks
    other = panel.tasks[1]
    assert panel.scores() == pytest.approx((task.scores() + other.scores()) / 2)
    assert panel.replicates() == pytest.approx((drawn + other.bootstrap()) / 2)


def test_items_of_one_group_are_drawn_together_for_all_cells_and_seeds(panel_of, key_of):
    """Opposite answers of twins cancel in every resample; equal ones never do."""
    twins = np.tile([1.0, 0.0], 20) + np.zeros((2, 2, 1, 40))
    (task,) = panel_of([twins], [key_of("a"), key_of("b")], twins=True).tasks
    assert task.bootstrap() == pytest.approx(np.full((REPLICATES, 2, 2), 0.5))
    same = np.random.default_rng(0).integers(0, 2, 40) + np.zeros((2, 2, 1, 40))
    (task,) = panel_of([same], [key_of("a"), key_of("b")]).tasks
    drawn = task.bootstrap()
    assert drawn.std(axis=0) == pytest.approx(np.sqrt(same[0, 0, 0].var() / 40), rel=0.06)
    assert (drawn == drawn[:, :1, :1]).all()


def test_bits_a_byte_are_over_all_bytes_and_their_error_over_documents(panel_of, key_of):
    rng = np.random.default_rng(1)
    size = rng.integers(50, 2000, 30).astype(float)
    nats = -size * rng.uniform(0.4, 1.2, (2, 2, 30))
    (task,) = panel_of([np.ones((2, 2, 1, 30))], [key_of("a"), key_of("b")]).tasks
    rolled = np.stack([nats, np.broadcast_to(size, nats.shape)])
    value, error = replace(task, rolled=rolled).bits_per_byte()
    assert value == pytest.approx(-nats.sum(2) / size.sum() / math.log(2))
    # of a ratio of sums, by its linearisation
    left = -nats - (value * math.log(2))[:, :, None] * size
    by_hand = np.sqrt((left**2).sum(2)) / size.sum() / math.log(2)
    assert error == pytest.approx(by_hand, rel=0.1)


def test_a_cell_is_found_by_its_budget_within_one_percent(panel_of, key_of):
    keys = [key_of("a", 1000), key_of("a", 2021), key_of("b", 990)]
    panel = panel_of([np.ones((3, 1, 1, 4))], keys)
    assert [panel.cell(("a",), tokens) for tokens in (1000, 1010, 991, 2040)] == [0, 0, 0, 1]
    assert panel.cell(("a",), 980) is None
    assert panel.cell(("a",), 2000) is None
    assert panel.cell(("c",), 1000) is None
    assert panel.budgets(("a",)) == [1000, 2021]


@pytest.fixture
def two():
    """Two evaluations of one seed, of different cells."""
    chosen = ("cd_flm-s0", "ed_mlm-s0")
    runs = [r for r in made.study(1) if isinstance(r, Evaluation) and r.slug.startswith(chosen)]
    return made.close(runs)


def test_a_model_without_a_valid_item_is_a_hole_and_no_score_below_chance(tmp_path, two):
    """As the writer writes it: credit 0.0 and `valid` False."""
    store, draw = Store(tmp_path / "runs"), np.random.default_rng(0)
    broken, sound = [run for run in two if isinstance(run, Evaluation)]
    zero = {"valid": False, "correct": 0.0, "correct_other_end": 0.0, "prediction": -1}
    none = dict.fromkeys(("gold_nats_per_byte", "margin", "brier"))
    free = {"correct_without_context": 0.0}
    made.publish(broken, store, 0.6, draw=draw, columns=zero | none | free)
    made.publish(sound, store, 0.6, draw=draw)
    (panel,) = panels.panels(two, store=store)
    place = [each.key for each in panel.runs].index(panel.cells[0])
    assert panel.runs[place].run == broken
    for task in panel.tasks:
        for found in (task.scores(), task.scores(end="other"), task.without_context()[:, :, 0]):
            assert np.isnan(found[0, 0])
        assert np.isfinite(task.scores()[1, 0])
        assert np.isnan(task.bootstrap()[:, 0]).all()
    assert np.isnan(panel.scores()[0, 0])
    assert np.isfinite(panel.scores()[1, 0])


def test_one_valid_item_is_enough_and_the_invalid_ones_are_wrong(tmp_path, two):
    store = Store(tmp_path / "runs")
    one, _ = [run for run in two if isinstance(run, Evaluation)]

    def of_item(index, template):
        valid = index == 0 and template == "plain"
        return {"valid": valid, "correct": float(valid)}

    made.publish(one, store, 0.0, draw=np.random.default_rng(0), of_item=of_item)
    (panel,) = panels.panels(two, store=store)
    for task in panel.tasks:  # the median of one prompt with a right answer and one without
        assert task.scores()[0, 0] == pytest.approx(1 / (2 * made.PAIRS) / 2)


@pytest.mark.parametrize("place", ["scoring", "tokenizer", "tasks", "scorer_version"])
def test_what_was_asked_otherwise_than_most_is_a_hole(tmp_path, place):
    runs = made.close([run for run in made.study(1) if isinstance(run, Evaluation)][:3])
    store, draw = Store(tmp_path / "runs"), np.random.default_rng(0)
    asked = [run for run in runs if isinstance(run, Evaluation)]
    for run in asked:
        made.publish(run, store, 0.6, draw=draw, items=2)
    file = store.existing(asked[0]).scores("d") / "results.json"
    results = json.loads(file.read_text())
    inside = results["digests"] if place in results["digests"] else results
    inside[place] = {"end_of_sequence": False} if place == "scoring" else "other"
    file.write_text(json.dumps(results))
    (panel,) = panels.panels(runs, store=store)
    assert [each.run for each in panel.runs] == asked[1:]
    (hole,) = panel.holes
    assert hole.run == asked[0]
    assert hole.hole.startswith("other questions or scorer")
