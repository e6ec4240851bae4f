"""Prompt templates in promptsource's format: read as data, rendered in a sandbox, seeded.

Owns the YAML loader, what a template may do, what makes a rendering valid, and how a prompt and
its answer are joined before they are tokenised. It departs from promptsource 0.2.3 where that is
unsafe or silent: jinja2's sandbox; `choice` and `random` drawn by template and document; no
truncation; a rendering without exactly two parts, or that prints a value the row lacks, is skipped
with its reason instead of becoming text.
"""

from __future__ import annotations

import copy
import functools
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jinja2
import yaml
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import SandboxedEnvironment

from study.data import sources
from study.data.readers import Row
from study.run import Source

SEPARATOR = "|||"
# stands for a separator that the row's own text holds, until the parts are apart
_PROTECTOR = "3ed2dface8203c4c9dfb1a5dc58e41e0"
# far beyond any real prompt; it stops a template that multiplies text without end
MAX_CHARACTERS = 2**20

Reason = Literal["not_applicable", "parts", "empty", "undefined", "forbidden", "limit", "error"]


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """A prompt and its answer, both stripped of outer white space."""

    inputs: str
    targets: str


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """Why a row has no rendering.

    reason: `not_applicable`, the template rendered nothing, as conditional ones do by design;
        `parts`, not exactly one separator; `empty`, a part without text; `undefined`, a value that
        the row lacks; `forbidden`, the sandbox refused; `limit`, too much work or text; `error`,
        anything else that the template raised.
    """

    reason: Reason
    detail: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Template:
    """One prompt template.

    id: promptsource's own. answer_choices: a jinja expression, `|||` between choices, or None.
    original_task, choices_in_prompt, metrics: promptsource's metadata.
    """

    name: str
    id: str
    jinja: str
    answer_choices: str | None
    original_task: bool | None
    choices_in_prompt: bool | None
    metrics: tuple[str, ...]

    def apply(self, row: Row, *, key: str) -> Rendered | None:
        """The rendering, or None where the template does not apply; `outcome` says why."""
        outcome = self.outcome(row, key=key)
        return outcome if isinstance(outcome, Rendered) else None

    def outcome(self, row: Row, *, key: str) -> Rendered | Skipped:
        """`key` names the document; equal keys make equal random choices."""
        if "answer_choices" in row:
            raise ValueError(
                f"template {self.name!r}: a row has the column 'answer_choices', which templates "
                "use for their own; rename it"
            )
        try:
            choices = self._choices(row, key=key)
            variables = _protected(row) | {"answer_choices": choices}
            whole = _render(self.jinja, variables, seed=f"{self.id}\0{key}\0prompt")
        except _CAUGHT as error:
            return _skipped(error)
        if not whole.strip():
            return Skipped(reason="not_applicable", detail="renders nothing")
        parts = [part.replace(_PROTECTOR, SEPARATOR).strip() for part in whole.split(SEPARATOR)]
        if len(parts) != 2:
            return Skipped(reason="parts", detail=f"{len(parts)} parts; legal: 2")
        inputs, targets = parts
        if not inputs or not targets:
            return Skipped(reason="empty", detail=f"no {'targets' if inputs else 'inputs'}")
        return Rendered(inputs=inputs, targets=targets)

    def choices(self, row: Row, *, key: str) -> list[str] | None:
        """The answers to rank, or None where the template is open-ended or does not apply.

        They are those that the prompt of the same key was rendered with.
        """
        try:
            choices = self._choices(row, key=key)
        except _CAUGHT:
            return None
        if choices is None:
            return None
        return [choice.replace(_PROTECTOR, SEPARATOR) for choice in choices]

    def _choices(self, row: Row, *, key: str) -> list[str] | None:
        if self.answer_choices is None:
            return None
        seed = f"{self.id}\0{key}\0choices"
        whole = _render(self.answer_choices, _protected(row), seed=seed)
        return [choice.strip() for choice in whole.split(SEPARATOR)]


def join_target(inputs: str, targets: str) -> str:
    """The answer as it is tokenised: on its own, after one space where the prompt does not end in
    white space.

    The one rule for the join, at finetuning and at scoring alike. The prompt is tokenised on its
    own too, so no token spans the join, and a byte-level BPE sees ` good` as it does in running
    text.
    """
    return f" {targets}" if inputs and not inputs[-1].isspace() else targets


class _Loader(yaml.SafeLoader):
    """yaml's safe loader and the two tags of promptsource, as plain mappings."""


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    return loader.construct_mapping(node, deep=True)


for _tag in ("!Template", "!TemplateMetadata"):
    _Loader.add_constructor(_tag, _mapping)


def load_templates(
    source: Source, *, access: sources.Access, names: Sequence[str] = ()
) -> list[Template]:
    """The templates of a templates.yaml, sorted by name; only `names`, in their order, if given."""
    templates = parse_templates(sources.text(source, access=access), origin=source.uri)
    if not names:
        return templates
    known = {template.name: template for template in templates}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"{source.uri}: no template {unknown[0]!r}; legal: {', '.join(map(repr, known))}"
        )
    return [known[name] for name in names]


_MALFORMED = (KeyError, TypeError, AttributeError, ValueError)


def parse_templates(text: str, *, origin: str) -> list[Template]:
    """Raises ValueError, naming `origin`, on anything that is not promptsource's format."""
    try:
        form = yaml.load(text, Loader=_Loader)
        entries = form["templates"]
        templates = [_template(entry) for entry in entries.values()]
    except (yaml.YAMLError, jinja2.TemplateSyntaxError, *_MALFORMED) as error:
        raise ValueError(f"{origin}: not promptsource's format ({error})") from error
    twice = [name for name, count in Counter(each.name for each in templates).items() if count > 1]
    if twice:
        raise ValueError(f"{origin}: two templates are named {twice[0]!r}")
    return sorted(templates, key=lambda template: template.name)


def _template(entry: dict[str, Any]) -> Template:
    metadata = entry.get("metadata") or {}
    jinja, choices = entry["jinja"], entry.get("answer_choices")
    if not isinstance(jinja, str) or not isinstance(choices, str | None):
        raise ValueError(f"template {entry['name']!r}: jinja and answer_choices must be text")
    for expression in (jinja, choices or ""):
        _ENVIRONMENT.parse(expression, name=str(entry["name"]))
    return Template(
        # some of promptsource's names end in a space
        name=str(entry["name"]).strip(),
        id=str(entry["id"]),
        jinja=jinja,
        answer_choices=choices,
        original_task=metadata.get("original_task"),
        choices_in_prompt=metadata.get("choices_in_prompt"),
        metrics=tuple(metadata.get("metrics") or ()),
    )


class _Undefined(jinja2.Undefined):
    """May be tested, not printed: a prompt must not lose a field without a word."""

    __str__ = jinja2.Undefined._fail_with_undefined_error
    __iter__ = jinja2.Undefined._fail_with_undefined_error


_MAX_REPEAT = 100_000


def _small(value: Any) -> None:
    """Refuse a number that would make text or work without end (a width, a count)."""
    if isinstance(value, int) and abs(value) > _MAX_REPEAT:
        raise OverflowError(f"{value} in a template; legal: at most {_MAX_REPEAT}")


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
        for value in (*args, *kwargs.values()):
            # methods of text only: elsewhere a large number multiplies nothing
            if isinstance(getattr(function, "__self__", None), str):
                _small(value)
        return super().call(context, function, *args, **kwargs)


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


# no identifiers of the template language, so no template can name them
_DRAW = "the draw"
_WORK = "the work"
_LOOP = "the loop"
MAX_WORK = 10**6


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
    numbers = range(*bounds)
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
    environment = _Sandbox(undefined=_Undefined, autoescape=False)
    for name in ("center", "indent", "format", "batch", "slice", "wordwrap"):
        environment.filters[name] = _bounded(environment.filters[name])
    environment.filters["most_frequent"] = _most_frequent
    environment.filters[_LOOP] = _counted
    environment.filters["choice"] = environment.filters["random"] = _choice
    # lipsum draws from the process's own random state
    del environment.globals["lipsum"]
    environment.globals["zip"] = zip
    environment.globals["range"] = _range
    return environment


_ENVIRONMENT = _environment()


@functools.lru_cache(maxsize=4096)
def _compiled(source: str) -> jinja2.Template:
    tree = _ENVIRONMENT.parse(source)
    for loop in tree.find_all(nodes.For):
        if loop.recursive:
            raise SecurityError("a recursive loop in a template")
        loop.iter = nodes.Filter(loop.iter, _LOOP, [], [], None, None, lineno=loop.lineno)
    return _ENVIRONMENT.from_string(tree)


def _render(source: str, variables: dict[str, Any], *, seed: str) -> str:
    # a text seed is hashed by sha512: the same on every machine and in every process
    variables = variables | {_DRAW: random.Random(seed), _WORK: _Work()}
    pieces: list[str] = []
    size = 0
    for piece in _compiled(source).generate(variables):
        size += len(piece)
        if size > MAX_CHARACTERS:
            raise OverflowError(f"more than {MAX_CHARACTERS} characters")
        pieces.append(piece)
    return "".join(pieces)


# what a template can raise: its own mistakes are a row's reason to be skipped, never a crash
_CAUGHT = (
    jinja2.TemplateError,
    OverflowError,
    MemoryError,
    RecursionError,
    ArithmeticError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
)


def _skipped(error: BaseException) -> Skipped:
    match error:
        case SecurityError():
            reason: Reason = "forbidden"
        case jinja2.UndefinedError():
            reason = "undefined"
        case OverflowError() | MemoryError() | RecursionError():
            reason = "limit"
        case _:
            reason = "error"
    return Skipped(reason=reason, detail=f"{type(error).__name__}: {error}")


def _protected(value: Any) -> Any:
    """A deep copy (templates may change lists) in which the row's own separators are protected."""
    match value:
        case str():
            return value.replace(SEPARATOR, _PROTECTOR)
        case dict():
            return {key: _protected(item) for key, item in value.items()}
        case list() | tuple():
            return [_protected(item) for item in value]
        case _:
            return copy.deepcopy(value)
