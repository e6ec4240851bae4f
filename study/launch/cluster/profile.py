"""A cluster's profile: what a job asks SLURM for, how it finds python, and how it executes a run.

Owns the TOML form, read strictly, and where profiles lie. A profile is execution: nothing of it
enters a run's id. What the fields become in a script is `study.launch.cluster.scripts`.

    partition = "gpu"
    nodes = 2
    [execution]
    device = "cuda"
    [kind.Evaluation]
    time = "2:00:00"

`study launch --cluster NAME` takes `slurm/profiles/NAME.toml` beside the package, then
`~/.config/archstudy/clusters/NAME.toml`; NAME may be a path too. No torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from study.runs import domain, user_directories
from study.runs.execution import Execution
from study.runs.node import Run
from study.runs.toml_table import TomlFile, names

DERIVED = ("ranks",)
"""Fields of an execution that follow from the resources."""

_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?\Z")


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one job asks for. Empty text leaves a choice to SLURM.

    ranks_per_node: processes on each node; on a GPU cluster, its GPUs. gpus_per_rank: 0 asks for
    none. memory: of each node, in SLURM's form (`64G`). time: the limit, in SLURM's form.
    signal_seconds: so long before the limit the run is told to checkpoint; it must suffice for one
    step and one checkpoint. sbatch: further options, such as `--exclusive`.
    """

    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    nodes: int = 1
    ranks_per_node: int = 1
    cpus_per_rank: int = 1
    gpus_per_rank: int = 0
    gpu_type: str = ""
    memory: str = ""
    time: str = "24:00:00"
    signal_seconds: int = 300
    sbatch: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("nodes", "ranks_per_node", "cpus_per_rank"):
            _at_least(name, getattr(self, name), 1)
        _at_least("gpus_per_rank", self.gpus_per_rank, 0)
        _at_least("signal_seconds", self.signal_seconds, 1)
        if self.signal_seconds >= seconds(self.time):
            raise ValueError(
                f"signal_seconds is {self.signal_seconds}; legal: less than the time limit "
                f"{self.time!r} ({seconds(self.time):.0f} s)"
            )
        for option in self.sbatch:
            _check_option(option)

    @property
    def ranks(self) -> int:
        """Processes of one job."""
        return self.nodes * self.ranks_per_node


@dataclass(frozen=True, kw_only=True)
class Site:
    """What holds for every job of a cluster.

    array_cap: most tasks of one array (the site's MaxArraySize, or less). throttle: most tasks of
    an array at work at once. setup: lines of bash before python, such as `module load cuda`.
    prefix: arguments before python, such as `apptainer exec image.sif`. python: the interpreter;
    empty is the one that launches. scratch: a directory of each node for caches; empty is TMPDIR.
    """

    array_cap: int = 1000
    throttle: int = 32
    setup: tuple[str, ...] = ()
    prefix: tuple[str, ...] = ()
    python: str = ""
    scratch: str = ""

    def __post_init__(self) -> None:
        _at_least("array_cap", self.array_cap, 1)
        _at_least("throttle", self.throttle, 1)
        if self.scratch and not self.scratch.startswith("/"):
            raise ValueError(f"scratch is {self.scratch!r}; legal: an absolute path")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A cluster. name: what `--cluster` takes. kinds: by the name of a run's kind."""

    name: str
    site: Site
    kinds: Mapping[str, tuple[Resources, Execution]]

    def of(self, run: Run) -> tuple[Resources, Execution]:
        """What a job of this run asks for, and how it executes the run."""
        return self.kinds[type(run).__name__]

    def with_data_dirs(self, data_dirs: Iterable[Path]) -> Profile:
        """The profile with these directories before its own."""
        more = tuple(path.resolve() for path in data_dirs)
        kinds = {
            kind: (resources, replace(execution, data_dirs=more + execution.data_dirs))
            for kind, (resources, execution) in self.kinds.items()
        }
        return replace(self, kinds=kinds)


def find(name: str) -> Path:
    """The profile's file. Raises ValueError naming the profiles that there are."""
    if name.endswith(".toml") or "/" in name:
        path = Path(name)
        if not path.is_file():
            raise ValueError(f"{path}: no such profile; legal: a TOML file")
        return path
    for place in _places():
        if (place / f"{name}.toml").is_file():
            return place / f"{name}.toml"
    there = sorted({path.stem for place in _places() for path in place.glob("*.toml")})
    places = " or ".join(map(str, _places()))
    raise ValueError(
        f"no profile {name!r}; legal: {', '.join(there) or 'none yet'} (NAME.toml in {places}), "
        "or a path"
    )


def _places() -> tuple[Path, Path]:
    shipped = Path(__file__).resolve().parents[3] / "slurm" / "profiles"
    return shipped, user_directories.config_home() / "archstudy" / "clusters"


def _name(path: Path) -> str:
    """What `find` finds the file by: its name, or its whole path."""
    by_name = next((place for place in _places() if (place / path.name).is_file()), None)
    known = by_name is not None and (by_name / path.name).samefile(path)
    return path.stem if known else str(path.resolve())


def load(path: Path) -> Profile:
    """Read a profile. Raises ValueError for every key that is unknown or of another type."""
    return _Reader(path).profile()


def seconds(time: str) -> float:
    """A time limit of SLURM's form in seconds: `MINUTES`, `M:S`, `H:M:S`, `D-H`, `D-H:M`,
    `D-H:M:S`.
    """
    if time.upper() in ("UNLIMITED", "INFINITE"):
        return float("inf")
    found = _TIME.match(time)
    if found is None:
        raise ValueError(f"time is {time!r}; legal: SLURM's forms, such as 30, 4:00:00, 2-12:00:00")
    days, *rest = found.groups()
    first, second, third = (int(each or 0) for each in rest)
    if days is not None:
        return int(days) * 86400 + first * 3600 + second * 60 + third
    if rest[2] is not None:
        return first * 3600 + second * 60 + third
    return first * 60 + second


class _Reader:
    """A profile's file, table by table."""

    def __init__(self, path: Path) -> None:
        self.file = TomlFile.read(path)

    def profile(self) -> Profile:
        file = self.file
        table = dict(file.root)
        overrides = file.table(table.pop("kind", {}), where="kind")
        execution = file.table(table.pop("execution", {}), where="execution")
        legal = [*names(Site), *names(Resources), "execution", "kind"]
        file.check_names(table, legal, where="")
        file.check_names(overrides, domain.kinds(), where="kind")
        own = {name: table.pop(name) for name in names(Site) if name in table}
        base = file.fill(Resources(), table, where="")
        kinds = {}
        for kind in domain.kinds():
            over = file.table(overrides.get(kind, {}), where=f"kind.{kind}")
            more = file.table(over.pop("execution", {}), where=f"kind.{kind}.execution")
            resources = self.resources(kind, base, over)
            made = Execution(threads=resources.cpus_per_rank)
            made = self.execution(made, execution, where="execution")
            made = self.execution(made, more, where=f"kind.{kind}.execution")
            kinds[kind] = (resources, self.with_ranks(made, resources.ranks))
        site = file.fill(Site(), own, where="")
        return Profile(name=_name(file.path), site=site, kinds=kinds)

    def resources(self, kind: str, base: Resources, over: dict[str, Any]) -> Resources:
        if not domain.is_trained(kind):
            base = replace(base, nodes=1, ranks_per_node=1)
        made = self.file.fill(base, over, where=f"kind.{kind}")
        if not domain.is_trained(kind) and made.ranks != 1:
            name = "nodes" if made.nodes != 1 else "ranks_per_node"
            message = f"{kind} asks for {made.ranks} ranks; legal: 1, as one process executes it"
            raise self.file.fail(f"kind.{kind}", name, message)
        return made

    def with_ranks(self, execution: Execution, ranks: int) -> Execution:
        try:
            return replace(execution, ranks=ranks)
        except ValueError as error:
            raise self.file.fail("", "ranks_per_node", str(error)) from None

    def execution(self, base: Execution, table: dict[str, Any], *, where: str) -> Execution:
        legal = [name for name in names(Execution) if name not in DERIVED]
        self.file.check_names(table, legal, where=where)
        return self.file.fill(base, table, where=where)


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name} is {value}; legal: at least {least}")


_OURS = (
    *("--array", "--chdir", "--dependency", "--error", "--export", "--hold", "--job-name"),
    *("--no-requeue", "--open-mode", "--output", "--parsable", "--requeue", "--signal"),
    *("--test-only", "--wrap"),
)
"""Options of sbatch that the launcher sets itself."""


def _check_option(option: str) -> None:
    word = option.partition("=")[0].partition(" ")[0]
    if not option.startswith("--"):
        raise ValueError(f"sbatch has {option!r}; legal: long options, such as '--exclusive'")
    if word in _OURS:
        raise ValueError(f"sbatch has {option!r}, which the launcher sets itself; legal: others")
