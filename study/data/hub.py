"""A hub data set as a file in the cache: what a machine without a network reads instead.

Owns the copy, its name, its check and its rows, which are those of the stream, in its order. The
stream itself is `sources`' affair. A copy has no digest that a run could name (the hub's commit is
that), so each page carries a checksum and is checked once a process before the first row is given.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from study.data import readers
from study.data.readers import Row
from study.publish import aside_name
from study.run import Source

ROWS = 1000


def copy_path(source: Source, *, cache: Path) -> Path:
    """Where the copy of this data set, split and commit lies, whether or not it is there."""
    name = source.uri.removeprefix("hf://").replace("/", "--")
    key = hashlib.sha256(f"{source.uri}\n{source.digest}".encode()).hexdigest()[:16]
    return cache / "hub" / f"{name}-{key}.parquet"


def keep(rows: Iterable[Row], path: Path) -> None:
    """Write the rows to `path`, whole or not at all. Raises ValueError where a later row has values
    of other types than the first thousand.
    """
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    aside = aside_name(path)
    waiting = iter(rows)
    try:
        first = pyarrow.Table.from_pylist(list(islice(waiting, ROWS)))
        with pyarrow.parquet.ParquetWriter(aside, first.schema, write_page_checksum=True) as writer:
            writer.write_table(first)
            while batch := list(islice(waiting, ROWS)):
                writer.write_table(pyarrow.Table.from_pylist(batch, schema=first.schema))
        os.replace(aside, path)
    except pyarrow.ArrowException as error:
        raise ValueError(f"{path.name}: rows that are not all of one form: {error}") from error
    finally:
        aside.unlink(missing_ok=True)


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
            for _ in file.iter_batches():
                pass
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path} is damaged ({error})") from error
    _checked.add(key)


def read(path: Path) -> Iterator[Row]:
    """The copy's rows."""
    return readers.read(path)
