"""Launching: what is submitted, in which order, once; after a kill between any two lines too."""

import contextlib
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import made_runs as made
import pytest
from made_slurm import Controller

from study.launch.cluster import launch as launches
from study.launch.cluster import profile, records, slurm, snapshot, submit
from study.launch.cluster.launch import LaunchRequest, dry_run, launch
from study.launch.cluster.slurm import Refused, Slurm, Unanswered
from study.runs.plan import Sweep, close
from study.runs.training import Adafactor
from study.store.directory import Store, StoreError
from study.store.lease import LeaseHeld, acquire

QUICK = Slurm(seconds=20.0, attempts=2, pause=0.01)
PROFILE = 'memory = "2G"\ntime = "1:00:00"\narray_cap = 100\nthrottle = 7\n'


@pytest.fixture
def controller(tmp_path, monkeypatch):
    """The commands answered in this process: a test of a kill makes hundreds of calls."""
    found = Controller(tmp_path / "slurm.json")

    def run(arguments, **_):
        code, out, error = found.handle([str(each) for each in arguments])
        return subprocess.CompletedProcess(arguments, code, out, error)

    monkeypatch.setattr(slurm.subprocess, "run", run)
    return found


@pytest.fixture(autouse=True)
def _one_code(monkeypatch):
    monkeypatch.setattr(snapshot, "take", lambda root, *, changes: "c0de")


@pytest.fixture
def order(tmp_path):
    return _order(tmp_path, *made.tree())


def _order(tmp_path, *runs, text=PROFILE, **changes):
    path = tmp_path / "small.toml"
    path.write_text(text)
    sweep = Sweep(path=Path("made.py"), title="made", declared=runs, runs=close(runs))
    values = {"sweep": sweep, "store": Store(tmp_path / "store"), "profile": profile.load(path)}
    return LaunchRequest(**values | changes)


def _quiet(message):
    pass


def _jobs(order, controller):
    """slug -> (job, slugs of what it waits for), of everything that SLURM has."""
    slugs = {run.id: run.slug for run in order.sweep.runs}
    placed = records.newest(records.load_all(order.store.root))
    names = {place.job: slugs[run] for run, place in placed.items()}
    return {
        names[f"{job}_{index}"]: {names[parent] for parent in task["depends"]}
        for job, array in controller.arrays().items()
        for index, task in array["tasks"].items()
    }


def _seal(order, *slugs):
    for run in order.sweep.runs:
        if run.slug in slugs:
            directory = order.store.prepare(run)
            directory.seal({})
            for step in directory.kept():
                directory.checkpoint_path(step).mkdir(parents=True, exist_ok=True)


def test_every_run_is_submitted_once_and_waits_for_what_it_needs(order, controller):
    launched = launch(order, slurm=QUICK)
    jobs = _jobs(order, controller)
    assert jobs == {run.slug: {each.slug for each in run.parents} for run in order.sweep.runs}
    assert not any(array["held"] for array in controller.arrays().values())
    assert all(array.released for array in launched.arrays)
    assert len(launched.arrays) == 5  # text; mixture and pretrain; adapt; finetune; score
    for call in controller.calls("sbatch"):  # nothing starts before its dependencies are set
        assert {"--hold", "--kill-on-invalid-dep=yes"} <= {*call}
    again = launch(order, slurm=QUICK)
    assert again.arrays == ()
    assert {left.run.slug for left in again.choice.waiting} == jobs.keys()
    assert len(controller.calls("sbatch")) == 5


def test_a_layer_is_one_array_under_the_cap_with_the_throttle(tmp_path, controller):
    runs = [made.pretrain(f"p{seed}", seed=seed) for seed in range(5)]
    order = _order(tmp_path, *runs, text=PROFILE.replace("100", "2"))
    launched = launch(order, slurm=QUICK)
    assert [len(array.tasks) for array in launched.arrays] == [1, 2, 2, 1]
    scripts = [path.read_text() for path in launched.scripts]
    assert "#SBATCH --array=0-1%7\n" in scripts[1]
    listed = [Path(line) for path in launched.scripts for line in _tasks(path)]
    assert listed == [order.store.directory(run) for run in order.sweep.runs]
    # one call sets what a whole chunk waits for
    assert len([call for call in controller.calls("scontrol") if call[1] == "update"]) == 3


def _tasks(script):
    return script.with_name("tasks.txt").read_text().splitlines()


def test_finished_runs_are_skipped_and_waited_for_no_more(order, controller):
    submit.write_runs(order.sweep.runs, store=order.store, keep={})
    launches_keep = {"text", "mixture", "pretrain"}
    (order.store.existing(order.sweep.run("pretrain"))).keep([10])
    _seal(order, *launches_keep)
    launch(order, slurm=QUICK)
    assert _jobs(order, controller) == {
        "adapt": set(),
        "finetune": {"adapt"},
        "evaluation": {"finetune"},
    }


def test_a_parent_whose_checkpoint_is_missing_runs_again_first(order, controller):
    _seal(order, "text", "mixture", "pretrain")
    launch(order, slurm=QUICK)
    assert _jobs(order, controller)["adapt"] == {"pretrain"}
    assert order.store.existing(order.sweep.run("pretrain")).kept() == (10,)
    launch(order, slurm=QUICK)  # though it is sealed, its job is queued
    assert len(controller.calls("sbatch")) == 4


def test_a_failure_and_what_is_below_it_are_left_and_named(order, controller):
    _seal(order, "text")
    order.store.prepare(order.sweep.run("pretrain")).fail("it broke")
    choice = launch(order, slurm=QUICK).choice
    assert [left.run.slug for left in choice.failed] == [
        "pretrain",
        "adapt",
        "finetune",
        "evaluation",
    ]
    assert choice.failed[0].why == "it broke"
    assert "pretrain failed" in choice.failed[1].why
    assert _jobs(order, controller) == {"mixture": set()}
    launch(replace(order, failed="submit"), slurm=QUICK)
    assert _jobs(order, controller)["adapt"] == {"pretrain"}


def test_a_run_at_work_elsewhere_is_left_with_what_is_below_it(order, controller):
    _seal(order, "text", "mixture")
    with acquire(order.store.prepare(order.sweep.run("pretrain")).path):
        choice = launch(order, slurm=QUICK).choice
    assert [left.run.slug for left in choice.held][:2] == ["pretrain", "adapt"]
    assert choice.submit == ()


def test_what_a_person_cancelled_is_submitted_again_and_only_that(order, controller):
    launch(order, slurm=QUICK)
    jobs = {
        slug: job
        for run, place in records.newest(records.load_all(order.store.root)).items()
        for slug, job in [(place.task.directory.partition("--")[0], place.job)]
    }
    controller.end(jobs["text"], "CANCELLED")
    launched = launch(order, slurm=QUICK)
    assert [run.slug for run in launched.choice.submit] == ["text"]


@pytest.mark.parametrize(
    ("word", "again"), [("TIMEOUT", True), ("NODE_FAIL", True), ("OUT_OF_MEMORY", False)]
)
def test_what_was_stopped_from_outside_goes_on_and_what_failed_does_not(
    order, controller, word, again
):
    only = _first(order)
    launch(only, slurm=QUICK)
    (job,) = controller.arrays()
    controller.end(f"{job}_0", word)
    launched = launch(only, slurm=QUICK)
    assert bool(launched.arrays) == again
    assert bool(launched.choice.failed) != again
    if not again:
        assert "study retry" in launched.choice.failed[0].why


@pytest.mark.parametrize("command", ["squeue", "sbatch"])
def test_a_silent_slurm_gets_nothing_and_the_next_launch_does_it_all(order, controller, command):
    launch(_first(order), slurm=QUICK)  # something is recorded, so that states are asked for
    controller.expect(command, *["down"] * 8)
    with pytest.raises(Unanswered):
        launch(order, slurm=QUICK)
    assert len(controller.arrays()) == 1
    with controller.state() as state:
        state["moods"].clear()
    launch(order, slurm=QUICK)
    assert _once(order, controller)


def _first(order):
    return replace(order, sweep=order.sweep.only([order.sweep.run("text")]))


def test_a_lost_answer_does_not_submit_twice(order, controller):
    controller.expect("sbatch", "well", "lost", "well", "lost")
    launch(order, slurm=QUICK)
    assert _once(order, controller)


def test_where_slurm_takes_no_more_what_it_took_goes_on(order, controller):
    controller.expect("sbatch", "well", "well", "refused")
    with pytest.raises(Refused, match="violates policy"):
        launch(order, slurm=QUICK)
    assert [array["held"] for array in controller.arrays().values()] == [False, False]
    launch(order, slurm=QUICK)
    assert _once(order, controller)


def _once(order, controller):
    """Whether SLURM has every run exactly once, released, waiting for exactly what it needs."""
    arrays = controller.arrays()
    assert sum(len(array["tasks"]) for array in arrays.values()) == len(order.sweep.runs)
    assert not any(array["held"] for array in arrays.values())
    expected = {run.slug: {each.slug for each in run.parents} for run in order.sweep.runs}
    assert _jobs(order, controller) == expected
    assert all(array.released for array in records.load_all(order.store.root))
    return True


class _Killed(BaseException):
    pass


def _strike_at(number, monkeypatch, controller):
    """Die at the number-th of all writes, removals and commands: before it and after it by turns;
    returns a list that holds the death.
    """
    seen, deaths = [], []

    def struck(real):
        def wrapper(*arguments, **named):
            seen.append(real)
            mine = len(seen)
            if 2 * mine - 1 == number:
                deaths.append(number)
                raise _Killed
            answer = real(*arguments, **named)
            if 2 * mine == number:
                deaths.append(number)
                raise _Killed
            return answer

        return wrapper

    monkeypatch.setattr(submit, "publish_file", struck(submit.publish_file))
    monkeypatch.setattr(records, "publish_file", struck(records.publish_file))
    monkeypatch.setattr(submit.shutil, "rmtree", struck(submit.shutil.rmtree))
    monkeypatch.setattr(slurm.subprocess, "run", struck(slurm.subprocess.run))
    return deaths


@pytest.mark.parametrize(
    ("children", "least"), [(0, 35), pytest.param(2, 55, marks=pytest.mark.slow)]
)
def test_a_launcher_killed_at_any_point_leaves_what_the_next_one_completes(
    tmp_path, controller, children, least
):
    points = 0
    while True:
        points += 1
        folder = tmp_path / str(points)
        folder.mkdir()
        parent = made.pretrain()
        below = [made.adapt(parent, f"child{seed}", seed=seed) for seed in range(children)]
        order = _order(folder, parent, *below)
        controller.path = folder / "slurm.json"
        with pytest.MonkeyPatch.context() as patch:
            deaths = _strike_at(points, patch, controller)
            with contextlib.suppress(_Killed):
                launch(order, slurm=QUICK, warn=_quiet)
        if not deaths:
            break
        launch(order, slurm=QUICK, warn=_quiet)
        assert _once(order, controller), points
    assert points > least


def test_a_second_launcher_is_told_who_is_at_work(order, controller):
    order.store.root.mkdir()
    records.cluster_path(order.store.root).mkdir()
    with (
        acquire(records.cluster_path(order.store.root)),
        pytest.raises(LeaseHeld, match=f"process {os.getpid()}"),
    ):
        launch(order, slurm=QUICK)
    assert controller.arrays() == {}


def test_a_held_task_that_a_person_cancelled_does_not_stop_the_completion(tmp_path, controller):
    parent = made.pretrain()
    order = _order(tmp_path, parent, made.adapt(parent), made.adapt(parent, "other", seed=2))
    controller.expect("scontrol", "well", "down", "down", "down")
    with pytest.raises(Unanswered):
        launch(order, slurm=QUICK)
    (last,) = [job for job, array in controller.arrays().items() if len(array["tasks"]) == 2]
    controller.end(f"{last}_0", "CANCELLED")
    launch(order, slurm=QUICK)
    arrays = controller.arrays()
    assert arrays[last]["tasks"]["1"]["depends"]
    assert not arrays[last]["held"]


def test_a_rehearsal_writes_every_script_and_asks_slurm_nothing(order, controller):
    rehearsed = dry_run(order)
    assert controller.calls("squeue") == controller.calls("sbatch") == []
    assert len(rehearsed.scripts) == 5
    assert all(path.exists() for path in rehearsed.scripts)
    for run in order.sweep.runs:
        script = (order.store.directory(run) / "job.sh").read_text()
        assert "#SBATCH --mem=2G\n" in script
    assert records.load_all(order.store.root) == ()
    launch(order, slurm=QUICK)
    assert _once(order, controller)


def test_a_rehearsal_leaves_the_scripts_of_queued_runs_alone(order, controller):
    launch(order, slurm=QUICK)
    script = order.store.directory(order.sweep.run("text")) / "job.sh"
    before = script.read_text()
    rehearsed = dry_run(order)
    assert rehearsed.groups == ()
    assert len(rehearsed.choice.waiting) == 6
    assert script.read_text() == before


def test_stores_that_jobs_could_not_use_are_refused_before_anything(tmp_path, order, controller):
    with pytest.raises(ValueError, match="relative"):
        launch(replace(order, store=Store("runs")), slurm=QUICK)
    with pytest.raises(ValueError, match="printable"):
        launch(replace(order, store=Store(tmp_path / "a\nb")), slurm=QUICK)
    with pytest.raises(ValueError, match="backslash"):
        launch(replace(order, store=Store(tmp_path / "a\\b")), slurm=QUICK)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="no store can be made"):
        launch(replace(order, store=Store(tmp_path / "file" / "store")), slurm=QUICK)
    assert controller.calls("sbatch") == []


def test_an_optimiser_that_the_zero_stage_rules_out_is_refused_before_anything(
    tmp_path, controller
):
    optimizer = Adafactor(learning_rate=0.01, decay_rate=0.8, clip_threshold=1.0, weight_decay=0.0)
    run = made.pretrain()
    run = replace(run, training=replace(run.training, optimizer=optimizer))
    order = _order(tmp_path, run, text=PROFILE + "[execution]\nzero = 1\n")
    with pytest.raises(ValueError, match="trains with Adafactor, and zero is 1"):
        launch(order, slurm=QUICK)
    with pytest.raises(ValueError, match="trains with Adafactor, and zero is 1"):
        dry_run(order)
    assert controller.calls("sbatch") == []
    assert not list(order.store.root.glob("*--*"))


def test_a_read_only_store_is_refused(order, monkeypatch):
    order.store.root.mkdir()
    monkeypatch.setattr(launches.os, "access", lambda path, mode: False)
    with pytest.raises(StoreError, match="read-only"):
        dry_run(order)
