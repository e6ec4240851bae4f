"""Plans that wait (open pins, sources that offline nodes lack) are rehearsed and not launched."""

from pathlib import Path

import pytest
from made_slurm import Controller

from study.launch.cluster import launch, profile, slurm, snapshot
from study.launch.cluster.slurm import Slurm
from study.runs.node import Evaluation
from study.runs.plan import load_sweep
from study.store.directory import Store

SWEEPS = Path(__file__).parents[4] / "sweeps"
TEXT = 'memory = "2G"\ntime = "1:00:00"\narray_cap = 100\nthrottle = 7\n'
OFFLINE = TEXT + "[execution]\noffline = true\n"


@pytest.fixture(autouse=True)
def controller(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshot, "take", lambda root, *, changes: "c0de")
    found = Controller(tmp_path / "slurm.json")

    def run(arguments, **_):
        code, out, error = found.handle([str(each) for each in arguments])
        return slurm.subprocess.CompletedProcess(arguments, code, out, error)

    monkeypatch.setattr(slurm.subprocess, "run", run)
    return found


def order_of(tmp_path, text):
    (tmp_path / "made.toml").write_text(text)
    return launch.LaunchRequest(
        sweep=load_sweep(SWEEPS / "paper.py"),
        store=Store(tmp_path / "store"),
        profile=profile.load(tmp_path / "made.toml"),
    )


def test_the_papers_scripts_are_all_written_before_its_pins_are(tmp_path):
    warnings = []
    order = order_of(tmp_path, OFFLINE)
    launched = launch.dry_run(order, warn=warnings.append)
    assert sum(len(group.runs) for group in launched.groups) == len(order.sweep.runs) == 146
    assert all(path.is_file() for path in launched.scripts)
    assert any("UNPINNED: what 33 sources hold" in each for each in warnings)
    assert any("offline and" in each and "sources are not here" in each for each in warnings)


def test_nothing_of_it_is_submitted(tmp_path, controller):
    with pytest.raises(ValueError, match="UNPINNED: what 33 sources hold is not known"):
        launch.launch(order_of(tmp_path, TEXT), slurm=Slurm(seconds=5.0, attempts=1, pause=0.01))
    assert not (tmp_path / "slurm.json").exists()
    assert not any((tmp_path / "store").rglob("job.sh"))


def test_every_evaluation_of_the_paper_has_its_own_job(tmp_path):
    order = order_of(tmp_path, TEXT)
    launch.dry_run(order, warn=lambda _: None)
    scored = [run for run in order.sweep.runs if isinstance(run, Evaluation)]
    assert all((order.store.directory(run) / "job.sh").is_file() for run in scored)
