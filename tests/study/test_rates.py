"""Choosing learning rates: the best of equal trials, never one at the edge of its grid."""

import errno
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from study import ladder, rates
from study.plan import load_sweep
from study.rates import RateError, Trial
from study.ready import held, refuse
from study.run import Trained, model_of

SWEEPS = Path(__file__).parents[2] / "sweeps"


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


def test_the_file_keeps_what_it_holds_for_other_lineages(tmp_path: Path) -> None:
    file = tmp_path / "rates.json"
    assert rates.load(file) == {}
    rates.save(file, found=_trials({"CD:FLM": {1e-3: 2.0, 2e-3: 1.0, 4e-3: 2.0}}))
    rates.save(file, found=_trials({"CD:FLM > CD:MTF": {1e-4: 2.0, 1e-3: 1.0, 1e-2: 2.0}}))
    assert rates.load(file) == {"CD:FLM": 2e-3, "CD:FLM > CD:MTF": 1e-3}


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
