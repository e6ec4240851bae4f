"""The run directory: where everything about a run lies, and what its files say of its state.

Owns paths, ownership (a directory belongs to the run in its `run.yaml`), checkpoints, seals and
status. How bytes are published atomically is `study.store.publish`; who may write is
`study.store.lease`.

    <root>/<slug>--<id[:12]>/
        run.yaml  provenance.json  events.jsonl  log.txt  keep.json  lease.json  failed.json
        checkpoints/step-00000100/  done.json  scores/<digest>/

No torch.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from study.runs.decode import DecodeError, decode, encode
from study.runs.identity import canonical
from study.runs.node import Run
from study.runs.plan import differences
from study.show.terminal import log_warning
from study.store import provenance
from study.store.lease import LEASE, Lease, acquire, holder_of, is_stale
from study.store.publish import (
    MANIFEST,
    CorruptError,
    aside_name,
    publish_directory,
    publish_file,
    retry_stale,
    verify,
)
from study.store.redaction import redact

__all__ = ["CorruptError", "RunDirectory", "State", "Store", "StoreError", "publish_directory"]
__all__ += ["publish_file", "status", "verify"]

State = Literal["planned", "running", "interrupted", "failed", "done"]
STATES: tuple[State, ...] = ("planned", "running", "interrupted", "failed", "done")
WRITERS = 16
SHOWN = 5
"""Differing keys that a refusal names."""
PROBE_BYTES = 1 << 16
_STEP = re.compile(r"step-(\d{8,})\Z")


class StoreError(ValueError):
    """A store that can't be used as asked: a foreign directory, a missing run."""


class Store:
    """All runs under one root."""

    def __init__(self, root: Path | str = "runs") -> None:
        self.root = Path(root)
        self._index: dict[str, list[str]] = {}
        self._stamp = -1

    def directory(self, run: Run) -> Path:
        """Where the run lies or would lie; found by the id part, whatever its slug was."""
        names = self._names(run.id[:12])
        if len(names) > 1:
            raise StoreError(
                f"two directories of {self.root} have the id of {run.slug!r}: {', '.join(names)}; "
                "legal: one (move the copy away)"
            )
        return self.root / (names[0] if names else directory_name(run))

    def open(self, run: Run) -> RunDirectory:
        """As `prepare`, for the process that is about to work on the run."""
        opened = self.prepare(run)
        opened.record_provenance()
        return opened

    def prepare(self, run: Run) -> RunDirectory:
        """The run's directory, made where it is missing; raises where it belongs to another run."""
        return self._prepare(run, self.directory(run))

    def prepare_all(self, runs: Iterable[Run]) -> list[RunDirectory]:
        """As `prepare`, for many: the root is listed once, and disks write side by side."""
        places = [(run, self.directory(run)) for run in runs]
        with ThreadPoolExecutor(WRITERS) as pool:
            return list(pool.map(lambda place: self._prepare(*place), places))

    def _prepare(self, run: Run, directory: Path) -> RunDirectory:
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"no directory can be made at {directory}: {error.strerror}") from None
        if not (directory / "run.yaml").exists():
            if any(not path.name.startswith(".") for path in directory.iterdir()):
                raise StoreError(
                    f"{directory} has files but no run.yaml, so it is not known whose they are; "
                    "legal: a run's own directory (move this one away)"
                )
            publish_file(directory / "run.yaml", encode(run).encode())
        else:
            self._check_owner(run, directory)
        return RunDirectory(directory)

    def existing(self, run: Run) -> RunDirectory:
        """The run's directory for reading; raises where there is none, or where it is another's."""
        directory = self.directory(run)
        if not (directory / "run.yaml").exists():
            raise StoreError(f"{run.slug!r} has no directory in {self.root}; run it first")
        self.check_owner(run)
        return RunDirectory(directory)

    def finished(self, run: Run) -> dict[str, Any]:
        """What the run's seal says; raises ValueError where it is not done."""
        seal = self.existing(run).done()
        if seal is None:
            raise ValueError(f"{type(run).__name__} {run.slug!r} is not done: run it first")
        return seal

    def check_writable(self) -> None:
        """Raise StoreError where nothing can be written below the root: before any run is started,
        so that a plan does not fail run by run.
        """
        probe = aside_name(self.root / "probe")
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            publish_file(probe, b" " * PROBE_BYTES)
            probe.unlink()
        except OSError as error:
            raise StoreError(
                f"nothing can be written to {self.root}: {error.strerror}; legal: a directory of "
                "yours with room, such as --store runs"
            ) from None

    @contextmanager
    def claim(
        self, run: Run, *, waiting: Callable[[str], None] = log_warning
    ) -> Iterator[tuple[RunDirectory, Lease]]:
        """Open the run's directory and hold its lease inside the block."""
        directory = self.open(run)
        with acquire(directory.path, waiting=waiting) as lease:
            yield directory, lease

    def check_owner(self, run: Run) -> None:
        """Raise where the run's directory holds the `run.yaml` of another run. No file is no
        owner.
        """
        self._check_owner(run, self.directory(run))

    def _check_owner(self, run: Run, directory: Path) -> None:
        file = directory / "run.yaml"
        try:
            text = retry_stale(lambda: file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        if text == encode(run):
            return
        try:
            owner = decode(text, name=str(file))
        except DecodeError as error:
            raise StoreError(
                f"{file.parent} does not hold a run that this code can read, so {run.slug!r} can't "
                f"use it: {error}"
            ) from None
        if owner.id != run.id:
            found = list(differences(canonical(owner), canonical(run)))
            more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
            raise StoreError(
                f"{file.parent} belongs to another run: its run.yaml declares {owner.slug!r} "
                f"({owner.id[:12]}), not {run.slug!r} ({run.id[:12]}); they differ in "
                f"{'; '.join(found[:SHOWN])}{more}. Legal: move it away, or name another --store"
            )

    def statuses(self, runs: Iterable[Run]) -> dict[str, State]:
        """The state of every run by id, from one scan of the root."""
        states: dict[str, State] = {}
        for run in runs:
            name = run.id
            present = bool(self._names(name[:12]))
            states[name] = _state(self.directory(run)) if present else "planned"
        return states

    def _names(self, short: str) -> list[str]:
        """Directory names with this id part. A new directory changes the root's time, and only
        then is the root listed again.
        """
        try:
            stamp = os.stat(self.root).st_mtime_ns
        except FileNotFoundError:
            return []
        if stamp != self._stamp:
            self._scan()
            self._stamp = stamp
        return self._index.get(short, [])

    def _scan(self) -> None:
        self._index = {}
        try:
            found = os.scandir(self.root)
        except OSError as error:
            raise StoreError(f"the store {self.root} can't be listed: {error.strerror}") from None
        with found:
            for entry in found:
                slug, mark, short = entry.name.rpartition("--")
                if mark and slug and entry.is_dir():
                    self._index.setdefault(short, []).append(entry.name)


class RunDirectory:
    """One run's files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    def checkpoint_path(self, step: int) -> Path:
        """Where the checkpoint of a step lies, whether or not it is there."""
        return self.path / "checkpoints" / f"step-{step:08d}"

    def steps(self) -> list[int]:
        """Steps that have a published checkpoint, ascending, not verified."""
        try:
            names = os.listdir(self.path / "checkpoints")
        except FileNotFoundError:
            return []
        return sorted(int(found[1]) for name in names if (found := _STEP.match(name)))

    def checkpoints(self) -> list[int]:
        """Steps whose checkpoint agrees with its manifest, ascending; the others are named
        loudly.
        """
        return [step for step in self.steps() if self._is_good(step, warn=log_warning)]

    def latest(self, *, warn: Callable[[str], None] = log_warning) -> int | None:
        """The newest step with a good checkpoint, or None; every corrupt one passed over is
        named.
        """
        for step in reversed(self.steps()):
            if self._is_good(step, warn=warn):
                return step
        return None

    def checkpoint(self, step: int) -> Path:
        """The verified directory of a step's checkpoint; raises CorruptError naming the file."""
        path = self.checkpoint_path(step)
        if not path.is_dir():
            kept = ", ".join(map(str, self.steps())) or "none"
            raise StoreError(f"{path.parent.parent} has no checkpoint of step {step}; kept: {kept}")
        verify(path)
        return path

    def remove_checkpoint(self, step: int) -> None:
        """Delete a step's checkpoint. Its manifest goes first: half a checkpoint is never good."""
        path = self.checkpoint_path(step)
        (path / "manifest.json").unlink(missing_ok=True)
        shutil.rmtree(path, ignore_errors=True)

    def _is_good(self, step: int, *, warn: Callable[[str], None]) -> bool:
        try:
            verify(self.checkpoint_path(step))
        except CorruptError as error:
            warn(f"checkpoint of step {step} is corrupt and is not used: {error}")
            return False
        return True

    def kept(self) -> tuple[int, ...]:
        """Steps that children or evaluations of any sweep so far have named."""
        entry = _json(self.path / "keep.json")
        return tuple(sorted(entry["steps"])) if entry else ()

    def keep(self, steps: Iterable[int]) -> None:
        """Ask for these steps' checkpoints to stay; requests add up."""
        wanted = sorted({*self.kept(), *steps})
        if tuple(wanted) != self.kept():
            publish_file(self.path / "keep.json", _dump({"steps": wanted}))

    def seal(self, summary: dict[str, Any]) -> None:
        """Write done.json: the run is complete, and failed.json, if any, is history."""
        publish_file(self.path / "done.json", _dump(summary))
        (self.path / "failed.json").unlink(missing_ok=True)

    def done(self) -> dict[str, Any] | None:
        """The summary of a complete run, or None."""
        return _json(self.path / "done.json")

    def fail(self, message: str) -> None:
        """Note why the run stopped; the next start removes the note."""
        publish_file(self.path / "failed.json", _dump({"error": redact(message)}))

    def failure(self) -> str | None:
        entry = _json(self.path / "failed.json")
        return None if entry is None else str(entry.get("error"))

    def forget_failure(self) -> None:
        (self.path / "failed.json").unlink(missing_ok=True)

    def scores(self, digest: str) -> Path:
        """Where the scores of this digest lie, whether or not they are there."""
        return self.path / "scores" / digest

    def damage(self) -> str | None:
        """What is wrong with the scores that the seal names: the file that is missing, cut or
        changed. None where all is well, or no scores are named.
        """
        try:
            named = (self.done() or {}).get("scores")
            if named is not None:
                place = self.scores(str(named))
                # What was not published whole has nothing that it could be checked against.
                if not place.is_dir() or (place / MANIFEST).exists():
                    verify(place)
        except CorruptError as error:
            return str(error)
        return None

    def provenance(self) -> list[dict[str, Any]]:
        """Every distinct provenance that has worked on this run, oldest first."""
        entry = _json(self.path / "provenance.json")
        return list(entry["starts"]) if entry else []

    def record_provenance(self) -> None:
        before, now = self.provenance(), provenance.collect()
        if now not in before and self.done() is None:
            publish_file(self.path / "provenance.json", _dump({"starts": [*before, now]}))


def directory_name(run: Run) -> str:
    """`<slug>--<id[:12]>`, the slug reduced to what every file system takes."""
    slug = re.sub(r"[^A-Za-z0-9._+=-]+", "-", run.slug).strip(".-")[:100] or "run"
    return f"{slug}--{run.id[:12]}"


def status(run: Run, store: Store) -> State:
    """The run's state, from its files."""
    directory = store.directory(run)
    return _state(directory) if directory.is_dir() else "planned"


def _state(directory: Path) -> State:
    names = set(retry_stale(lambda: os.listdir(directory)))
    if "done.json" in names:
        return "done"
    if LEASE in names:
        holder = holder_of(directory)
        if holder is not None and not is_stale(holder):
            return "running"
        # a rank that hung has noted why and left its lease behind
        return "failed" if "failed.json" in names else "interrupted"
    if "failed.json" in names:
        return "failed"
    started = {"events.jsonl", "checkpoints", "scores", "log.txt"} & names
    return "interrupted" if started else "planned"


def _json(path: Path) -> dict[str, Any] | None:
    try:
        entry = json.loads(retry_stale(path.read_bytes))
    except FileNotFoundError:
        return None
    except ValueError:
        raise CorruptError(
            f"{path} is not JSON; it was published whole, so the disk changed it"
        ) from None
    if not isinstance(entry, dict):
        raise CorruptError(f"{path} holds {type(entry).__name__}; legal: an object")
    return entry


def _dump(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
