"""Choosing learning rates: the best of equal trials, never one at the edge of its grid."""

import errno
import os
from pathlib import Path

import pytest

from study import rates
from study.rates import RateError, Trial


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
