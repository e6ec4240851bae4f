"""From a sweep file to an ordered plan: what there is to do, and in which order.

Owns loading a sweep, closing it over parents, refusing two runs of one slug, order, and which
checkpoints must stay. What it all costs is `study.costs.ledger`; where it runs is
`study.launch.local`. No torch.
"""

from __future__ import annotations

import difflib
import gc
import hashlib
import importlib.util
import json
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from study.runs.decode import decode_file, validate
from study.runs.domain import kinds
from study.runs.identity import identity
from study.runs.node import Evaluation, Run, Trained, start_checkpoint

MOVED = {
    "eval.claim_files": "eval.claims.files",
    "eval.claims": "eval.claims.claim",
    "eval.evidence.claims": "eval.claims.claim",
    "eval.published": "eval.evidence.published",
    "study.conventions": "study.language.values.conventions",
    "study.data_sets": "study.language.suites.data_sets",
    "study.decode": "study.runs.decode",
    "study.eai": "study.language.suites.eai",
    "study.execution": "study.runs.execution",
    "study.ladder": "study.language.recipes.ladder",
    "study.microworld": "study.language.recipes.microworld",
    "study.parts": "study.language.values",
    "study.pins": "study.sources.pins",
    "study.plan": "study.runs.plan",
    "study.presets": "study.language.recipes.presets",
    "study.published": "study.language.suites.published",
    "study.rates": "study.language.recipes.rates",
    "study.replication": "study.language.recipes.tree",
    "study.run": "study.language.values",
    "study.store": "study.store.directory",
    "study.suite_list": "study.language.recipes.suite_list",
    "study.suite_parts": "study.language.values",
    "study.t0": "study.language.suites.t0",
    "study.tree": "study.language.recipes.tree",
}
"""Where the modules went that a sweep of an earlier version imports; its error names them."""
_IMPORTED = re.compile(r"cannot import name '(\w+)'")


class SweepError(ValueError):
    """A sweep that can't be planned. The message names the sweep's own line where there is one."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A plan: `declared` is what the file yields, `runs` is that closed over dependencies, each
    after what it depends on. title: the docstring's first sentence. module: the sweep's own module
    (REPORT, CLAIMS), None for a run file.
    """

    path: Path
    title: str
    declared: tuple[Run, ...]
    runs: tuple[Run, ...]
    module: ModuleType | None = field(default=None, compare=False)

    def run(self, slug: str) -> Run:
        """The run of this slug, or of this id's beginning (8 characters at least)."""
        for run in self.runs:
            if run.slug == slug or (len(slug) >= 8 and run.id.startswith(slug)):
                return run
        slugs = [run.slug for run in self.runs]
        near = difflib.get_close_matches(slug, slugs, n=3, cutoff=0.4) or slugs[:10]
        raise SweepError(f"{self.path} has no run {slug!r}; legal, among others: {', '.join(near)}")

    def only(self, wanted: Iterable[Run]) -> Sweep:
        """The part of this plan that these runs need."""
        wanted = tuple(wanted)
        runs = close(wanted, known=self.runs)
        return Sweep(
            path=self.path, title=self.title, declared=wanted, runs=runs, module=self.module
        )


def load(target: str) -> Sweep:
    """`SWEEP.py`, `SWEEP.py:SLUG` (that run and what it needs) or a run file `FILE.yaml`."""
    path, slug = split_target(target)
    if path.suffix in (".yaml", ".yml"):
        if slug:
            raise SweepError(f"{target!r}: a run file holds one run; legal: {path}")
        return load_file(path)
    sweep = load_sweep(path)
    return sweep.only([sweep.run(slug)]) if slug else sweep


def load_scored(target: str) -> Sweep:
    """As `load`, but the slug of a trained run stands for its evaluations in the sweep."""
    path, slug = split_target(target)
    if not slug:
        return load(target)
    sweep = load_sweep(path)
    named = sweep.run(slug)
    if not isinstance(named, Trained):
        return sweep.only([named])
    scored = [run for run in sweep.runs if isinstance(run, Evaluation) and run.run.id == named.id]
    if not scored:
        raise SweepError(f"{path} has no evaluation of {slug!r}")
    return sweep.only(scored)


def claims(sweep: Sweep) -> tuple[Any, ...]:
    """What the sweep's module declares as its claims, in their own form; a run file has none."""
    return tuple(getattr(sweep.module, "CLAIMS", ()))


def split_target(target: str) -> tuple[Path, str]:
    """`PATH[:SLUG]`; a slug may hold colons, as in `sweeps/demo.py:CD:FLM`."""
    for mark in (".py:", ".yaml:", ".yml:"):
        head, found, slug = target.partition(mark)
        if found:
            return Path(head + mark[:-1]), slug
    return Path(target), ""


def load_file(path: Path) -> Sweep:
    """The plan of one run file."""
    if not path.is_file():
        raise SweepError(f"{path}: no such file; legal: a sweep (.py) or a run (.yaml)")
    run = decode_file(path)
    return Sweep(path=path, title=run.slug, declared=(run,), runs=close([run]))


def load_sweep(path: Path | str) -> Sweep:
    """Run a sweep file's `runs()` and plan what it yields."""
    with _uncollected():
        return _load_sweep(Path(path))


@contextmanager
def _uncollected() -> Iterator[None]:
    """Declaring runs makes no garbage; looking for some takes a tenth of a large plan's time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _load_sweep(path: Path) -> Sweep:
    if not path.is_file():
        raise SweepError(f"{path}: no such file; legal: a sweep (.py) or a run (.yaml)")
    if path.suffix != ".py":
        raise SweepError(f"{path}: legal: a sweep (.py) or a run (.yaml)")
    try:
        with _neighbours(path.resolve().parent):
            module = _import(path)
            declare = getattr(module, "runs", None)
            if not callable(declare):
                raise SweepError(
                    f"{path} has no function runs(); legal: def runs() that yields runs"
                )
            listed = enumerate(_listed(path, declare()))
            declared = tuple(_checked(path, run, at) for at, run in listed)
    except (SweepError, KeyboardInterrupt):
        raise
    except BaseException as error:  # SystemExit too: a sweep must not end the command
        raise SweepError(_own_line(path, error)) from error
    if not declared:
        raise SweepError(f"{path}: runs() yields nothing; legal: at least one run")
    paragraph = (module.__doc__ or path.stem).strip().partition("\n\n")[0]
    title = " ".join(paragraph.split()).partition(". ")[0].rstrip(".")
    try:
        runs = close(declared)
        seen: dict[int, Any] = {}
        for run in runs:
            validate(run, seen=seen)
    except (TypeError, ValueError) as error:
        raise SweepError(f"{path}: {error}") from None
    return Sweep(path=path, title=title, declared=declared, runs=runs, module=module)


def _listed(path: Path, answer: object) -> Iterable[object]:
    if isinstance(answer, Iterable):
        return answer
    raise SweepError(f"{path}: runs() gives {answer!r:.80}; legal: an iterable of runs")


def _checked(path: Path, run: object, at: int) -> Run:
    if not isinstance(run, Run):
        raise SweepError(
            f"{path}: runs() yields {run!r:.80} as item {at}; legal: {', '.join(kinds())}"
        )
    return run


@contextmanager
def _neighbours(folder: Path) -> Iterator[None]:
    """A sweep imports modules of its own folder, where nobody else has one of that name; then they
    are forgotten, since another sweep's may be called the same.
    """
    before = set(sys.modules)
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        tops = {name.partition(".")[0] for name in set(sys.modules) - before}
        own = {top for top in tops if _lies_in(folder, top) and not _is_found(top)}
        for name in set(sys.modules) - before:
            if name.partition(".")[0] in own:
                del sys.modules[name]


def _lies_in(folder: Path, top: str) -> bool:
    file = getattr(sys.modules.get(top), "__file__", None)
    return file is not None and not top.startswith("_sweep_") and Path(file).is_relative_to(folder)


def _is_found(top: str) -> bool:
    return any(finder.find_spec(top, None) for finder in sys.meta_path)


def _import(path: Path) -> ModuleType:
    """The file as a module of a name of its own: `sweeps/` is no package, and two sweeps of one
    name must not meet in sys.modules.
    """
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    name = f"_sweep_{path.stem}_{digest}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _own_line(path: Path, error: BaseException) -> str:
    """`FILE:LINE: Error: message` with the deepest line that is the sweep's own."""
    kind = type(error).__name__
    own_file = path.resolve()
    if isinstance(error, SyntaxError) and Path(error.filename or "").resolve() == own_file:
        return f"{path}:{error.lineno}: {kind}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).resolve() == own_file]
    line = own[-1].lineno if own else 1
    code = f" (in: {own[-1].line})" if own and own[-1].line else ""
    return f"{path}:{line}: {kind}: {error}{code}{_moved(error)}"


def close(declared: Iterable[Run], *, known: Iterable[Run] = ()) -> tuple[Run, ...]:
    """The runs with all that they depend on, each once by id and after its dependencies.

    known: runs that are preferred where ids are equal, so that a part keeps its plan's slugs.
    """
    preferred = {run.id: run for run in known}
    order: dict[str, Run] = {}
    for run in declared:
        stack: list[tuple[Run, bool]] = [(run, False)]
        while stack:
            node, ready = stack.pop()
            name = node.id
            if name in order:
                continue
            if ready:
                order[name] = preferred.get(name, node)
                continue
            stack.append((node, True))
            stack.extend((parent, False) for parent in reversed(node.parents))
    runs = tuple(order.values())
    _refuse_shared_slugs(runs)
    return runs


def _refuse_shared_slugs(runs: Iterable[Run]) -> None:
    slugs: dict[str, Run] = {}
    for run in runs:
        other = slugs.setdefault(run.slug, run)
        if other is not run:
            raise SweepError(
                f"two different runs have the slug {run.slug!r}: {type(other).__name__} "
                f"{other.id[:12]} and {type(run).__name__} {run.id[:12]}; they differ in "
                f"{first_difference(identity(other), identity(run))}; legal: one run a slug"
            )


def first_difference(left: Any, right: Any) -> str:
    """The first place where two identity forms differ, as `path: left against right`."""
    return next(differences(left, right))


def differences(left: Any, right: Any, *, where: str = "") -> Iterator[str]:
    """Every place where two canonical or identity forms differ, as `path: left against right`;
    slugs are no difference.
    """
    if isinstance(left, dict) and isinstance(right, dict) and left.get("kind") == right.get("kind"):
        for key in dict.fromkeys([*left, *right]):
            if key != "slug" and left.get(key) != right.get(key):
                path = f"{where}.{key}" if where else key
                yield from differences(left.get(key), right.get(key), where=path)
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for index, (one, other) in enumerate(zip(left, right, strict=True)):
            if one != other:
                yield from differences(one, other, where=f"{where}[{index}]")
    else:
        yield f"{where or 'kind'}: {_brief(left)} against {_brief(right)}"


def _brief(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get("kind", "a mapping"))
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def children(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """id -> the runs that depend on it directly; every run of the plan has an entry."""
    below: dict[str, list[Run]] = {}
    for run in runs:
        below.setdefault(run.id, [])
        for parent in run.parents:
            below.setdefault(parent.id, []).append(run)
    return below


def descendants(run: Run, *, below: dict[str, list[Run]]) -> Iterator[Run]:
    """Everything that needs this run, nearest first, each once."""
    seen: set[str] = set()
    waiting = list(below[run.id])
    while waiting:
        child = waiting.pop(0)
        if child.id not in seen:
            seen.add(child.id)
            yield child
            waiting.extend(below[child.id])


def kept_steps(run: Trained, runs: Iterable[Run]) -> tuple[int, ...]:
    """The run's own steps whose checkpoints children and evaluations of the plan name, and the
    last.
    """
    return all_kept_steps([run, *runs])[run.id]


def all_kept_steps(runs: Iterable[Run]) -> dict[str, tuple[int, ...]]:
    """`kept_steps` of every trained run of a plan, by id."""
    steps: dict[str, set[int]] = {}
    for run in runs:
        if isinstance(run, Trained):
            steps.setdefault(run.id, set()).add(run.training.steps)
        parent, step = start_checkpoint(run)
        if parent is not None:
            steps.setdefault(parent.id, set()).add(step)
    return {name: tuple(sorted(found)) for name, found in steps.items()}


def _moved(error: BaseException) -> str:
    """`; study.run is study.language.values now`, or nothing where the error is another."""
    if not isinstance(error, ImportError) or error.name is None:
        return ""
    found = _IMPORTED.match(error.msg)
    names = [f"{error.name}.{found[1]}"] if found else []
    for name in (*names, error.name):
        if name in MOVED:
            return f"; {name} is {MOVED[name]} now"
    return ""
