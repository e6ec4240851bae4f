"""The code that jobs run: the tree of a commit, kept below the store.

Owns `<store>/cluster/code/<tree>/`: what `git archive` gives of the commit that is checked out, so
that editing goes on while jobs wait. A working tree that differs is refused, or asked for and then
archived through an index of its own, which leaves the repository as it was. `COMMIT.json` says
where the tree comes from; `study.store.provenance` reads it where the code runs. No torch.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from study.launch.cluster.records import cluster_path
from study.store.provenance import COMMIT
from study.store.publish import publish_directory, publish_file

SHOWN = 10


def code_path(root: Path, tree: str) -> Path:
    """Where a snapshot lies below a store."""
    return cluster_path(root) / "code" / tree


def take(
    root: Path, *, changes: Literal["refuse", "archive"], repository: Path | None = None
) -> str:
    """Archive the code below the store, where it is not there yet; the tree's name.

    changes: what happens to a working tree that differs from its commit. repository: of this
    package. Raises ValueError where the package lies in no repository of its own, and where a
    difference is refused, naming files.
    """
    home = Path(__file__).resolve().parents[3] if repository is None else repository
    _check_repository(home)
    changed = _changes(home)
    if changed and changes == "refuse":
        more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
        raise ValueError(
            f"{home} differs from its commit: {', '.join(changed[:SHOWN])}{more}; jobs run what is "
            "committed: commit these, or --allow-dirty archives them as they are and records it"
        )
    commit = {"commit": _git(home, "rev-parse", "HEAD"), "dirty": bool(changed)}
    with tempfile.TemporaryDirectory() as scratch:
        index = _own_index(home, Path(scratch)) if changed else {}
        if changed:
            tree = _git(home, "write-tree", environment=index)
        else:
            tree = _git(home, "rev-parse", "HEAD^{tree}")
        target = code_path(root, tree)
        if not target.exists():
            archive = _run(home, "archive", "--format=tar", tree, environment=index)
            publish_directory(target, lambda aside: _unpack(archive, commit, aside))
        elif not changed and json.loads((target / COMMIT).read_bytes())["dirty"]:
            publish_file(target / COMMIT, _form(commit))  # the same files, committed since
    return tree


def _check_repository(home: Path) -> None:
    try:
        top = _git(home, "rev-parse", "--show-toplevel")
    except ValueError as error:
        raise ValueError(
            f"{home} is no git repository ({error}); legal: a checkout, since jobs run a commit"
        ) from None
    if Path(top).resolve() != home.resolve():
        raise ValueError(
            f"{home} lies in the repository of something else, {top}; legal: a checkout of its own"
        )


def _changes(home: Path) -> list[str]:
    """Files that differ from the commit, new ones too, as git names them."""
    answer = _run(home, "status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames")
    entries = answer.decode(errors="surrogateescape").split("\0")
    return [entry[3:] for entry in entries if entry]


def _own_index(home: Path, scratch: Path) -> Mapping[str, str]:
    """Everything of the working tree in an index, and new objects in a store, that are ours."""
    objects = Path(home, _git(home, "rev-parse", "--git-path", "objects")).resolve()
    (scratch / "objects").mkdir()
    environment = {
        "GIT_INDEX_FILE": str(scratch / "index"),
        "GIT_OBJECT_DIRECTORY": str(scratch / "objects"),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(objects),
    }
    _git(home, "read-tree", "HEAD", environment=environment)
    _git(home, "add", "--all", environment=environment)
    return environment


def _unpack(archive: bytes, commit: dict[str, object], aside: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(aside, filter="data")
    (aside / COMMIT).write_bytes(_form(commit))


def _form(commit: dict[str, object]) -> bytes:
    return (json.dumps(commit, indent=1, sort_keys=True) + "\n").encode()


def _git(home: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    return _run(home, *arguments, environment=environment).decode().strip()


def _run(home: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> bytes:
    try:
        answer = subprocess.run(
            ["git", "-C", str(home), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=_clean(os.environ) | dict(environment or {}),
        )
    except FileNotFoundError:
        raise ValueError("git is not on PATH; legal: with git, since jobs run a commit") from None
    if answer.returncode != 0:
        said = answer.stderr.decode(errors="replace").strip()
        raise ValueError(f"git {arguments[0]}: {said or f'exit code {answer.returncode}'}")
    return answer.stdout


def _clean(environment: Mapping[str, str]) -> dict[str, str]:
    """Without what a surrounding git (a hook, say) tells its children about another repository."""
    return {name: value for name, value in environment.items() if not name.startswith("GIT_")}
