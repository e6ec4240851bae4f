"""Memory-mapped token shards: what tokenised text and tokenised examples look like on disk.

Owns the files of one shard directory and nothing about where tokens come from:

    tokens.bin      little-endian unsigned integers of two bytes, or four if the vocabulary asks
    offsets.bin     int64: document i is tokens[offsets[i]:offsets[i + 1]]
    manifest.json   format, dtype, counts, and size and sha256 of both files

Raw arrays and JSON only: opening a directory never unpickles anything. Sizes are checked at every
opening, contents by `verify`, since hashing terabytes at every start would be felt.

`grouped` cuts a stream into lists that are large enough, for work that costs a call each.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

FORMAT = 1
TOGETHER = 1 << 16
"""Tokens that are checked, hashed and written at a time: short documents cost a call each."""
_DTYPES = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}


def file_digest(path: Path) -> str:
    """sha256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class TokenShards:
    """Documents as token ids, read-only and memory-mapped."""

    def __init__(self, directory: Path, *, tokens: np.ndarray, offsets: np.ndarray) -> None:
        self.directory = directory
        self._tokens = tokens
        self._offsets = offsets

    @classmethod
    def open(cls, directory: Path) -> TokenShards:
        """Raises ValueError, naming the file, where one is missing, cut short or malformed."""
        directory = Path(directory)
        manifest = read_manifest(directory, form="tokens")
        for name, entry in manifest["files"].items():
            _check_size(directory / name, entry["bytes"])
        dtype = _DTYPES[manifest["dtype"]]
        tokens = _mapped(directory / "tokens.bin", dtype)
        offsets = _mapped(directory / "offsets.bin", np.dtype("<i8"))
        if len(offsets) != manifest["documents"] + 1 or offsets[0] != 0:
            raise ValueError(f"{directory / 'offsets.bin'}: does not fit its manifest")
        if int(offsets[-1]) != len(tokens):
            raise ValueError(
                f"{directory / 'offsets.bin'}: ends at token {int(offsets[-1])}, "
                f"but tokens.bin holds {len(tokens)}"
            )
        return cls(directory, tokens=tokens, offsets=offsets)

    @property
    def num_documents(self) -> int:
        return len(self._offsets) - 1

    @property
    def num_tokens(self) -> int:
        return len(self._tokens)

    @property
    def offsets(self) -> np.ndarray:
        """int64 (documents + 1,): where each document starts."""
        return self._offsets

    @property
    def lengths(self) -> np.ndarray:
        """int64 (documents,): tokens of each document."""
        return np.diff(self._offsets)

    @property
    def digest(self) -> str:
        """sha256 (hex) of the manifest, which holds the digests of both files."""
        return file_digest(self.directory / "manifest.json")

    def document(self, index: int) -> np.ndarray:
        """int32 (n,): one document's tokens."""
        if not 0 <= index < self.num_documents:
            raise IndexError(f"document {index} of {self.num_documents} in {self.directory}")
        return self.tokens(int(self._offsets[index]), int(self._offsets[index + 1]))

    def tokens(self, low: int, high: int) -> np.ndarray:
        """int32 (high - low,): tokens of the documents laid end to end."""
        return self._tokens[low:high].astype(np.int32)

    def verify(self) -> None:
        """Raises ValueError naming the first file whose bytes are not those that were written."""
        for name, entry in read_manifest(self.directory, form="tokens")["files"].items():
            found = file_digest(self.directory / name)
            if found != entry["sha256"]:
                raise ValueError(
                    f"{self.directory / name}: altered; sha256 is {found}, "
                    f"the manifest says {entry['sha256']}"
                )


def write_shards(directory: Path, documents: Iterable[np.ndarray], vocab_size: int) -> TokenShards:
    """Write documents (integer arrays) in order; the manifest comes last, so that a directory
    without one is unfinished.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    if not 0 < vocab_size <= 2**31:
        raise ValueError(f"vocab_size is {vocab_size}; legal: 1 to 2**31")
    kind = "uint16" if vocab_size <= 2**16 else "uint32"
    offsets = array("q", [0])
    digest = hashlib.sha256()
    with (directory / "tokens.bin").open("wb") as file:
        for batch in grouped(documents, size=len, enough=TOGETHER):
            ids = np.concatenate(batch)
            if not _legal(ids, vocab_size):
                several = enumerate(batch, len(offsets) - 1)
                index, wrong = next(pair for pair in several if not _legal(pair[1], vocab_size))
                raise ValueError(
                    f"document {index} holds token {int(wrong.min())} or {int(wrong.max())}; "
                    f"legal: 0 to {vocab_size - 1}"
                )
            raw = ids.astype(_DTYPES[kind]).tobytes()
            digest.update(raw)
            file.write(raw)
            for document in batch:
                offsets.append(offsets[-1] + len(document))
    raw = np.array(offsets, dtype="<i8").tobytes()
    (directory / "offsets.bin").write_bytes(raw)
    files = {
        "tokens.bin": {
            "bytes": offsets[-1] * _DTYPES[kind].itemsize,
            "sha256": digest.hexdigest(),
        },
        "offsets.bin": {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()},
    }
    write_manifest(
        directory,
        {
            "format": FORMAT,
            "form": "tokens",
            "dtype": kind,
            "documents": len(offsets) - 1,
            "tokens": offsets[-1],
            "files": files,
        },
    )
    return TokenShards.open(directory)


def _legal(ids: np.ndarray, vocab_size: int) -> bool:
    return not len(ids) or (int(ids.min()) >= 0 and int(ids.max()) < vocab_size)


def write_manifest(directory: Path, manifest: dict) -> None:
    text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
    (directory / "manifest.json").write_text(text, encoding="utf-8")


def read_manifest(directory: Path, *, form: str) -> dict:
    path = directory / "manifest.json"
    if not path.is_file():
        raise ValueError(f"{path}: missing; the shards were never finished")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not readable as JSON ({error})") from error
    if manifest.get("format") != FORMAT or manifest.get("form") != form:
        raise ValueError(
            f"{path}: format {manifest.get('format')!r} of {manifest.get('form')!r}; "
            f"legal: {FORMAT} of {form!r}"
        )
    return manifest


def _check_size(path: Path, size: int) -> None:
    if not path.is_file():
        raise ValueError(f"{path}: missing")
    found = path.stat().st_size
    if found != size:
        raise ValueError(f"{path}: {found} bytes, the manifest says {size}: cut short or altered")


def _mapped(path: Path, dtype: np.dtype) -> np.ndarray:
    # an empty file cannot be mapped, and an empty held-out part is legal
    if path.stat().st_size == 0:
        return np.zeros(0, dtype=dtype)
    return np.memmap(path, dtype=dtype, mode="r")


Item = TypeVar("Item")


def grouped(
    items: Iterable[Item], *, size: Callable[[Item], int], enough: int
) -> Iterator[list[Item]]:
    """As many items in a row as have a size of `enough` together; the last ones have less."""
    group: list[Item] = []
    total = 0
    for item in items:
        group.append(item)
        total += size(item)
        if total >= enough:
            yield group
            group, total = [], 0
    if group:
        yield group
