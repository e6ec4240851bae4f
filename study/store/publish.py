"""Atomic publishing and its proof: write aside, fsync, rename, and a manifest of digests.

Owns how bytes reach their final name. A reader sees the previous state or the whole new one, after
a crash at any point and on a full disk too. Does not know what a run is. No torch.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import platform
import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

MANIFEST = "manifest.json"
_ASIDE = ".aside-"
_BLOCK = 1 << 22
STALE_TRIES = 5
STALE_SECONDS = 0.2

T = TypeVar("T")


class CorruptError(ValueError):
    """Published bytes that differ from their manifest. The message names the file."""


def publish_file(path: Path, content: bytes) -> None:
    """Replace `path` by `content`, or leave it as it was and raise."""
    aside = aside_name(path)
    try:
        with open(aside, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            aside.unlink()
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a full disk does not say what there was no room for
        raise
    _sync_directory(path.parent)


def publish_directory(final: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a directory aside, add its manifest, and rename it to `final`.

    A directory that stands at `final` is replaced: it is renamed away first, so that the name is
    missing for an instant but never half filled.
    """
    aside = aside_name(final)
    try:
        aside.mkdir(parents=True)
        write(aside)
        manifest = {"files": _digests(aside, sync=_sync_file)}
        text = json.dumps(manifest, indent=1, sort_keys=True).encode()
        publish_file(aside / MANIFEST, text)
        for folder in sorted(path for path in aside.rglob("*") if path.is_dir()):
            _sync_directory(folder)
        if final.exists():
            away = aside_name(final)
            os.rename(final, away)
            os.rename(aside, final)
            shutil.rmtree(away, ignore_errors=True)
        else:
            os.rename(aside, final)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    _sync_directory(final.parent)


def retry_stale(read: Callable[[], T]) -> T:
    """What `read` gives, asked again where the file was replaced under its feet: a network file
    system then answers ESTALE to who had looked its name up before, and finds it at the next look.
    """
    for _ in range(STALE_TRIES):
        try:
            return read()
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
        time.sleep(STALE_SECONDS)
    return read()


def verify(directory: Path) -> None:
    """Raise CorruptError naming the first file that is missing, foreign, cut or changed."""
    manifest = directory / MANIFEST
    try:
        files = json.loads(retry_stale(manifest.read_bytes))["files"]
        expected = {name: (entry["bytes"], entry["sha256"]) for name, entry in files.items()}
    except FileNotFoundError:
        raise CorruptError(f"{manifest} is missing: {directory.name} was not published") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CorruptError(f"{manifest} is not a manifest") from None
    present = {_relative(path, directory) for path in _files(directory)}
    for name in sorted(present - expected.keys()):
        raise CorruptError(f"{directory / name} is not in the manifest")
    for name, (size, digest) in sorted(expected.items()):
        path = directory / name
        if not path.is_file():
            raise CorruptError(f"{path} is missing")
        found = path.stat().st_size
        if found != size:
            raise CorruptError(f"{path} has {found} bytes; its manifest says {size}")
        if sha256(path) != digest:
            raise CorruptError(f"{path} has changed: its sha256 is not the manifest's")


def sha256(path: Path) -> str:
    """The digest of a file's bytes, in hex."""
    return retry_stale(lambda: _sha256(path))


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def remove_leftovers(directory: Path) -> list[Path]:
    """Remove what writers that died left aside, at any depth; returns what went.

    Only the one holder of a directory's lease may call this. What a live process of this machine
    has aside stays: another launcher may be writing the very same `run.yaml`.
    """
    gone = []
    for path in sorted(directory.rglob(f"*{_ASIDE}*")):
        host, _, pid = path.name.rpartition(_ASIDE)[2].rpartition("-")[0].rpartition("-")
        if host == platform.node() and pid.isdigit() and process_exists(int(pid)):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        gone.append(path)
    return gone


def process_exists(pid: int) -> bool:
    """Whether a process of this number lives on this machine. A number may have been used again."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def aside_name(path: Path) -> Path:
    """A name beside `path` that says who writes it and that no reader looks at."""
    writer = f"{platform.node()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    return path.with_name(f".{path.name}{_ASIDE}{writer}")


def _files(directory: Path) -> list[Path]:
    return sorted(
        path for path in directory.rglob("*") if path.is_file() and path != directory / MANIFEST
    )


def _relative(path: Path, directory: Path) -> str:
    return path.relative_to(directory).as_posix()


def _digests(directory: Path, *, sync: Callable[[Path], None]) -> dict[str, dict[str, object]]:
    entries: dict[str, dict[str, object]] = {}
    for path in _files(directory):
        sync(path)
        entries[_relative(path, directory)] = {
            "bytes": path.stat().st_size,
            "sha256": sha256(path),
        }
    return entries


def _sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_directory(directory: Path) -> None:
    """Make a rename survive a power cut; some network file systems refuse, and have it anyway."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)
