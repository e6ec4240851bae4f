"""A hub data set as a file in the cache: what a machine without a network reads instead.

Owns the copy, its name, its check and its rows, which are those of the stream, in its order. The
stream itself is `sources`' affair. Each row is a line of text in one column of a Parquet file
(`typed_rows`), so that no types are inferred from the rows that come first. A copy has no digest
that a run could name (the hub's commit is that), so each page carries a checksum and is checked
once a process before the first row is given.

A checkpoint of the hub at a commit is a directory in the cache: weights as safetensors,
configuration and tokenizer. Pickles and code are never downloaded. The download is
huggingface_hub's, which checks what it gets and reads HF_ENDPOINT and a token from the environment.
No torch.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from study.runs.source import Source
from study.sources import typed_rows
from study.sources.formats import Row
from study.store.publish import aside_name

ROWS = 1000
# it stands in a copy's name, so that one of another form (Arrow's own types, once) is never read
_FORM = 2
_COLUMN = "row"


def copy_path(source: Source, *, cache: Path) -> Path:
    """Where the copy of this data set, split and commit lies, whether or not it is there."""
    name = source.uri.removeprefix("hf://").replace("/", "--")
    key = hashlib.sha256(f"{source.uri}\n{source.digest}\n{_FORM}".encode()).hexdigest()[:16]
    return cache / "hub" / f"{name}-{key}.parquet"


def keep(rows: Iterable[Row], path: Path) -> None:
    """Write the rows to `path`, whole or not at all. Raises ValueError naming row and column where
    a value cannot be kept as it is.
    """
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    aside = aside_name(path)
    waiting = _lines(rows, path)
    schema = pyarrow.schema([(_COLUMN, pyarrow.large_string())])
    try:
        with pyarrow.parquet.ParquetWriter(
            aside, schema, compression="zstd", write_page_checksum=True
        ) as writer:
            while batch := list(islice(waiting, ROWS)):
                writer.write_table(pyarrow.table({_COLUMN: batch}, schema=schema))
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _lines(rows: Iterable[Row], path: Path) -> Iterator[str]:
    for number, row in enumerate(rows, start=1):
        try:
            yield typed_rows.dumps(row)
        except ValueError as error:
            raise ValueError(f"{path.name}: row {number} cannot be kept: {error}") from error


_checked: set[tuple[str, int, int, int]] = set()


def check(path: Path) -> None:
    """Raises ValueError naming the copy where it is cut short or a byte of it has changed."""
    import pyarrow
    import pyarrow.parquet

    stat = path.stat()
    key = (str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino)
    if key in _checked:
        return
    try:
        with pyarrow.parquet.ParquetFile(path, page_checksum_verification=True) as file:
            if file.schema_arrow.names != [_COLUMN]:
                raise ValueError(f"columns {file.schema_arrow.names}; legal: {_COLUMN!r} alone")
            for _ in file.iter_batches():
                pass
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error})") from error
    _checked.add(key)


def read(path: Path) -> Iterator[Row]:
    """The copy's rows, of which `check` was asked before."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches():
            yield from map(typed_rows.loads, batch.column(0).to_pylist())


FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "model-*.safetensors",  # shards; a variant, as model.fp16.safetensors, is another's copy
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
_NAME = re.compile(r"hf://([\w.-]+/)?[\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def snapshot(source: Source, *, cache: Path, offline: bool) -> Path:
    """The directory of `hf://OWNER/NAME` at `commit:…`, from the cache or the hub.

    Raises ValueError where the name or the commit is none, and where it can't be had.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    commit = source.digest.removeprefix("commit:")
    if not _NAME.fullmatch(source.uri) or not _COMMIT.fullmatch(commit):
        raise ValueError(
            f"source {source.uri!r} at {source.digest!r}; legal: hf://OWNER/NAME at commit: and "
            "40 hexadecimal digits, since a branch moves"
        )
    name = source.uri.removeprefix("hf://")
    try:
        return Path(
            snapshot_download(
                name,
                revision=commit,
                cache_dir=cache / "hub-checkpoints",
                allow_patterns=list(FILES),
                local_files_only=offline,
            )
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        why = "this machine is offline and has no copy" if offline else str(error).splitlines()[0]
        raise ValueError(f"checkpoint {name!r} at {commit}: {why}") from error
