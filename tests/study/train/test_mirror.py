"""wandb as a mirror: whatever it does, training and events.jsonl are the same without it."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import types
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import typer
from tiny_runs import TEXT, execution, pretrain

from study.runs.identity import canonical
from study.store.directory import Store
from study.store.events import EventLog, read_curve
from study.train import mirror
from study.train.callbacks import Records
from study.train.mirror import Mirror
from study.train.work import execute

KEY = "3f9c" * 10


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("built")
    execute(TEXT, store=Store(root), execution=execution())
    return root


@pytest.fixture
def store(built, tmp_path):
    shutil.copytree(built, tmp_path / "runs")
    return Store(tmp_path / "runs")


class Service:
    """wandb as its server behaves: a step never goes back, and what does is left out.

    fails_from: the first call of `log` that finds no network.
    """

    def __init__(self, *, fails_from=sys.maxsize):
        self.fails_from = fails_from
        self.calls = 0
        self.kept = {}
        self.left_out = []
        self.settings = None
        self.config = None

    def init(self, **arguments):
        self.settings = arguments["settings"]
        self.config = arguments["config"]
        return self

    def Settings(self, **settings):
        return settings

    def log(self, numbers, *, step):
        self.calls += 1
        if self.calls >= self.fails_from:
            raise ConnectionError(f"no route to host; api_key={KEY}")
        if self.kept and step < max(self.kept):
            self.left_out.append(step)
            return
        self.kept.setdefault(step, {}).update(numbers)

    def finish(self):
        return None


def session(monkeypatch, service):
    module = types.SimpleNamespace(init=service.init, Settings=service.Settings)
    monkeypatch.setitem(sys.modules, "wandb", module)
    return service


def _weights(store, run):
    path = store.existing(run).checkpoint(run.training.steps)
    return (path / "model.safetensors").read_bytes()


def test_a_network_that_goes_away_changes_nothing_but_the_mirror(store, tmp_path, monkeypatch):
    run = pretrain(6)
    other = Store(tmp_path / "other")
    shutil.copytree(store.root, other.root)
    execute(run, store=other, execution=execution(wandb="off"))
    service = session(monkeypatch, Service(fails_from=4))
    told = []
    execute(run, store=store, execution=execution(wandb="online"), report=told.append)
    assert service.calls == 4  # and never asked again
    warnings = [each["message"] for each in told if each["event"] == "warning"]
    assert warnings == [
        "wandb stopped mirroring (ConnectionError: no route to host; api_key=[redacted])"
    ]
    assert _weights(store, run) == _weights(other, run)
    losses = [
        [event["loss"] for event in read_curve(each.existing(run).events).steps]
        for each in (store, other)
    ]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 6


def records(directory, *, mode, run=None):
    directory.mkdir(exist_ok=True)
    return Records(
        log=EventLog(directory / "events.jsonl"),
        mirror=Mirror(run or pretrain(10), mode=mode, directory=directory, warn=print),
    )


def steps(each, first, last):
    for step in range(first, last + 1):
        each.write("step", {"step": step, "loss": 100.25 + step})


def test_a_step_that_goes_back_on_resume_loses_no_step(tmp_path, monkeypatch):
    """Killed after step 7, with a checkpoint of step 5: 6 and 7 are computed again."""
    service = session(monkeypatch, Service())
    with records(tmp_path, mode="online") as each:
        steps(each, 1, 7)
    with records(tmp_path, mode="online") as each:
        assert each.resume(5)
        steps(each, 6, 10)
    assert [event["step"] for event in read_curve(tmp_path / "events.jsonl").steps] == [
        *range(1, 11)
    ]
    assert sorted(service.kept) == [*range(1, 11)]
    assert service.left_out == [6]  # the mirror has the first account of it, and that was the same
    assert all(service.kept[step] == {"step/loss": 100.25 + step} for step in service.kept)


def test_offline_each_start_has_a_file_of_its_own_and_no_step_is_lost(tmp_path, capsys):
    with records(tmp_path, mode="offline") as each:
        steps(each, 1, 7)
    time.sleep(1.1)  # wandb names a start's directory by its second
    with records(tmp_path, mode="offline") as each:
        each.resume(5)
        steps(each, 6, 10)
    assert capsys.readouterr().out == ""  # no warning
    files = sorted((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2
    for path, wanted in zip(files, (range(1, 8), range(6, 11)), strict=True):
        found = path.read_bytes()
        for step in range(1, 11):
            assert (f"{100.25 + step}".encode() in found) == (step in wanted), (path, step)
    assert len(read_curve(tmp_path / "events.jsonl").steps) == 10


def test_offline_nothing_is_sent(tmp_path):
    """Not even wandb's own telemetry, which looks for a server in every mode but disabled."""
    program = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parents[2] / "made")]!r}
from pathlib import Path
from tiny_runs import pretrain
from study.train.mirror import Mirror

mirror = Mirror(pretrain(2), mode="offline", directory=Path({str(tmp_path)!r}), warn=print)
mirror.log("step", {{"step": 1, "loss": 1.0}})
mirror.close()
"""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"WANDB_BASE_URL": address},
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
        server.settimeout(0.5)
        with pytest.raises(TimeoutError):
            server.accept()


def test_the_mirror_starts_with_the_first_step_and_holds_what_came_before(tmp_path, monkeypatch):
    service = session(monkeypatch, Service())
    with records(tmp_path / "nothing", mode="online"):
        pass
    assert service.settings is None  # a run that ends before its first step starts no service
    with records(tmp_path / "before", mode="online") as each:
        each.write("validation", {"step": 0, "loss": 7.5})
        time.sleep(0.2)
        assert service.settings is None
    assert service.kept == {0: {"validation/loss": 7.5}}
    with records(tmp_path / "steps", mode="online") as each:
        each.write("validation", {"step": 0, "loss": 6.5})
        steps(each, 1, 2)
    assert list(service.kept) == [0, 1, 2]


def test_events_are_whole_before_the_mirror_is_waited_for(tmp_path, monkeypatch):
    """A job has little time left when it ends; the truth is written first."""
    service = session(monkeypatch, Service())
    seen = []
    service.finish = lambda: seen.append(len(read_curve(tmp_path / "events.jsonl").steps))
    with records(tmp_path, mode="online") as each:
        steps(each, 1, 3)
    assert seen == [3]


def test_a_service_that_never_answers_is_waited_for_a_while(tmp_path, monkeypatch):
    """The real client against a port that takes connections and says nothing."""
    monkeypatch.setattr(mirror, "WAIT_SECONDS", 2.0)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        told = []
        begun = time.monotonic()
        each = Mirror(pretrain(2), mode="online", directory=tmp_path, warn=told.append)
        each.log("step", {"step": 1, "loss": 1.0})
        each.close()
        assert time.monotonic() - begun < 30
    assert len(told) == 1
    assert told[0].startswith("wandb stopped mirroring (CommError: ")


def test_both_ends_are_waited_for_no_longer_than_declared(tmp_path, monkeypatch):
    service = session(monkeypatch, Service())
    with records(tmp_path, mode="online") as each:
        steps(each, 1, 1)
    assert service.settings["init_timeout"] == mirror.WAIT_SECONDS
    assert service.settings["finish_timeout"] == mirror.WAIT_SECONDS


def test_secrets_of_config_command_line_and_environment_stay_here(tmp_path, monkeypatch):
    """wandb's own file, written by wandb, after a run whose every place holds a key."""
    monkeypatch.setenv("WANDB_API_KEY", "e" + KEY[1:])
    monkeypatch.setenv("DB_PASSWORD", "hunter2hunter2")
    monkeypatch.setattr(sys, "argv", ["study", "run", "sweep.py", "--api-key", "c" + KEY[1:]])
    run = pretrain(2)
    text = run.corpus.documents
    source = replace(text.sources[0], uri=f"world://text?token={KEY}", text_field="use_cls_token")
    run = replace(
        run, corpus=replace(run.corpus, documents=replace(text, sources=(source, source)))
    )
    with records(tmp_path, mode="offline", run=run) as each:
        steps(each, 1, 2)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(b"use_cls_token" in path.read_bytes() for path in files)
    assert any(b"[redacted]" in path.read_bytes() for path in files)
    for path in files:
        for secret in (KEY, "e" + KEY[1:], "c" + KEY[1:], "hunter2hunter2"):
            assert secret.encode() not in path.read_bytes(), path


def test_the_mirrored_config_is_the_run_where_it_holds_no_secret(tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith(("key", "token", "secret", "password")):
            monkeypatch.delenv(name)
    service = session(monkeypatch, Service())
    run = replace(pretrain(2), slug="use_cls_token")
    with records(tmp_path, mode="online", run=run) as each:
        steps(each, 1, 1)
    assert service.config == canonical(run)


def test_a_failure_is_noted_without_the_secrets_of_its_message(tmp_path, capfd):
    """In failed.json, in the run's log, and on the terminal of a command."""
    from study.commands import options
    from study.launch import worker

    message = f"401 for https://hub/api?token={KEY} with use_cls_token=True1234567"

    def fail(*_, **__):
        raise OSError(message)

    directory = Store(tmp_path / "runs").open(pretrain(2))
    with contextlib.suppress(typer.Exit):
        options.ends_clearly(fail)()
    end, told = worker._executed(fail)
    assert end == "failed"
    worker.note_failure(directory, message)
    log = capfd.readouterr().err
    assert log.count("OSError: 401 for") == 1
    for text in (log, told, (directory.path / "failed.json").read_text()):
        assert KEY not in text
        assert "token=[redacted]" in text
        assert "use_cls_token=True1234567" in text
