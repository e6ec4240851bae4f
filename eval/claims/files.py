"""Claims as files: where they lie, and a sweep's suites in the places of their benchmarks.

Owns reading one, as strictly as a run file (`study.runs.decode`): every refusal names its line.
What may stand in one is `eval.claims.words`'. A file speaks of benchmarks by role (`eai`, `t0`); a
sweep binds each role to a suite of its own. Two roles bound to one suite make equal components one.
Published claims lie beside this module and are known by name; any other file is known by its path.
No torch.

    CLAIMS = load("wang2022")                                   roles are suites of that name
    CLAIMS = load("redllm2025", {"eai": BENCHMARK, "t0": BENCHMARK})
    CLAIMS = load(Path(__file__).with_name("my_claims.yaml"))
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Protocol

from eval.claims.claim import Benchmark, Claim
from eval.claims.words import RATIO_MARGIN, Place, Role
from study.runs.decode import DecodeError, decode_as
from study.runs.node import Evaluation, Run

PAPERS = Path(__file__).with_name("papers")
DEFAULT = "wang2022"
LOWEST_MARGIN = 1.0  # a factor


@dataclass(frozen=True, kw_only=True)
class File:
    """A claims file, on the suites that it was read with. source: whose claims. ratio_margin: the
    factor of tokens, or of perplexity, below which a difference does not matter.
    """

    source: str
    suites: tuple[Role, ...]
    claims: tuple[Claim, ...]
    ratio_margin: float = RATIO_MARGIN

    def __post_init__(self) -> None:
        if not self.ratio_margin > LOWEST_MARGIN:
            raise ValueError(f"ratio_margin is {self.ratio_margin}; legal: above {LOWEST_MARGIN}")

    def roles(self) -> dict[str, Role]:
        return {each.role: each for each in self.suites}


def published() -> tuple[str, ...]:
    """Names of the claims files that come with this package."""
    return tuple(sorted(path.stem for path in PAPERS.glob("*.yaml")))


def find(name: str | Path) -> Path:
    """The file of a name or of a path. Raises ValueError naming what there is."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if path.is_file():
            return path
        raise ValueError(f"{path}: no such claims file")
    known = published()
    if str(name) in known:
        return PAPERS / f"{name}.yaml"
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"legal: {', '.join(known)}"
    raise ValueError(f"no claims are named {str(name)!r}; {hint} Or a path that ends in .yaml")


def read(name: str | Path, suites: Mapping[str, Benchmark] | None = None) -> File:
    """A claims file on a sweep's suites. Raises DecodeError with the line that is wrong.

    suites: role -> the sweep's suite and its margin; a role that is left out is a suite of its own
    name, with the file's margin. Raises ValueError for a role that the file does not have.
    """
    path = find(name)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DecodeError(f"{path}:1: not UTF-8 text ({error})") from None
    place = Place(suites=suites or {})
    file = decode_as(text, File, name=str(path), words=place.words())
    if unknown := sorted(place.suites.keys() - file.roles().keys()):
        raise ValueError(f"no role {unknown[0]!r} in the claims; legal: {', '.join(file.roles())}")
    return file


def load(name: str | Path, suites: Mapping[str, Benchmark] | None = None) -> tuple[Claim, ...]:
    """The claims of a file, as `read`."""
    return read(name, suites).claims


class SweepLike(Protocol):
    """What binding needs of a plan (`study.runs.plan.Sweep`)."""

    @property
    def path(self) -> Path: ...
    @property
    def runs(self) -> tuple[Run, ...]: ...
    @property
    def module(self) -> ModuleType | None: ...


def for_sweep(name: str | Path, sweep: SweepLike) -> tuple[Claim, ...]:
    """A file's claims on a sweep that does not declare them: on the sweep's SUITES (role ->
    Benchmark) where it has these, else on suites of the roles' own names.

    Raises ValueError where the sweep has neither.
    """
    roles = read(name).roles()
    own: Mapping[str, Benchmark] = getattr(sweep.module, "SUITES", {})
    scored = {run.suite.name for run in sweep.runs if isinstance(run, Evaluation)}
    lacking = [role for role in roles if role not in own and role not in scored]
    if lacking:
        raise ValueError(
            f"{sweep.path} says not which suite is {' and '.join(lacking)}; legal: "
            f"SUITES = {{{lacking[0]!r}: Benchmark(...)}} in it, of its suites "
            f"{', '.join(sorted(scored)) or '(none)'}"
        )
    return load(name, {role: own[role] for role in roles if role in own})
