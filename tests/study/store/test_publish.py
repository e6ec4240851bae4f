"""Atomic publishing: what is on the disk when, and every damage named."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from made_folders import flip_a_byte, write_files

from study.store import publish
from study.store.lease import acquire
from study.store.publish import (
    CorruptError,
    publish_directory,
    publish_file,
    remove_leftovers,
    verify,
)


def test_a_published_directory_verifies_and_lists_sizes_and_digests(tmp_path):
    publish_directory(tmp_path / "final", write_files)
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
    publish_directory(tmp_path / "final", write_files)
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
    publish_directory(tmp_path / "final", write_files)
    away = ("rename", "final", ".final")
    assert calls == [*inside, away, ("rename", ".final", "final"), ("fsync", ".", 0)]


DAMAGE = {
    "cut": ("model.bin", lambda path: os.truncate(path, 50)),
    "emptied": ("model.bin", lambda path: os.truncate(path, 0)),
    "flipped": ("model.bin", flip_a_byte),
    "flipped below": ("deep/state.json", flip_a_byte),
    "removed": ("deep/state.json", os.unlink),
    "added": ("deep/more.bin", lambda path: path.write_bytes(b"x")),
    "manifest cut": ("manifest.json", lambda path: os.truncate(path, 20)),
    "manifest removed": ("manifest.json", os.unlink),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_every_damage_is_found_and_the_file_named(tmp_path, name):
    publish_directory(tmp_path / "final", write_files)
    file, damage = DAMAGE[name]
    damage(tmp_path / "final" / file)
    with pytest.raises(CorruptError, match=file):
        verify(tmp_path / "final")


def _fails(folder):
    write_files(folder)
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("before", [False, True], ids=["new", "replacing"])
def test_a_full_disk_leaves_the_previous_state_and_nothing_aside(tmp_path, before):
    final = tmp_path / "final"
    if before:
        publish_directory(final, write_files)
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
    publish_directory(tmp_path / "final", write_files)
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
        write_files(folder)
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


def test_other_errors_of_a_read_are_not_repeated(store, monkeypatch):
    calls = []

    def denied():
        calls.append(1)
        raise PermissionError(errno.EACCES, "denied")

    with pytest.raises(PermissionError):
        publish.retry_stale(denied)
    assert calls == [1]


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
