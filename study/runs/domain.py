"""The seam: what a domain brings, and which domain a run is of. No torch.

A domain is a package `study/<name>/` whose `__init__` imports its values and ends in `register`. A
package's face runs before anything in it, so whoever holds a value has its domain registered;
`study.domains` is needed only where a run is read from text. The functions of a domain import what
they need when they are called.

Owns too how runs and sources are found among the fields of a value, at any depth.
"""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, Union, get_args, get_origin

from study.runs.measure import Derived, Measure
from study.runs.node import (
    Continue,
    Evaluation,
    Imported,
    ModelShape,
    Objective,
    Run,
    Train,
    Trained,
)
from study.runs.source import Source, add_scheme
from study.runs.suite import ScoringRule, Task

if TYPE_CHECKING:
    from study.runs.cells import Names
    from study.runs.reporting import Reporting


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one trained run takes, its parents' share not counted.

    parameters: trainable numbers. tokens: positions that the model reads in training. loss_tokens:
    those with a loss, None where only the data knows. flops: of forward and backward passes.
    """

    parameters: int
    tokens: int
    loss_tokens: int | None
    flops: int


class ValidationTarget(NamedTuple):
    """What a held-out loss is of. Two losses may be compared where `form`, of plain values, is
    equal; `description` says the same in words.
    """

    form: Any
    description: str


class Generator(NamedTuple):
    """What a source of a domain's own scheme reads as: rows by column, or one text. Both raise
    ValueError for a URI or a version that they don't know.
    """

    rows: Callable[[Source], Iterable[dict[str, Any]]]
    text: Callable[[Source], str]


@dataclass(frozen=True, kw_only=True)
class Domain:
    """What the core asks of a domain."""

    name: str
    """The folder's."""

    values: tuple[type, ...]
    """Every dataclass that its runs may hold."""

    prepare: Callable[..., dict[str, Any]]
    """(data, directory, store, access, progress, warn) -> its summary. The directory is there and
    empty; it is published under the name `data_directory`.
    """

    learner: Callable[..., Any]
    """(trained run, store) -> a `study.train.learner.Learner`."""

    score: Callable[..., None]
    """An evaluation, or the check of a checkpoint from elsewhere: published and sealed."""

    cost: Callable[[Trained], Cost]

    footprint: Callable[..., Any]
    """(trained run, rows, activation_checkpointing, device) -> `study.costs.footprint.Footprint` of
    one pass; raises ValueError where no formula knows it.
    """

    names: Callable[[Iterable[Run]], Names]
    """Those that a plan gives its runs."""

    traits: Callable[[Run], Mapping[str, str]]
    """What a plan's table says of a run in the domain's own words, such as its architecture."""

    validation_target: Callable[[Trained], ValidationTarget]

    measures: tuple[Measure | Derived, ...]
    """What its scores measure; the first is that of a suite of which nothing is scored yet."""

    items: Callable[[Any], Any] = lambda table: table
    """(a score's published table of items) -> the same with the columns of `study.store.items` and
    of its measures.
    """

    reporting: Callable[[], Reporting] | None = None
    """What it adds to a report; None for the defaults."""

    in_budget: Callable[[Trained], bool] = lambda run: True
    """Whether a stage counts towards the budget by which cells are matched; finetuning does not."""

    auto: Callable[[], None] = lambda: None
    """Tell transformers' Auto classes of its models."""

    commands: Callable[[], Any] | None = None
    """A `typer.Typer` of commands of its own, under `study NAME`."""

    data_directory: str = "data"

    schemes: Mapping[str, Generator] = field(default_factory=dict)
    """Of sources that the domain generates."""


_T = TypeVar("_T")
_BASES = (Run, ModelShape, Objective, Task, ScoringRule)
_CORE: tuple[type, ...] = (Train, Continue, Imported)
_domains: dict[str, Domain] = {}
_owners: dict[type, Domain] = {}


def register(domain: Domain) -> None:
    """Make a domain's classes known. Raises ValueError where a class's name, which stands in run
    files and ids, is taken.
    """
    taken = {each.__name__: "the core" for each in (*_CORE, Evaluation)}
    taken |= {each.__name__: owner.name for each, owner in _owners.items()}
    for each in domain.values:
        if each.__name__ in taken:
            raise ValueError(
                f"domain {domain.name!r} has a class {each.__name__}, as {taken[each.__name__]} "
                "has; legal: a name of its own, since it stands in run files and ids"
            )
    _domains[domain.name] = domain
    _owners.update(dict.fromkeys(domain.values, domain))
    for scheme in domain.schemes:
        add_scheme(scheme)
    forget_resolved()


def forget_resolved() -> None:
    """What was resolved before the domains changed."""
    members.cache_clear()
    kinds.cache_clear()


def of(run: Run) -> Domain:
    """The domain that registered the run's class; of a core kind, the class of its model.

    Raises LookupError that names both.
    """
    if isinstance(run, Evaluation):
        return of(run.run)
    owner = type(run.model) if isinstance(run, _CORE) else type(run)  # type: ignore[attr-defined]
    if owner not in _owners:
        raise LookupError(f"{owner.__name__} is of no domain; known: {', '.join(_domains)}")
    return _owners[owner]


def registered() -> Mapping[str, Domain]:
    """The domains by name, in the order of registration."""
    return dict(_domains)


_costs: dict[str, Cost] = {}


def cost(run: Trained) -> Cost:
    """What the run's domain says that it takes, remembered by id."""
    if run.id not in _costs:
        _costs[run.id] = of(run).cost(run)
    return _costs[run.id]


@functools.cache
def kinds() -> dict[str, type[Run]]:
    """Every kind of run that can stand in a file, by name; the core's own where a domain has models
    for them.
    """
    own = [each for each in _owners if issubclass(each, Run)]
    core = _CORE if any(issubclass(each, ModelShape) for each in _owners) else ()
    return {each.__name__: each for each in (*own, *core, Evaluation)}


def generator(source: Source) -> Generator | None:
    """What generates the source, or None where it is read."""
    scheme = source.uri.partition("://")[0]
    return next((d.schemes[scheme] for d in _domains.values() if scheme in d.schemes), None)


def is_trained(kind: str) -> bool:
    """Whether a kind of run trains; every other one is executed by one process."""
    return issubclass(kinds()[kind], Trained)


@functools.cache
def members(declared: Any) -> tuple[Any, ...]:
    """The alternatives of a declared type: a union's, or itself; a base without fields stands for
    the registered classes that derive from it.
    """
    origin = get_origin(declared)
    alternatives = get_args(declared) if origin in (Union, types.UnionType) else (declared,)
    return tuple(each for member in alternatives for each in _derived(member))


def _derived(member: Any) -> Iterable[Any]:
    if isinstance(member, TypeVar):
        member = member.__bound__
    if not isinstance(member, type) or is_dataclass(member) or not issubclass(member, _BASES):
        return (member,)
    known = kinds().values() if issubclass(member, Run) else _owners
    return [each for each in known if issubclass(each, member)]


@functools.cache
def types_of(owner: type) -> dict[str, Any]:
    """Field name -> declared type, resolved."""
    hints = typing.get_type_hints(owner)
    return {each.name: hints[each.name] for each in fields(owner)}


def held(value: Any, wanted: type[_T]) -> Iterator[_T]:
    """What of the wanted class the value's fields hold, in their order. Another run's fields are
    its own: the walk ends there.
    """
    for name in _branches(type(value), wanted, tuple(registered())):
        yield from _inside(getattr(value, name), wanted)


def _inside(item: Any, wanted: type[_T]) -> Iterator[_T]:
    if isinstance(item, wanted):
        yield item
    elif isinstance(item, tuple):
        for each in item:
            yield from _inside(each, wanted)
    elif is_dataclass(item) and not isinstance(item, Run):
        yield from held(item, wanted)


@functools.cache
def _branches(owner: type, wanted: type, known: tuple[str, ...]) -> tuple[str, ...]:
    """The fields that may hold it by their declared types: a plan has thousands of values whose
    other fields need not be looked at. known: the domains, by which bases
    are resolved.
    """
    del known
    found = types_of(owner).items()
    return tuple(name for name, hint in found if _may_hold(hint, wanted, above=(owner,)))


def _may_hold(hint: Any, wanted: type, *, above: tuple[type, ...]) -> bool:
    for member in members(hint):
        if get_origin(member) is tuple:
            if any(_may_hold(each, wanted, above=above) for each in get_args(member)):
                return True
        elif isinstance(member, type):
            if issubclass(member, wanted):
                return True
            if is_dataclass(member) and not issubclass(member, Run) and member not in above:
                inner = types_of(member).values()
                if any(_may_hold(each, wanted, above=(*above, member)) for each in inner):
                    return True
    return False
