"""jinja2's sandbox for prompt templates: bounded, seeded, and careful with what a row lacks.

Owns what a template may do, and the copy of a row that it sees; what a missing value is says
`study.language.prompts.missing`, where a template reads one `study.language.prompts.guard`.
"""

from __future__ import annotations

import copy
import functools
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jinja2
from jinja2.exceptions import SecurityError
from jinja2.sandbox import SandboxedEnvironment

from study.language.prompts import filters, guard
from study.language.prompts.missing import (
    Absent,
    UnlabelledValue,
    absent,
    is_no_label,
    unlabelled,
    why_missing,
)
from study.sources.formats import Row

# stands for a separator that the row's own text holds, until the parts are apart
PROTECTOR = "3ed2dface8203c4c9dfb1a5dc58e41e0"
# far beyond any real prompt; it stops a template that multiplies text without end
MAX_CHARACTERS = 2**20
_MAX_REPEAT = 100_000
MAX_WORK = 10**6
# no identifiers of the template language, so no template can name them
_DRAW = "the draw"
_WORK = "the work"


def _small(value: Any) -> None:
    """Refuse a number that would make text or work without end (a width, a count)."""
    if isinstance(value, int) and abs(int(value)) > _MAX_REPEAT:
        raise OverflowError(f"{value} in a template; legal: at most {_MAX_REPEAT}")


# methods that take a label as it is; others would count or look up by it
_TAKES = ("append", "extend", "format", "update")


class _Sandbox(SandboxedEnvironment):
    """jinja2's sandbox, with bounded work as well."""

    intercepted_binops = frozenset(("*", "**", "%"))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        text = isinstance(left, str | list | tuple) or isinstance(right, str | list | tuple)
        if text and operator == "*":
            size = len(left) * right if hasattr(left, "__len__") else left * len(right)
            _small(size)
        if isinstance(left, str) and operator == "%":
            raise SecurityError("text % value in a template")
        if operator == "**":
            _small(left)
            _small(right * 100 if isinstance(right, int) else right)
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        owner, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
        for value in (*args, *kwargs.values()):
            # methods of text only: elsewhere a large number multiplies nothing
            if isinstance(owner, str):
                _small(value)
            if isinstance(value, Absent | UnlabelledValue) and isinstance(owner, str | list | dict):
                _ = name in _TAKES or bool(value)
            if name == "join" and isinstance(value, list):
                _ = [bool(each) for each in value if isinstance(each, Absent)]
        found = super().call(context, function, *args, **kwargs)
        if found is None and isinstance(owner, dict) and name in ("get", "pop", "setdefault"):
            return Absent(obj=owner, name=args[0])
        return owner if isinstance(owner, UnlabelledValue) and name in filters.LEAVES else found


def _bounded(filter_function: Callable[..., Any]) -> Callable[..., Any]:
    """A text filter whose numbers (widths, indents) are bounded."""

    @functools.wraps(filter_function)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        for value in (*args[1:], *kwargs.values()):
            _small(value)
        return filter_function(*args, **kwargs)

    return bounded


def _most_frequent(items: list[Any]) -> list[Any] | None:
    """promptsource's filter: the items that occur most often."""
    if not items:
        return None
    counts = Counter(items).most_common()
    return [item for item, count in counts if count == counts[0][1]]


# a filter of the context is also never folded into a constant when a template is compiled, which
# would draw once for all rows
@jinja2.pass_context
def _choice(context: jinja2.runtime.Context, items: Sequence[Any]) -> Any:
    """promptsource's `choice`, drawn for this template and document."""
    return context[_DRAW].choice(items)


class _Work:
    """Numbers that one rendering took from `range`, and rounds of its loops, so far."""

    done = 0


@jinja2.pass_context
def _range(context: jinja2.runtime.Context, *bounds: int) -> range:
    """`range`, bounded over the whole rendering: nested loops multiply, and print nothing."""
    numbers = range(*map(filters.bound, bounds))
    work = context[_WORK]
    work.done += len(numbers) + 1
    if work.done > MAX_WORK:
        raise OverflowError(f"more than {MAX_WORK} numbers from range")
    return numbers


@jinja2.pass_context
def _counted(context: jinja2.runtime.Context, items: Any) -> Iterator[Any]:
    """What a loop goes over, bounded over the whole rendering: loops over a long text nest, and a
    loop over a list that grows under it never ends.
    """
    work = context[_WORK]
    for item in items:
        work.done += 1
        if work.done > MAX_WORK:
            raise OverflowError(f"more than {MAX_WORK} rounds of loops")
        yield item


def _environment() -> _Sandbox:
    environment = _Sandbox(undefined=Absent, autoescape=False, finalize=filters.printed)
    for name in ("center", "indent", "format", "batch", "slice", "wordwrap"):
        environment.filters[name] = _bounded(environment.filters[name])
    for name in environment.filters.keys() - {"default", "d", "int", "float"}:
        environment.filters[name] = filters.labelled(environment.filters[name])
    for name in ("int", "float"):
        environment.filters[name] = filters.number(environment.filters[name])
    for name in environment.tests.keys() - {"defined", "undefined", "none", "filter", "test"}:
        environment.tests[name] = filters.read(environment.tests[name])
    environment.tests["none"] = lambda value: value is None or isinstance(value, Absent)
    environment.filters["most_frequent"] = _most_frequent
    environment.filters["choice"] = environment.filters["random"] = _choice
    environment.filters |= {
        guard.LOOP: _counted,
        guard.ITEM: filters.item,
        guard.BOUND: filters.bound,
        guard.ASKED: lambda value: not isinstance(value, Absent) and bool(value),
        guard.DECIDES: filters.decides,
        guard.COMPARED: filters.compared,
        guard.ANSWER: filters.answer,
    }
    # lipsum draws from the process's own random state
    del environment.globals["lipsum"]
    environment.globals["zip"] = zip
    environment.globals["range"] = _range
    return environment


_ENVIRONMENT = _environment()


@functools.lru_cache(maxsize=4096)
def compiled(source: str, *, choices: bool) -> jinja2.Template:
    """choices: see `template_guard.guarded`. Raises jinja2's errors of syntax."""
    return _ENVIRONMENT.from_string(guard.guarded(_ENVIRONMENT.parse(source), choices=choices))


@functools.lru_cache(maxsize=4096)
def known_columns(*templates: str) -> frozenset[str]:
    """Columns and fields whose -1 one of the templates knows."""
    return frozenset().union(*(guard.known_columns(_ENVIRONMENT.parse(each)) for each in templates))


def render(source: str, variables: dict[str, Any], *, seed: str, choices: bool) -> str:
    # a text seed is hashed by sha512: the same on every machine and in every process
    variables = variables | {_DRAW: random.Random(seed), _WORK: _Work()}
    pieces: list[str] = []
    size = 0
    for piece in compiled(source, choices=choices).generate(variables):
        size += len(piece)
        if size > MAX_CHARACTERS:
            raise OverflowError(f"more than {MAX_CHARACTERS} characters")
        pieces.append(piece)
    return "".join(pieces)


def variables(row: Row, *, known: frozenset[str]) -> dict[str, Any]:
    """A deep copy (templates may change lists) in which the row's own separators are protected and
    what it lacks has its stand-in. known: columns whose -1 is a value like others.
    """
    return {name: _guarded(value, column=str(name), known=known) for name, value in row.items()}


def _guarded(value: Any, *, column: str, known: frozenset[str]) -> Any:
    match value:
        case dict():
            return {
                name: _guarded(each, column=str(name), known=known) for name, each in value.items()
            }
        case list() | tuple():
            return [_guarded(each, column=column, known=known) for each in value]
        case str() | None | bool() | int() | float() | bytes():
            pass
        case _:
            value = copy.deepcopy(value)
    if not isinstance(value, str) and (why := why_missing(value)):
        return absent(why, column=column)
    if is_no_label(value) and column not in known:
        return unlabelled(value, column=column)
    return value.replace(guard.SEPARATOR, PROTECTOR) if isinstance(value, str) else value
