"""A plan on this machine with real worker processes: order, failure, crash, signals, resumption."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import made_runs as made
import pytest

from study.launch import local, rank_processes
from study.launch.local import LaunchError, default_workers, priorities, run_plan, with_threads
from study.runs.execution import Execution
from study.runs.plan import Sweep, children, close
from study.store.directory import Store, status
from study.store.lease import acquire, holder_of
from study.train.signals import EXIT_CODE

HERE = Path(__file__).parents[2] / "made"
WORKER = (sys.executable, str(HERE / "made_worker.py"))


@pytest.fixture
def store(tmp_path):
    root = tmp_path / "runs"
    root.mkdir()
    return Store(root)


def _sweep(*runs):
    return Sweep(path=Path("made.py"), title="made", declared=runs, runs=close(runs))


def _run(sweep, store, *, workers=2, command=WORKER, execution=None):
    events = []
    outcome = run_plan(
        sweep,
        store=store,
        execution=execution or Execution(threads=1),
        workers=workers,
        command=command,
        on_event=events.append,
    )
    return outcome, events


def _order(store):
    return [line.split() for line in (store.root / "order.txt").read_text().splitlines()]


def _started(store):
    return [slug for slug, *_ in _order(store)]


def test_everything_runs_once_and_after_what_it_needs(store):
    sweep = _sweep(*made.tree())
    outcome, events = _run(sweep, store)
    assert outcome.exit_code == 0
    assert set(outcome.ends.values()) == {"done"}
    assert len(outcome.ends) == len(sweep.runs) == 6
    started = _started(store)
    assert sorted(started) == sorted(run.slug for run in sweep.runs)
    for before, after in (
        ("text", "pretrain"),
        ("text", "mixture"),
        ("pretrain", "adapt"),
        ("adapt", "finetune"),
        ("mixture", "finetune"),
        ("finetune", "evaluation"),
    ):
        assert started.index(before) < started.index(after)
    assert all(status(run, store) == "done" for run in sweep.runs)
    assert {event.report["step"] for event in events if event.what == "report"} >= {1}


def test_workers_persist_and_get_their_threads(store):
    runs = [made.pretrain(f"ok-{seed}", seed=seed) for seed in range(6)]
    _run(_sweep(*runs), store, workers=2, execution=Execution(threads=3))
    lines = _order(store)
    assert len({pid for _, pid, _ in lines}) <= 2
    assert {threads for *_, threads in lines} == {"3"}


def test_a_failure_cancels_its_descendants_and_nothing_else(store):
    bad = made.pretrain("fail-1", seed=1)
    good = made.pretrain("ok-1", seed=2)
    below = made.adapt(bad, "below")
    lowest = made.finetune(below, "lowest")
    other = made.adapt(good, "other")
    sweep = _sweep(bad, good, below, lowest, other)
    outcome, events = _run(sweep, store)
    assert outcome.exit_code == 1
    ends = {run.slug: outcome.ends[run.id] for run in sweep.runs}
    assert ends == {
        "text": "done",
        "mixture": "done",
        "fail-1": "failed",
        "ok-1": "done",
        "below": "cancelled",
        "lowest": "cancelled",
        "other": "done",
    }
    (failed,) = [event for event in events if event.what == "failed"]
    assert failed.message == "ValueError: this run was told to fail"
    (cancelled, _) = [event for event in events if event.what == "cancelled"]
    assert "fail-1 failed" in cancelled.message
    assert status(bad, store) == "failed"
    assert store.existing(bad).failure() == failed.message
    assert "Traceback" in store.existing(bad).log.read_text()


def test_the_next_start_does_what_is_left_and_only_that(store):
    bad, good = made.pretrain("fail-1", seed=1), made.pretrain("ok-1", seed=2)
    child = made.adapt(bad, "below")
    _run(_sweep(bad, good, child), store)
    (store.root / "order.txt").unlink()
    # The same run under a slug that works: the slug is no part of what it is.
    mended = made.pretrain("ok-mended", seed=1)
    sweep = _sweep(mended, good, made.adapt(mended, "below"))
    outcome, _ = _run(sweep, store)
    assert outcome.exit_code == 0
    assert sorted(_started(store)) == ["below", "ok-mended"]
    assert status(bad, store) == "done"
    assert store.existing(bad).failure() is None


@pytest.mark.parametrize(
    ("slug", "words"),
    [("crash-1", ["SIGKILL", "last words before the crash"]), ("exit-1", ["exit code 9"])],
)
def test_a_crashed_worker_fails_its_run_with_its_last_words(store, slug, words):
    bad = made.pretrain(slug, seed=1)
    rest = [made.pretrain(f"ok-{seed}", seed=seed) for seed in range(2, 6)]
    outcome, events = _run(_sweep(bad, *rest), store, workers=1)
    assert outcome.exit_code == 1
    assert outcome.ends[bad.id] == "failed"
    assert [outcome.ends[run.id] for run in rest] == ["done"] * 4
    (failed,) = [event for event in events if event.what == "failed"]
    for word in words:
        assert word in failed.message
    directory = store.existing(bad)
    assert words[0] in directory.failure()


def test_a_reason_that_a_worker_wrote_down_itself_stands(store):
    bad = made.pretrain("noted", seed=1)
    outcome, _ = _run(_sweep(bad), store, workers=1)
    assert outcome.ends[bad.id] == "failed"
    assert store.existing(bad).failure() == "another rank failed"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_log_without_room_fails_its_run_and_no_other(store):
    bad, good = made.pretrain("full", seed=1), made.pretrain("ok", seed=2)
    directory = store.open(bad)
    directory.log.symlink_to("/dev/full")
    outcome, events = _run(_sweep(bad, good), store, workers=1)
    assert outcome.ends == {
        bad.id: "failed",
        good.id: "done",
        made.CORPUS.id: "done",
    }
    (failed,) = [event for event in events if event.what == "failed"]
    assert "No space left on device" in failed.message
    assert "SIG" not in failed.message  # the worker lived on
    assert directory.done() is None
    assert "No space left" in directory.failure()
    directory.log.unlink()
    outcome, _ = _run(_sweep(bad, good), store, workers=1)
    assert outcome.exit_code == 0
    assert directory.failure() is None


def test_what_a_run_prints_is_in_its_log_and_never_a_message(store):
    run = made.pretrain("noisy-1")
    outcome, _ = _run(_sweep(run), store)
    assert outcome.exit_code == 0
    log = store.existing(run).log.read_text()
    assert "not a message" in log
    assert "straight to the descriptor" in log


def test_a_run_that_ends_unsealed_has_failed(store):
    run = made.pretrain("unsealed-1")
    outcome, events = _run(_sweep(run), store)
    assert outcome.exit_code == 1
    assert "without sealing" in events[-1].message


def test_nothing_starts_when_everything_is_done(store):
    sweep = _sweep(*made.tree())
    for run in sweep.runs:
        directory = store.open(run)
        directory.seal({})
    outcome, events = _run(sweep, store, command=("/bin/false",))
    assert outcome.exit_code == 0
    assert events == []


def test_a_finished_parent_without_the_step_that_is_asked_for_goes_first(store):
    parent = made.pretrain(steps=10)
    _run(_sweep(parent), store)
    assert store.existing(parent).steps() == [10]
    child = made.adapt(parent, "child", step=5)
    store.existing(parent).path.joinpath("done.json").read_text()
    todo = local.remaining(_sweep(child), store=store)
    assert [run.slug for run in todo] == ["pretrain", "child"]
    outcome, _ = _run(_sweep(child), store)
    assert outcome.exit_code == 0
    assert store.existing(parent).kept() == (5, 10)


def test_a_foreign_directory_stops_the_command_before_anything_starts(store):
    run, other = made.pretrain(), made.pretrain("other", seed=2)
    path = store.open(run).path
    (path / "run.yaml").write_text((store.open(other).path / "run.yaml").read_text())
    with pytest.raises(ValueError, match="belongs to another run"):
        _run(_sweep(run), store, command=("/bin/false",))


def test_a_run_that_another_process_holds_is_left_alone(store):
    held, free = made.pretrain("ok-held", seed=1), made.pretrain("ok-free", seed=2)
    child = made.adapt(held, "below")
    outcome, events = [], []
    directory = store.open(held)
    with acquire(directory.path):
        outcome, events = _run(_sweep(held, free, child), store)
    assert outcome.exit_code == 3
    assert outcome.ends[held.id] == "held"
    assert outcome.ends[free.id] == "done"
    assert outcome.ends[child.id] == "cancelled"
    (refused,) = [event for event in events if event.what == "held"]
    assert f"process {os.getpid()} on" in refused.message
    assert store.existing(held).done() is None


def test_workers_that_cannot_start_are_an_error_with_their_words(store):
    command = (sys.executable, "-c", "import sys; sys.exit('no such thing')")
    outcome, events = _run(_sweep(made.CORPUS), store, command=command)
    assert outcome.exit_code == 1
    assert "no such thing" in events[-1].message
    with pytest.raises((LaunchError, OSError)):
        _run(_sweep(made.MIXTURE), store, command=("/no/such/program",))


def test_the_longest_remaining_path_goes_first(store):
    short = made.pretrain("ok-short", seed=1, steps=10)
    long = made.pretrain("ok-long", seed=2, steps=10)
    tail = made.adapt(long, "tail", steps=100)
    sweep = _sweep(made.CORPUS, short, long, tail)
    rank = priorities(sweep.runs, below=children(sweep.runs))
    ids = [run.id for run in (made.CORPUS, long, tail, short)]
    assert sorted(rank, key=rank.__getitem__, reverse=True) == ids
    _run(sweep, store, workers=1)
    assert _started(store) == ["text", "ok-long", "tail", "ok-short"]


def test_default_workers_fit_what_is_ready_and_the_machine(monkeypatch):
    wide = close([made.pretrain(f"p{seed}", seed=seed) for seed in range(9)])
    chain = close([made.adapt(made.pretrain())])
    monkeypatch.setattr(local, "available_cores", lambda: 4)
    assert default_workers(wide, execution=Execution()) == 4
    assert default_workers(chain, execution=Execution()) == 1
    assert default_workers(wide, execution=Execution(device="cuda")) == 1
    pairs = Execution(ranks=2, zero=0)
    assert default_workers(wide, execution=pairs) == 2
    assert with_threads(pairs, threads=None, workers=2).threads == 1
    assert with_threads(Execution(), threads=None, workers=2).threads == 2
    assert with_threads(Execution(), threads=None, workers=3).threads == 1
    assert with_threads(Execution(), threads=7, workers=2).threads == 7


SWEEP = """
import sys
sys.path.insert(0, {here!r})
import made_runs as made
def runs():
    first, second = made.pretrain("slow-1", seed=1), made.pretrain("slow-2", seed=2)
    return [first, second, made.adapt(first, "after")]
"""


def _launcher(tmp_path, store, *, workers=2):
    sweep = tmp_path / "sweep.py"
    sweep.write_text(SWEEP.format(here=str(HERE)))
    process = subprocess.Popen(
        [sys.executable, str(HERE / "made_launcher.py"), str(sweep), str(store.root), str(workers)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"STUDY_LEASE_SECONDS": "2"},
        start_new_session=True,
    )
    slow = [made.pretrain("slow-1", seed=1), made.pretrain("slow-2", seed=2)]
    return process, slow


def _until(condition, *, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def _events(store, run):
    directory = store.directory(run)
    path = directory / "events.jsonl"
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_checkpoints_every_worker_and_the_next_start_goes_on(tmp_path, store, number):
    process, slow = _launcher(tmp_path, store)
    _until(lambda: all(len(_events(store, run)) > 3 for run in slow))
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does: the whole foreground group
    else:
        process.send_signal(number)
    assert process.wait(timeout=60) == EXIT_CODE
    process.stdout.close()
    for run in slow:
        directory = store.existing(run)
        steps = len(_events(store, run))
        assert 3 < steps < 40
        assert directory.latest() == steps
        assert status(run, store) == "interrupted"
        assert holder_of(directory.path) is None
    assert status(made.adapt(slow[0], "after"), store) == "planned"

    process, _ = _launcher(tmp_path, store)
    assert process.wait(timeout=120) == 0
    process.stdout.close()
    for run in slow:  # every step once: nothing was lost and nothing done again
        assert len(_events(store, run)) == 40
    assert status(made.adapt(slow[0], "after"), store) == "done"


def test_workers_of_a_killed_launcher_checkpoint_and_leave(tmp_path, store):
    process, slow = _launcher(tmp_path, store)
    _until(lambda: all(len(_events(store, run)) > 3 for run in slow))
    process.kill()
    process.wait()
    process.stdout.close()
    _until(lambda: all(status(run, store) == "interrupted" for run in slow))
    assert all(store.existing(run).latest() == len(_events(store, run)) for run in slow)


def test_a_second_ctrl_c_does_not_wait(tmp_path, store):
    process, slow = _launcher(tmp_path, store)
    _until(lambda: all(len(_events(store, run)) > 3 for run in slow))
    pids = [holder_of(store.directory(run)).pid for run in slow]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)  # a worker that does not answer
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == EXIT_CODE
    process.stdout.close()


def test_two_launchers_on_one_plan_do_each_run_once(tmp_path, store):
    both = [_launcher(tmp_path, store, workers=1)[0] for _ in range(2)]
    codes = [process.wait(timeout=180) for process in both]
    for process in both:
        process.stdout.close()
    assert set(codes) <= {0, 3}
    started = _started(store)
    assert len(started) == len(set(started))


@pytest.mark.parametrize(
    "command", [local.WORKER, rank_processes.COMPANION], ids=["worker", "rank"]
)
def test_a_file_of_the_user_s_folder_is_no_module(tmp_path, command):
    """Whoever keeps a `csv.py` or a `typer.py` beside a sweep can still run it."""
    (tmp_path / "typer.py").write_text("raise SystemExit('the user has a file of this name')")
    answer = subprocess.run(
        command, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert "the user has a file" not in answer.stderr
    assert answer.returncode in (0, 1), answer.stderr
