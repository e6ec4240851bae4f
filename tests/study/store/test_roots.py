"""Where a store may lie, and what its file system answers."""

import builtins
import errno
import io
import os
from pathlib import Path

import made_runs as made
import pytest

from study.store import publish
from study.store.directory import Store, StoreError, status
from study.store.lease import acquire, holder_of
from study.store.publish import (
    publish_directory,
)


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
