"""What was submitted: one record an array of jobs, below the store.

Owns the files of `<store>/cluster/arrays/<token>/` and their form; the only reader and writer of
`array.json`. Does not speak to SLURM: a record says what was asked for, SLURM and the run
directories say what became of it. No torch.

    <store>/cluster/arrays/000001-5f3a9c/
        array.json  array.sh  tasks.txt  4711_0.out  4711_1.out

Tokens ascend (a launcher holds the lease of `<store>/cluster`), so the newest array has the largest
one whatever the clocks of the login nodes say. A directory without `array.json` is what a launcher
left that died before it submitted: no reader looks at it.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from study.store.publish import CorruptError, publish_file

RECORD = "array.json"
SCRIPT = "array.sh"
TASKS = "tasks.txt"
NAME_PREFIX = "archstudy-"
_TOKEN = re.compile(r"(\d{6,})-[0-9a-f]{6}\Z")


@dataclass(frozen=True, kw_only=True)
class Task:
    """One job of an array. index: SLURM's array index, the task's place in the array.

    run: the full id. directory: the name of its run directory. after: ids of the runs that it waits
    for, those of its dependencies that were not done when it was submitted.
    """

    index: int
    run: str
    directory: str
    after: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Array:
    """One `sbatch`. name: the job name, unique, so that a lost answer can be found again.

    profile: the profile's name. code: the tree that its jobs run. job_id: None until sbatch
    answered. released: whether its dependencies were set and the hold taken off. submitted: ISO
    time in UTC of the record's first writing.
    """

    token: str
    name: str
    profile: str
    code: str
    tasks: tuple[Task, ...]
    job_id: str | None
    released: bool
    submitted: str


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A run's place in an array."""

    array: Array
    task: Task

    @property
    def job(self) -> str | None:
        """`<job id>_<index>`, or None where sbatch has not answered."""
        if self.array.job_id is None:
            return None
        return f"{self.array.job_id}_{self.task.index}"


def cluster_path(root: Path) -> Path:
    """What belongs to SLURM below a store."""
    return root / "cluster"


def array_path(root: Path, token: str) -> Path:
    """An array's directory."""
    return cluster_path(root) / "arrays" / token


def job_name(token: str) -> str:
    return f"{NAME_PREFIX}{token}"


def output_path(root: Path, placed: Placed) -> Path | None:
    """Where SLURM writes what a job says outside its run's log; None before sbatch has answered."""
    if placed.job is None:
        return None
    return array_path(root, placed.array.token) / f"{placed.job}.out"


def new_token(root: Path) -> str:
    """A token above all of this store. For who holds `<store>/cluster`'s lease."""
    numbers = [int(found[1]) for name in _names(root) if (found := _TOKEN.match(name))]
    return f"{max(numbers, default=0) + 1:06d}-{uuid.uuid4().hex[:6]}"


def load_all(root: Path) -> tuple[Array, ...]:
    """Every record of a store, oldest first. Raises CorruptError naming a file that is none."""
    found = []
    for name in sorted(_names(root), key=_order):
        path = array_path(root, name) / RECORD
        try:
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            continue
        found.append(_decode(content, path))
    return tuple(found)


def save(array: Array, root: Path) -> None:
    """Write the record anew, whole or not at all."""
    path = array_path(root, array.token)
    path.mkdir(parents=True, exist_ok=True)
    text = json.dumps(asdict(array), indent=1, allow_nan=False)
    publish_file(path / RECORD, (text + "\n").encode())


def newest(arrays: Iterable[Array]) -> dict[str, Placed]:
    """By run id: its place in the newest array that has it."""
    placed: dict[str, Placed] = {}
    for array in sorted(arrays, key=lambda array: _order(array.token)):
        for task in array.tasks:
            placed[task.run] = Placed(array=array, task=task)
    return placed


def unsubmitted(root: Path) -> list[Path]:
    """Array directories without a record: nothing of them was ever submitted."""
    paths = [array_path(root, name) for name in _names(root)]
    return [path for path in paths if not (path / RECORD).exists()]


def _names(root: Path) -> list[str]:
    try:
        return [name for name in os.listdir(cluster_path(root) / "arrays") if _TOKEN.match(name)]
    except FileNotFoundError:
        return []


def _order(token: str) -> tuple[int, str]:
    found = _TOKEN.match(token)
    return (int(found[1]) if found else 0, token)


def _decode(content: bytes, path: Path) -> Array:
    try:
        entry = json.loads(content)
        tasks = tuple(Task(**task | {"after": tuple(task["after"])}) for task in entry["tasks"])
        array = Array(**entry | {"tasks": tasks})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptError(f"{path} is not the record of an array ({error})") from None
    if array.token != path.parent.name:
        raise CorruptError(
            f"{path} is the record of {array.token}; it was moved or copied here; "
            "legal: the record of its own directory"
        )
    return array
