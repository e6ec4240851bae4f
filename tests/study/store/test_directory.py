"""The run directory: atomic publishing, corruption named, ownership, status from files."""

import builtins
import errno
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import made_runs as made
import pytest

from study.store import publish
from study.store.directory import Store, StoreError, directory_name, status
from study.store.lease import acquire, holder_of
from study.store.publish import (
    CorruptError,
    publish_directory,
    publish_file,
    remove_leftovers,
    verify,
)


def _write(folder, *, weights=b"w" * 100):
    (folder / "model.bin").write_bytes(weights)
    (folder / "deep").mkdir()
    (folder / "deep" / "state.json").write_text("{}")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "runs")


@pytest.fixture
def directory(store):
    return store.open(made.pretrain())


def test_a_published_directory_verifies_and_lists_sizes_and_digests(tmp_path):
    publish_directory(tmp_path / "final", _write)
    verify(tmp_path / "final")
    entry = json.loads((tmp_path / "final" / "manifest.json").read_text())["files"]["model.bin"]
    assert entry["bytes"] == 100
    assert entry["sha256"] == publish.sha256(tmp_path / "final" / "model.bin")


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """Every fsync, with what it was of and its size, and every rename, in their order; a name that
    a writer has not finished with is told by its own beginning.
    """
    seen = []

    def told(path):
        parts = Path(path).relative_to(tmp_path).parts
        return "/".join(part.split(publish._ASIDE)[0] for part in parts) or "."

    def wrapped(name, paths):
        real = getattr(os, name)

        def call(*arguments):
            seen.append((name, *paths(*arguments)))
            return real(*arguments)

        monkeypatch.setattr(publish.os, name, call)

    def synced(handle):
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        return told(path), 0 if path.is_dir() else path.stat().st_size

    wrapped("fsync", synced)
    for name in ("replace", "rename"):
        wrapped(name, lambda before, after: (told(before), told(after)))
    return seen


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="needs to see what a handle is of"
)


@needs_proc
def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_name_after(tmp_path, calls):
    publish_file(tmp_path / "done.json", b"12345")
    assert calls == [
        ("fsync", ".done.json", 5),
        ("replace", ".done.json", "done.json"),
        ("fsync", ".", 0),
    ]


@needs_proc
def test_a_directory_is_on_the_disk_with_all_it_holds_before_it_has_its_name(tmp_path, calls):
    """Every file whole, then the manifest that names them, the names in every folder, the rename,
    and the name itself; a directory that is replaced goes between those two.
    """
    publish_directory(tmp_path / "final", _write)
    size = (tmp_path / "final" / "manifest.json").stat().st_size
    inside = [
        ("fsync", ".final/deep/state.json", 2),
        ("fsync", ".final/model.bin", 100),
        ("fsync", ".final/.manifest.json", size),
        ("replace", ".final/.manifest.json", ".final/manifest.json"),
        ("fsync", ".final", 0),
        ("fsync", ".final/deep", 0),
    ]
    assert calls == [*inside, ("rename", ".final", "final"), ("fsync", ".", 0)]
    calls.clear()
    publish_directory(tmp_path / "final", _write)
    away = ("rename", "final", ".final")
    assert calls == [*inside, away, ("rename", ".final", "final"), ("fsync", ".", 0)]


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "cut": ("model.bin", lambda path: os.truncate(path, 50)),
    "emptied": ("model.bin", lambda path: os.truncate(path, 0)),
    "flipped": ("model.bin", _flip),
    "flipped below": ("deep/state.json", _flip),
    "removed": ("deep/state.json", os.unlink),
    "added": ("deep/more.bin", lambda path: path.write_bytes(b"x")),
    "manifest cut": ("manifest.json", lambda path: os.truncate(path, 20)),
    "manifest removed": ("manifest.json", os.unlink),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_every_damage_is_found_and_the_file_named(tmp_path, name):
    publish_directory(tmp_path / "final", _write)
    file, damage = DAMAGE[name]
    damage(tmp_path / "final" / file)
    with pytest.raises(CorruptError, match=file):
        verify(tmp_path / "final")


def _fails(folder):
    _write(folder)
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("before", [False, True], ids=["new", "replacing"])
def test_a_full_disk_leaves_the_previous_state_and_nothing_aside(tmp_path, before):
    final = tmp_path / "final"
    if before:
        publish_directory(final, _write)
    with pytest.raises(OSError, match="No space left"):
        publish_directory(final, _fails)
    assert os.listdir(tmp_path) == (["final"] if before else [])
    if before:
        verify(final)


def test_a_full_disk_while_a_file_is_synced(tmp_path, monkeypatch):
    path = tmp_path / "done.json"
    publish_file(path, b"old")

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(publish.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        publish_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["done.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_as_the_kernel_tells_it(tmp_path):
    def write(folder):
        (folder / "small").write_text("x")
        with open("/dev/full", "wb") as file:
            file.write(b"x" * (1 << 20))

    with pytest.raises(OSError, match="No space left"):
        publish_directory(tmp_path / "final", write)
    assert os.listdir(tmp_path) == []


def test_replacing_a_directory_leaves_the_new_one_only(tmp_path):
    publish_directory(tmp_path / "final", _write)
    publish_directory(tmp_path / "final", lambda folder: (folder / "other").write_text("x"))
    verify(tmp_path / "final")
    assert sorted(os.listdir(tmp_path / "final")) == ["manifest.json", "other"]
    assert os.listdir(tmp_path) == ["final"]


KILLED = """
import os, signal, sys
from pathlib import Path
from study.store.publish import publish_directory
def write(folder):
    (folder / "half").write_bytes(b"x" * 1000)
    os.kill(os.getpid(), signal.SIGKILL)
publish_directory(Path(sys.argv[1]), write)
"""


def test_a_killed_writer_publishes_nothing_and_the_next_holder_cleans_up(directory):
    final = directory.checkpoint_path(10)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(final)])
    assert killed.returncode == -9
    assert not final.exists()
    assert directory.steps() == []
    left = list(final.parent.iterdir())
    assert len(left) == 1
    with acquire(directory.path):
        assert list(final.parent.iterdir()) == []


def test_what_a_live_writer_has_aside_stays(tmp_path):
    mine = publish.aside_name(tmp_path / "file")
    mine.write_text("half")
    assert remove_leftovers(tmp_path) == []
    assert mine.exists()


def test_what_another_machine_s_writer_left_aside_goes(tmp_path, monkeypatch):
    """Its process number says nothing here, even where it is that of a live process."""
    with monkeypatch.context() as patch:
        patch.setattr(publish.platform, "node", lambda: "another-host")
        file, folder = (publish.aside_name(tmp_path / name) for name in ("file", "deep"))
    file.write_text("half")
    folder.mkdir()
    (folder / "half").write_text("x")
    assert sorted(remove_leftovers(tmp_path)) == sorted([file, folder])
    assert os.listdir(tmp_path) == []


def test_a_process_of_another_user_is_alive(monkeypatch):
    def denied(pid, signal):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    assert publish.process_exists(os.getpid())
    assert not publish.process_exists(0)
    monkeypatch.setattr(publish.os, "kill", denied)
    assert publish.process_exists(1)


def test_damage_is_found_in_every_block_and_in_a_manifest_further_down(tmp_path, monkeypatch):
    """The directory's own manifest is the only file that it does not list."""
    monkeypatch.setattr(publish, "_BLOCK", 16)

    def write(folder):
        _write(folder)
        (folder / "deep" / "manifest.json").write_text("{}")

    publish_directory(tmp_path / "final", write)
    listed = json.loads((tmp_path / "final" / "manifest.json").read_text())["files"]
    assert listed.keys() == {"model.bin", "deep/state.json", "deep/manifest.json"}
    last = tmp_path / "final" / "model.bin"
    last.write_bytes(last.read_bytes()[:-1] + b"x")
    with pytest.raises(CorruptError, match=r"model\.bin has changed"):
        verify(tmp_path / "final")
    last.write_bytes(b"w" * 100)
    verify(tmp_path / "final")
    (tmp_path / "final" / "deep" / "manifest.json").write_text("[]")
    with pytest.raises(CorruptError, match=r"deep/manifest\.json has changed"):
        verify(tmp_path / "final")


def test_the_last_good_checkpoint_is_used_and_the_corrupt_one_named(directory):
    for step in (10, 20, 30):
        publish_directory(directory.checkpoint_path(step), _write)
    _flip(directory.checkpoint_path(30) / "model.bin")
    os.truncate(directory.checkpoint_path(20) / "model.bin", 5)
    said = []
    assert directory.latest(warn=said.append) == 10
    assert len(said) == 2
    assert "step-00000030/model.bin" in said[0]
    assert "step-00000020/model.bin" in said[1]
    assert directory.checkpoints() == [10]
    with pytest.raises(CorruptError, match=r"step-00000030/model\.bin"):
        directory.checkpoint(30)


def test_a_corrupt_checkpoint_is_loud_on_standard_error(directory, capsys):
    publish_directory(directory.checkpoint_path(10), _write)
    _flip(directory.checkpoint_path(10) / "model.bin")
    assert directory.latest() is None
    assert capsys.readouterr().err.startswith("WARNING: checkpoint of step 10 is corrupt")


def test_a_missing_checkpoint_is_refused_with_those_there(directory):
    publish_directory(directory.checkpoint_path(10), _write)
    with pytest.raises(StoreError, match="no checkpoint of step 20; kept: 10"):
        directory.checkpoint(20)


def test_requests_to_keep_add_up(directory):
    directory.keep([10, 5])
    directory.keep([20])
    assert directory.kept() == (5, 10, 20)


def test_opening_writes_the_run_and_where_it_comes_from(store):
    opened = store.open(made.pretrain())
    assert opened.path.name == f"pretrain--{made.pretrain().id[:12]}"
    (start,) = opened.provenance()
    assert {"commit", "dirty", "python", "packages", "hardware"} <= start.keys()
    assert start["packages"]["torch"]
    text = (opened.path / "provenance.json").read_text()
    secrets = [value for value in (os.environ.get("HOME"), os.environ.get("USER")) if value]
    assert not any(secret in text for secret in secrets if len(secret) > 4)
    store.open(made.pretrain())
    assert len(opened.provenance()) == 1


def test_a_directory_is_found_by_id_under_another_slug(store):
    opened = store.open(made.pretrain("old name"))
    assert store.directory(made.pretrain("new name")) == opened.path
    assert store.open(made.pretrain("new name")).path == opened.path
    assert len(os.listdir(store.root)) == 1


def test_a_directory_made_by_another_process_is_found(store):
    run = made.pretrain()
    assert status(run, store) == "planned"
    Store(store.root).open(replace(run, slug="elsewhere"))
    assert store.directory(run).name.startswith("elsewhere--")


def test_a_directory_of_another_run_stops_everything(store):
    opened = store.open(made.pretrain())
    other = made.pretrain("other", seed=2)
    (opened.path / "run.yaml").write_text(
        (store.open(other).path / "run.yaml").read_text(), encoding="utf-8"
    )
    for use in (store.open, store.existing, store.check_owner):
        with pytest.raises(StoreError, match=r"belongs to another run.*'other'.*not 'pretrain'"):
            use(made.pretrain())


CHANGED = {
    # row 10 of the fault table: what was changed -> the key that the refusal names
    "data": (
        replace(made.pretrain(), corpus=replace(made.CORPUS, tokenizer=made.MIXTURE)),
        "corpus.tokenizer: TrainedBPE against Corpus",
    ),
    "length": (
        replace(made.pretrain(), objective=made.FullLM(length=64)),
        "objective.length: 32 against 64",
    ),
    "seed": (made.pretrain(seed=2), "seed: 1 against 2"),
    "architecture": (
        replace(made.pretrain(), model=replace(made.MODEL, architecture="prefix_decoder")),
        'model.architecture: "causal_decoder" against "prefix_decoder"',
    ),
    "rate": (
        made.pretrain(learning_rate=2e-3),
        "training.optimizer.learning_rate: 0.001 against 0.002",
    ),
    "schedule": (
        replace(
            made.pretrain(),
            training=replace(made.training(), schedule=made.Constant(warmup_steps=3)),
        ),
        "training.schedule.warmup_steps: 2 against 3",
    ),
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_changed_run_is_another_directory_and_a_foreign_one_names_the_keys(store, name):
    changed, said = CHANGED[name]
    opened = store.open(made.pretrain())
    other = store.open(changed)
    assert other.path != opened.path
    (opened.path / "run.yaml").replace(other.path / "run.yaml")
    with pytest.raises(StoreError, match=re.escape(f"differ in {said}. Legal")):
        store.open(changed)


def test_of_many_differing_keys_five_are_named_and_the_rest_counted(store):
    changed = replace(
        made.pretrain(seed=2, steps=20, learning_rate=2e-3, weight_decay=0.2),
        model=replace(made.MODEL, layers=2, d_model=32, d_ff=64),
    )
    opened, other = store.open(made.pretrain()), store.open(changed)
    (opened.path / "run.yaml").replace(other.path / "run.yaml")
    with pytest.raises(StoreError, match=r"layers: 1 against 2; .*; and 2 more\. Legal"):
        store.open(changed)


def test_an_unreadable_run_file_stops_everything(store):
    opened = store.open(made.pretrain())
    (opened.path / "run.yaml").write_text("kind: Pretrain\nsemantics: 99\n")
    with pytest.raises(StoreError, match=r"run\.yaml:2: .*semantics is 99"):
        store.open(made.pretrain())


def test_a_directory_of_files_without_a_run_is_refused(store):
    path = store.directory(made.pretrain())
    path.mkdir(parents=True)
    (path / "precious.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"no run\.yaml"):
        store.open(made.pretrain())


def test_two_directories_of_one_id_are_refused(store):
    opened = store.open(made.pretrain())
    copy = opened.path.with_name(opened.path.name.replace("pretrain--", "copy--"))
    copy.mkdir()
    with pytest.raises(StoreError, match="two directories"):
        store.directory(made.pretrain())


@pytest.mark.parametrize("root", ["a b", "ünï", "deep/er/still"])
def test_odd_roots_work(tmp_path, root):
    store = Store(tmp_path / root)
    assert store.open(made.pretrain()).path.is_dir()
    assert status(made.pretrain(), store) == "planned"


def test_a_root_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "runs").write_text("")
    for use in (Store(tmp_path / "runs").open, Store(tmp_path / "runs").directory):
        with pytest.raises(StoreError, match="runs"):
            use(made.pretrain())


def test_slugs_become_names_that_every_file_system_takes():
    name = directory_name(made.pretrain("CD:FLM/ä b" + "x" * 300))
    slug, _, short = name.rpartition("--")
    assert slug.startswith("CD-FLM-b")
    assert len(slug) <= 100
    assert short == made.pretrain().id[:12]


def test_status_follows_the_files(store):
    run = made.pretrain()
    assert status(run, store) == "planned"
    directory = store.open(run)
    assert status(run, store) == "planned"
    with acquire(directory.path):
        assert status(run, store) == "running"
    directory.events.write_text("{}\n")
    assert status(run, store) == "interrupted"
    directory.fail("ValueError: x")
    assert status(run, store) == "failed"
    assert directory.failure() == "ValueError: x"
    directory.forget_failure()
    assert status(run, store) == "interrupted"
    directory.fail("again")
    directory.seal({"steps": 10})
    assert status(run, store) == "done"
    assert directory.done() == {"steps": 10}
    assert directory.failure() is None


def test_a_silent_holder_is_no_running_run(store):
    run = made.pretrain()
    directory = store.open(run)
    with acquire(directory.path):
        old = time.time() - 3600
        os.utime(directory.path / "lease.json", (old, old))
        assert status(run, store) == "interrupted"


def test_a_cut_seal_is_named(directory):
    directory.seal({"steps": 10})
    os.truncate(directory.path / "done.json", 5)
    with pytest.raises(CorruptError, match=r"done\.json"):
        directory.done()


def test_statuses_scan_the_root_once(store, monkeypatch):
    runs = [made.pretrain(f"r{seed}", seed=seed) for seed in range(50)]
    for run in runs[:20]:
        store.open(run).seal({})
    scans = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: scans.append(path) or scandir(path))
    fresh = Store(store.root)
    states = list(fresh.statuses(runs).values())
    assert states == ["done"] * 20 + ["planned"] * 30
    assert len(scans) == 1


class Stale:
    """The first calls of `os.open`'s kind on a file answer ESTALE, as NFS does."""

    def __init__(self, real, name, *, times):
        self.real, self.name, self.left = real, name, times

    def __call__(self, file, *arguments, **named):
        if Path(os.fspath(file)).name == self.name and self.left > 0:
            self.left -= 1
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(file))
        return self.real(file, *arguments, **named)


@pytest.fixture
def stale(monkeypatch):
    """Make the next look-ups of a file stale."""
    monkeypatch.setattr(publish, "STALE_SECONDS", 0.001)

    def made(name, *, times=3):
        one = Stale(builtins.open, name, times=times)
        monkeypatch.setattr(builtins, "open", one)
        monkeypatch.setattr(io, "open", one)  # what pathlib calls
        return one

    return made


@pytest.mark.parametrize("name", ["run.yaml", "done.json", "weights.bin", "lease.json"])
def test_a_stale_handle_is_looked_up_again(store, stale, name):
    directory = store.open(made.pretrain())
    directory.seal({"loss": 1.5})
    with acquire(directory.path):
        publish_directory(
            directory.checkpoint_path(3), lambda folder: (folder / "weights.bin").write_text("w")
        )
        one = stale(name)
        assert store.existing(made.pretrain()).done() == {"loss": 1.5}
        assert directory.checkpoint(3).is_dir()
        assert holder_of(directory.path).pid == os.getpid()
    assert one.left == 0


def test_a_handle_that_stays_stale_is_an_error(store, stale):
    directory = store.open(made.pretrain())
    directory.seal({"loss": 1.5})
    stale("done.json", times=100)
    with pytest.raises(OSError, match=r"Stale file handle.*done\.json"):
        directory.done()


def test_other_errors_of_a_read_are_not_repeated(store, monkeypatch):
    calls = []

    def denied():
        calls.append(1)
        raise PermissionError(errno.EACCES, "denied")

    with pytest.raises(PermissionError):
        publish.retry_stale(denied)
    assert calls == [1]


@pytest.mark.parametrize("kind", ["relative", "link", "link that leads nowhere"])
def test_roots_that_are_relative_or_links_work(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    root = Path("runs")
    if kind == "link":
        (tmp_path / "far").mkdir()
    if kind != "relative":
        root.symlink_to(tmp_path / "far")
    store = Store(root)
    if kind == "link that leads nowhere":
        with pytest.raises(StoreError, match="no directory can be made"):
            store.open(made.pretrain())
        return
    assert store.open(made.pretrain()).path.is_dir()
    assert status(made.pretrain(), Store(tmp_path / "runs")) == "planned"


@pytest.mark.parametrize("call", [errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_root_that_nobody_may_write_is_refused_before_any_work(tmp_path, monkeypatch, call):
    def refused(*_, **__):
        raise OSError(call, os.strerror(call))

    monkeypatch.setattr(os, "mkdir", refused)
    with pytest.raises(StoreError, match=f"no directory can be made at .*{os.strerror(call)}"):
        Store(tmp_path / "runs").open(made.pretrain())


@pytest.mark.parametrize("call", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_root_without_room_is_refused_and_keeps_no_probe(tmp_path, monkeypatch, call):
    store = Store(tmp_path / "runs")
    store.check_writable()
    assert list(store.root.iterdir()) == []

    def refused(_):
        raise OSError(call, os.strerror(call))

    monkeypatch.setattr(os, "fsync", refused)
    with pytest.raises(StoreError, match=f"nothing can be written to .*{os.strerror(call)}"):
        store.check_writable()
    assert list(store.root.iterdir()) == []


def test_publishing_leaves_no_file_open(tmp_path):
    def write(aside):
        (aside / "deep").mkdir()
        (aside / "deep" / "a").write_text("x")

    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        publish.publish_directory(tmp_path / "final", write)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_writer_s_own_error_is_told_though_nothing_is_left_of_it(tmp_path):
    def write(aside):
        shutil.rmtree(aside)
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        publish.publish_directory(tmp_path / "final", write)
