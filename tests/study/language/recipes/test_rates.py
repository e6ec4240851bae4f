"""Choosing learning rates: the best of equal trials, never one at the edge of its grid."""

import errno
import json
import os
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import made_runs as made
import pytest

from study.language.recipes import ladder, rates
from study.language.recipes.rates import RateError, Trial
from study.language.values.stages import model_of
from study.launch.ready import held, refuse
from study.runs.node import Trained
from study.runs.plan import load_sweep
from study.store.directory import Store

SWEEPS = Path(__file__).parents[4] / "sweeps"


def _trials(losses: dict[str, dict[float, float]]) -> list[Trial]:
    return [
        Trial(path=path, seed=9, learning_rate=rate, loss=loss)
        for path, grid in losses.items()
        for rate, loss in grid.items()
    ]


def test_each_lineage_gets_its_own_best_rate() -> None:
    found = _trials(
        {
            "CD:FLM": {1e-3: 2.0, 2e-3: 1.5, 4e-3: 1.9},
            "ED:MLM": {1e-3: 9.0, 2e-3: 8.0, 4e-3: 8.5},
            "CD:FLM > CD:MTF": {1e-4: 1.0, 1e-3: 0.5, 1e-2: 3.0, 3e-2: 4.0},
        }
    )
    assert rates.choose(found) == {"CD:FLM": 2e-3, "ED:MLM": 2e-3, "CD:FLM > CD:MTF": 1e-3}


@pytest.mark.parametrize("edge", [1e-3, 4e-3])
def test_a_best_rate_at_the_edge_is_refused(edge: float) -> None:
    losses = {1e-3: 2.0, 2e-3: 2.0, 4e-3: 2.0} | {edge: 1.0}
    with pytest.raises(RateError, match="edge of its grid"):
        rates.choose(_trials({"CD:FLM": losses}))


def test_unequal_trials_are_refused() -> None:
    found = _trials({"CD:FLM": {1e-3: 2.0, 2e-3: 1.0, 4e-3: 2.0}, "ED:MLM": {1e-3: 2.0}})
    with pytest.raises(RateError, match="unequal numbers of trials"):
        rates.choose(found)


def test_a_rate_s_loss_is_the_mean_over_seeds_whatever_the_order_of_trials() -> None:
    """.002 is the best on seed 1 and in the mean, .004 on seed 2."""
    losses = {
        1: {1e-3: 2.0, 2e-3: 1.0, 4e-3: 1.8, 8e-3: 2.5},
        2: {1e-3: 2.0, 2e-3: 1.4, 4e-3: 1.3, 8e-3: 2.5},
    }
    found = [
        Trial(path="CD:FLM", seed=seed, learning_rate=rate, loss=loss)
        for seed, grid in losses.items()
        for rate, loss in grid.items()
    ]
    for order in (found, found[::-1], found[4:] + found[:4], sorted(found, key=lambda t: t.loss)):
        assert rates.choose(order) == {"CD:FLM": 2e-3}


def test_equal_means_are_equal_in_every_order_and_the_smaller_rate_is_chosen() -> None:
    """.1 + .2 + .3 rounds otherwise than .3 + .2 + .1."""
    several = {2e-3: (0.3, 0.2, 0.1), 4e-3: (0.1, 0.2, 0.3), 1e-3: (2.0,) * 3, 8e-3: (2.0,) * 3}
    found = [
        Trial(path="CD:FLM", seed=seed, learning_rate=rate, loss=loss)
        for rate, losses in several.items()
        for seed, loss in enumerate(losses)
    ]
    assert rates.choose(found) == rates.choose(found[::-1]) == {"CD:FLM": 2e-3}
    with pytest.raises(RateError, match=r"best rate 0\.002, 0\.004 is at the edge"):
        rates.choose(_trials({"CD:FLM": {4e-3: 1.0, 2e-3: 1.0, 1e-3: 3.0}}))


def _of_seeds(seeds: dict[float, tuple[int, ...]], *, path: str = "CD:FLM") -> list[Trial]:
    return [
        Trial(path=path, seed=seed, learning_rate=rate, loss=2.0 - (rate == 2e-3))
        for rate, some in seeds.items()
        for seed in some
    ]


def test_rates_that_were_not_tried_on_the_same_seeds_are_refused_by_name() -> None:
    said = r"CD:FLM: .*different seeds: 0\.001 on 1, 2; 0\.002 on 1; 0\.004 on 1, 2"
    with pytest.raises(RateError, match=said):
        rates.choose(_of_seeds({1e-3: (1, 2), 2e-3: (1,), 4e-3: (2, 1)}))
    with pytest.raises(RateError, match=r"0\.002 on 1, 3"):
        rates.choose(_of_seeds({1e-3: (1, 2), 2e-3: (1, 3), 4e-3: (1, 2)}))
    with pytest.raises(RateError, match=r"rate 0\.002 on seed 1 was tried twice: 1 and 1"):
        rates.choose(_of_seeds({1e-3: (1,), 2e-3: (1, 1), 4e-3: (1,)}))
    with pytest.raises(RateError, match=r"CD:FLM 3 rates on 2 seeds; ED:MLM 3 rates on 1 seeds"):
        rates.choose(
            _of_seeds(dict.fromkeys((1e-3, 2e-3, 4e-3), (1, 2)))
            + _of_seeds(dict.fromkeys((1e-3, 2e-3, 4e-3), (1,)), path="ED:MLM")
        )


@pytest.mark.parametrize("order", [1, -1])
def test_a_loss_that_is_no_number_chooses_nothing(order: int) -> None:
    found = _trials({"CD:FLM": {1e-3: 2.0, 2e-3: float("nan"), 4e-3: 1.0, 8e-3: 2.0}})
    with pytest.raises(RateError, match=r"CD:FLM: rate 0\.002 on seed 9 has the loss nan"):
        rates.choose(found[::order])


def _done(run, store: Store, *, loss: float | None) -> Trained:
    store.open(run).seal({"validation_loss": loss})
    return run


def test_trials_are_the_finished_runs_of_a_sweep_and_the_choice_is_theirs(tmp_path: Path) -> None:
    store, file = Store(tmp_path / "runs"), tmp_path / "rates.json"
    losses = {(1, 1e-3): 2.0, (1, 2e-3): 1.0, (1, 4e-3): 2.5}
    losses |= {(2, 1e-3): 2.2, (2, 2e-3): 1.6, (2, 4e-3): 1.5}
    runs = [
        _done(made.pretrain(f"r{seed}-{rate}", seed=seed, learning_rate=rate), store, loss=loss)
        for (seed, rate), loss in losses.items()
    ]
    # what trains nothing is no trial
    found = rates.choose_into(file, runs=[made.CORPUS, *runs], store=store)
    assert [(t.path, t.seed, t.learning_rate, t.loss) for t in found] == [
        ("CD:FLM", seed, rate, loss) for (seed, rate), loss in losses.items()
    ]
    assert rates.load(file) == {"CD:FLM": 2e-3}
    wide = made.pretrain("wide", seed=1)
    wide = _done(replace(wide, model=replace(wide.model, d_model=2 * 8 * 4)), store, loss=3.0)
    paths = {trial.path for trial in rates.trials([runs[0], wide], store=store)}
    assert paths == {f"{rates.size(run.model)}: CD:FLM" for run in (runs[0], wide)}


def test_a_run_that_is_not_done_or_holds_nothing_out_is_no_trial(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    store.open(made.pretrain("going"))
    with pytest.raises(RateError, match="going is not done"):
        rates.trials([made.pretrain("going")], store=store)
    blind = _done(made.pretrain("blind", seed=5), store, loss=None)
    with pytest.raises(RateError, match="blind has no held-out loss"):
        rates.trials([blind], store=store)


def test_the_edge_is_told_with_the_mean_loss_of_each_rate() -> None:
    found = [
        Trial(path="CD:FLM", seed=seed, learning_rate=rate, loss=loss + seed)
        for seed in (1, 2)
        for rate, loss in ((1e-3, 0.0), (2e-3, 1.0), (4e-3, 2.0))
    ]
    told = r"0\.001 is at the edge .*\(0\.001: 1\.5000, 0\.002: 2\.5000, 0\.004: 3\.5000\)"
    with pytest.raises(RateError, match=told):
        rates.choose(found)


def test_the_file_keeps_what_it_holds_for_other_lineages(tmp_path: Path) -> None:
    file = tmp_path / "rates.json"
    assert rates.load(file) == {}
    rates.save(file, found=_trials({"CD:FLM": {1e-3: 2.0, 2e-3: 1.0, 4e-3: 2.0}}))
    rates.save(file, found=_trials({"CD:FLM > CD:MTF": {1e-4: 2.0, 1e-3: 1.0, 1e-2: 2.0}}))
    assert rates.load(file) == {"CD:FLM": 2e-3, "CD:FLM > CD:MTF": 1e-3}
    assert json.loads(file.read_text())["trials"] == {
        "CD:FLM": [[1e-3, 9, 2.0], [2e-3, 9, 1.0], [4e-3, 9, 2.0]],
        "CD:FLM > CD:MTF": [[1e-4, 9, 2.0], [1e-3, 9, 1.0], [1e-2, 9, 2.0]],
    }


def test_sizes_of_one_file_are_kept_apart() -> None:
    chosen = {"12 layers, width 512: CD:FLM": 1e-3, "16 layers, width 768: CD:FLM": 2e-3}
    for rung, rate in zip(ladder.RUNGS, (1e-3, 2e-3), strict=False):
        assert rates.of_size(chosen, rung.model) == {"CD:FLM": rate}
    assert rates.of_size(chosen, ladder.RUNGS[0].half) == {}


def test_the_ladder_is_held_until_every_rate_is_chosen(tmp_path: Path) -> None:
    """Every lineage of the two searched sizes gets equal trials, and no other is needed."""
    sweep = load_sweep(SWEEPS / "ladder.py")
    assert "58 lineages have no learning rate" in held(sweep)
    with pytest.raises(ValueError, match="HELD: 58 lineages"):
        refuse(sweep, sweep.runs)
    trained = [run for run in sweep.runs if isinstance(run, Trained)]
    needed = {
        rates.path_of(run, several=True)
        for run in trained
        if model_of(run).positions == "rope" and model_of(run).d_model < 1024
    }
    chosen = {path: 3e-3 if " > " in path else 2e-3 for path in needed}
    for name in ("ladder.py", "ladder_rates.py", "ladder_claims.yaml", "pins.toml", "t0_train.csv"):
        shutil.copy(SWEEPS / name, tmp_path / name)
    (tmp_path / "ladder_rates.json").write_text(json.dumps({"rates": chosen, "trials": {}}))
    ready = load_sweep(tmp_path / "ladder.py")
    assert held(ready) == ""
    assert {
        run.training.optimizer.learning_rate for run in ready.runs if isinstance(run, Trained)
    } == {2e-3, 3e-3}
    searched = Counter(
        rates.path_of(run, several=True)
        for run in load_sweep(tmp_path / "ladder_rates.py").runs
        if isinstance(run, Trained)
    )
    assert set(searched) == needed
    assert set(searched.values()) == {4}


def test_a_full_disk_leaves_the_choices_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "rates.json"
    found = _trials({"CD:FLM": {1e-3: 2.0, 2e-3: 1.0, 4e-3: 2.0}})
    rates.save(file, found=found)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left.*rates\.json"):
        rates.save(file, found=_trials({"ED:MLM": {1e-3: 2.0, 2e-3: 1.0, 4e-3: 2.0}}))
    assert rates.load(file) == {"CD:FLM": 2e-3}
    assert list(tmp_path.iterdir()) == [file]
