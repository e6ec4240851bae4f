"""Scores of one suite as arrays: what is a mean, what a median, and what is no score at all."""

import json
import math
from dataclasses import replace

import made_reports as made
import numpy as np
import pytest
from made_panels import OF_LANGUAGE

from eval.evidence import panel as panels
from eval.evidence.statistics import REPLICATES, resampling_counts
from eval.evidence.task_scores import BOOTSTRAP_SEED
from study.language.values.stages import External
from study.runs.node import Evaluation
from study.runs.source import Source
from study.store.directory import Store
from study.store.publish import MANIFEST
from study.store.weights import digest_of_names


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
    columns = {"bits": -nats[:, :, None] / math.log(2)}
    columns["size"] = np.broadcast_to(size, columns["bits"].shape)
    task = replace(task, measure=OF_LANGUAGE["bits per byte"], columns=columns)
    value, error = task.scores(), task.bootstrap().std(axis=0)
    assert value == pytest.approx(-nats.sum(2) / size.sum() / math.log(2))
    # of a ratio of sums, by its linearisation
    left = -nats - (value * math.log(2))[:, :, None] * size
    by_hand = np.sqrt((left**2).sum(2)) / size.sum() / math.log(2)
    assert error == pytest.approx(by_hand, rel=0.1)


def test_a_cell_is_found_by_its_budget_within_one_percent(panel_of, key_of):
    keys = [key_of("a", 1000), key_of("a", 2021), key_of("b", 990)]
    panel = panel_of([np.ones((3, 1, 1, 4))], keys)
    assert [panel.cell(("a",), tokens) for tokens in (1000, 1010, 991, 2040)] == [0, 0, 0, 1]
    assert panel.cell(("b",), 1000) == 2, "one percent is near enough"
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
        for found in (task.scores(), task.scores(option="other")):
            assert np.isnan(found[0, 0])
        assert np.isnan(task.columns["correct_without_context"][0, 0]).all()
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


def test_scores_of_other_weights_are_stale_and_a_checkpoint_that_is_gone_says_nothing(
    tmp_path, two
):
    store, draw = Store(tmp_path / "runs"), np.random.default_rng(0)
    files = {"config.json": "c" * 64, "model.safetensors": "a" * 64}
    asked = [run for run in two if isinstance(run, Evaluation)]
    for run in asked:
        made.publish(run, store, 0.6, draw=draw, weights=digest_of_names(files), items=2)

    def states():
        (panel,) = panels.panels(two, store=store)
        assert all(hole.results is None for hole in panel.holes)
        return {run.run.slug: None for run in panel.runs} | {
            hole.run.slug: hole.hole for hole in panel.holes
        }

    assert set(states().values()) == {None}
    checkpoint = store.open(asked[0].run).checkpoint_path(asked[0].step)
    checkpoint.mkdir(parents=True)
    for digest, state in (
        ("a" * 64, None),
        ("b" * 64, "stale: the weights changed after they were scored"),
    ):
        entries = {name: {"sha256": each} for name, each in files.items()}
        entries["model.safetensors"]["sha256"] = digest
        (checkpoint / MANIFEST).write_text(json.dumps({"files": entries}))
        assert states() == {asked[0].slug: state, asked[1].slug: None}


def test_a_checkpoint_from_elsewhere_has_no_manifest_here(tmp_path):
    source = Source(uri="file://m", digest="sha256:1", text_field="", where=(), part=None)
    other = External(slug="m", source=source, architecture="causal_decoder")
    (run,) = [run for run in made.study(1) if isinstance(run, Evaluation)][:1]
    assert not panels._stale(replace(run, run=other, step=0), {}, store=Store(tmp_path))


def test_two_runs_of_one_cell_and_seed_are_holes_without_scores(tmp_path, two):
    store, draw = Store(tmp_path / "runs"), np.random.default_rng(0)
    one = next(run for run in two if isinstance(run, Evaluation))
    twin = replace(
        one,
        slug="twin",
        run=replace(one.run, slug="other", training=replace(one.run.training, steps=2 * one.step)),
    )
    for run in (one, twin):
        made.publish(run, store, 0.6, draw=draw, items=2)
    (panel,) = panels.panels(made.close([one, twin]), store=store)
    assert panel.runs == ()
    assert [(hole.results, hole.table) for hole in panel.holes] == [(None, None)] * 2
    assert all(hole.hole for hole in panel.holes)


def test_a_rolled_task_has_nats_and_bytes_by_document(tmp_path, two):
    store, draw = Store(tmp_path / "runs"), np.random.default_rng(0)
    asked = []
    for run in (each for each in two if isinstance(each, Evaluation)):
        tasks = tuple(
            replace(task, metric="rolling", templates=None, chance=0.0, role="probe")
            for task in run.suite.tasks
        )
        asked.append(replace(run, suite=replace(run.suite, tasks=tasks)))

    def of_item(index, template):
        rolled = {"log_likelihoods": [-6.0 - index], "bytes": [4 + index], "metric": "rolling"}
        return {**rolled, "template": ""}

    for run in asked:
        made.publish(run, store, 0.6, draw=draw, items=3, of_item=of_item)
    (panel,) = panels.panels(made.close(asked), store=store)
    task = panel.tasks[0]
    nats = -task.columns["bits"][1, 0, 0] * math.log(2)
    assert (nats / task.columns["size"][1, 0, 0]).tolist() == pytest.approx(
        [-6 / 4, -7 / 5, -8 / 6]
    )
    assert task.scores() == pytest.approx(np.full((2, 1), 21 / 15 / math.log(2)))
