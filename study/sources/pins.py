"""Pins: which commit of a hub data set and which bytes of a file a sweep means, kept beside it.

Owns the file (`sweeps/pins.toml`), the sources made from it, and what is not pinned yet. A source
without its pin can be planned and costed, but its content is unknown: its digest says `unpinned`,
and nothing that needs it is run. `study pin` fills what is empty and never changes what is not; a
pin changes the ids of all that reads the source. No torch.

    [hub."OWNER/NAME"]       ref = "main"      commit = ""      note = "where the commit is from"
    [files."NAME"]           sha256 = ""                        note = "how to obtain it"
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from study.runs.domain import held
from study.runs.node import Evaluation, Run
from study.runs.source import Part, Source
from study.store.publish import publish_file

UNPINNED = "unpinned:"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HEADER = (
    "# `study pin SWEEP` fills what is empty (study/sources/pins.py); "
    "commits of the Hugging Face hub\n"
)


@dataclass(frozen=True, kw_only=True)
class Pins:
    """The pins of one file: `hub` by data set, `files` by name, each a table of strings."""

    path: Path
    hub: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def rows(
        self,
        name: str,
        split: str,
        *,
        config: str = "",
        text_field: str = "",
        part: Part | None = None,
    ) -> Source:
        """One split of a hub data set, `OWNER/NAME` with its config if it has several."""
        commit = _entry(self.hub, name, self.path).get("commit") or UNPINNED + name
        return Source(
            uri="hf://" + "/".join(each for each in (name, config, split) if each),
            digest=f"commit:{commit}",
            text_field=text_field,
            where=(),
            part=part,
        )

    def file(self, name: str, *, text_field: str = "") -> Source:
        """A file or directory below one of the data directories."""
        # the name stands in an unpinned digest, or two unknown files would be one source
        sha256 = _entry(self.files, name, self.path).get("sha256") or UNPINNED + name
        return Source(
            uri=f"file://{name}",
            digest=f"sha256:{sha256}",
            text_field=text_field,
            where=(),
            part=None,
        )


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """What `pin` did with one name: the new pin, or why it has none."""

    name: str
    pin: str
    problem: str = ""


def load(path: Path) -> Pins:
    """Read a pin file. Raises ValueError naming the table and what is legal."""
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    if unknown := content.keys() - {"hub", "files"}:
        raise ValueError(f"{path}: unknown table {min(unknown)!r}; legal: hub, files")
    for table, legal, key, form in (
        ("hub", {"ref", "commit", "note"}, "commit", _COMMIT),
        ("files", {"sha256", "note"}, "sha256", _SHA256),
    ):
        for name, entry in content.get(table, {}).items():
            where = f"{path}: [{table}.{json.dumps(name)}]"
            if not isinstance(entry, dict) or not all(isinstance(v, str) for v in entry.values()):
                raise ValueError(f"{where}: legal: strings only")
            if unknown := entry.keys() - legal:
                raise ValueError(
                    f"{where}: unknown key {min(unknown)!r}; legal: {', '.join(sorted(legal))}"
                )
            if (pin := entry.get(key)) and not form.fullmatch(pin):
                raise ValueError(f"{where}: {key} {pin!r}; legal: empty or {form.pattern}")
    return Pins(path=path, hub=content.get("hub", {}), files=content.get("files", {}))


def _entry(table: Mapping[str, Mapping[str, str]], name: str, path: Path) -> Mapping[str, str]:
    if name in table:
        return table[name]
    near = difflib.get_close_matches(name, table, n=3) or sorted(table)[:5]
    raise ValueError(f"{path} has no {name!r}; legal, among others: {', '.join(near)}")


def unpinned(runs: Iterable[Run]) -> tuple[str, ...]:
    """Names of the data sets and files that these runs read without a pin, in order."""
    names = (
        each.digest.partition(UNPINNED)[2] for each in sources(runs) if UNPINNED in each.digest
    )
    return tuple(dict.fromkeys(names))


def wanted(runs: Iterable[Run], pins: Pins) -> tuple[str, ...]:
    """Names in the pin file that would fill holes of these runs' suites, in order."""
    suites = {id(run.suite): run.suite for run in runs if isinstance(run, Evaluation)}
    names = [hole.wanted for suite in suites.values() for hole in suite.holes]
    hub = {f"hf://{name}": name for name in pins.hub}
    found = []
    for name in names:
        owner = next((hub[each] for each in hub if name.startswith(each + "/")), name)
        if owner in pins.hub or owner in pins.files:
            found.append(owner)
    return tuple(dict.fromkeys(found))


def sources(runs: Iterable[Run]) -> Iterator[Source]:
    """Every source that the runs name themselves, each run's or suite's once."""
    seen: set[int] = set()
    for run in runs:
        owner = run.suite if isinstance(run, Evaluation) else run
        if id(owner) not in seen:
            seen.add(id(owner))
            yield from held(owner, Source)


def pin(
    pins: Pins,
    names: Iterable[str],
    *,
    commit: Callable[[str, str], str],
    sha256: Callable[[str], str],
) -> tuple[Pinned, ...]:
    """Fill the empty pins of `names` and write the file.

    commit: the commit of (data set, ref). sha256: the digest of a file or directory. Both raise
    ValueError or OSError in words where there is none.
    """
    done = []
    hub = {name: dict(entry) for name, entry in pins.hub.items()}
    files = {name: dict(entry) for name, entry in pins.files.items()}
    for name in names:
        try:
            if name in hub:
                found = hub[name]["commit"] = commit(name, hub[name].get("ref") or "main")
            else:
                found = files[name]["sha256"] = sha256(name)
            done.append(Pinned(name=name, pin=found))
        except (ValueError, OSError) as error:
            note = (hub.get(name) or files.get(name) or {}).get("note", "")
            done.append(Pinned(name=name, pin="", problem=f"{error}{f' ({note})' if note else ''}"))
    if any(each.pin for each in done):
        publish_file(pins.path, _dump({"hub": hub, "files": files}).encode())
    return tuple(done)


def hub_commit(name: str, ref: str) -> str:
    """The commit that `ref` of a hub data set names now; asks the network.

    Raises ValueError where the repository holds a loading script, which `datasets` no longer runs.
    """
    from huggingface_hub import HfApi

    try:
        info = HfApi().dataset_info(name, revision=ref, timeout=60.0)
    except Exception as error:  # without a network, one of an HTTP client's own
        raise ValueError(f"the hub did not tell {name!r} at {ref!r}: {error}") from error
    script = name.rpartition("/")[2] + ".py"
    if any(each.rfilename == script for each in info.siblings or ()):
        raise ValueError(
            f"{name!r} at {ref!r} is read by a script ({script}), which is never run here; legal: "
            'ref = "refs/convert/parquet", if the hub has converted it'
        )
    if info.sha is None or not _COMMIT.fullmatch(info.sha):
        raise ValueError(f"the hub answered {info.sha!r} for {name!r} at {ref!r}; legal: a commit")
    return info.sha


def _dump(content: Mapping[str, Mapping[str, Mapping[str, str]]]) -> str:
    lines = [_HEADER]
    for table, entries in content.items():
        for name, entry in entries.items():
            # a JSON string is a TOML basic string
            lines.append(f"[{table}.{json.dumps(name, ensure_ascii=False)}]\n")
            lines += [f"{key} = {json.dumps(v, ensure_ascii=False)}\n" for key, v in entry.items()]
            lines.append("\n")
    return "".join(lines).rstrip("\n") + "\n"
