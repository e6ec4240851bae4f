"""Run values <-> YAML, strictly and by type.

Owns reading a run file and writing one. What may stand where follows from the dataclasses of
`study.runs` and of the domains: nothing is guessed, nothing is ignored, and every refusal names
file, line, value and what would have been legal. Does not decide what a value means.

    encode(run) -> YAML text;  decode(text, name=FILE) -> run;  validate(run): the same rules for a
    value that a sweep built in Python;  decode_as(text, TYPE, name=FILE): the same rules for a file
    of another kind, whose mappings need no tag since their place says what they are. Where such a
    file says a value in other words than its fields, `Words` make it of them.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import math
import re
import typing
from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeGuard, TypeVar, get_args, get_origin

import yaml

from study.runs import domain
from study.runs.identity import canonical, semantics_of
from study.runs.node import Run

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

LARGEST_FILE = 4_000_000  # characters; a run is a few thousand
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]*)\Z")
_FLOAT = re.compile(r"[-+]?([0-9][0-9_]*\.?[0-9_]*|\.[0-9]+)([eE][-+]?[0-9]+)?\Z")
_T = TypeVar("_T")
_TEXT_TAG = "tag:yaml.org,2002:str"


class DecodeError(ValueError):
    """A run file that is refused. The message starts with file:line."""


def encode(run: Run) -> str:
    """The canonical form as YAML: readable, and `decode` gives back a run of the same id."""
    return yaml.dump(
        canonical(run),
        Dumper=_AliasFree,
        sort_keys=False,
        default_flow_style=False,
        allow_unicode=True,
        width=100,
    )


class _AliasFree(Dumper):  # type: ignore[misc, valid-type]
    def ignore_aliases(self, data: Any) -> bool:
        return True


def decode_file(path: Path) -> Run:
    """The run that a file declares."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DecodeError(f"{path}:1: not UTF-8 text ({error})") from None
    return decode(text, name=str(path))


def decode(text: str, *, name: str = "run") -> Run:
    """The run in `text`; `name` stands before the line number in errors."""
    if not domain.registered():
        raise RuntimeError("no domain is known, so no kind of run is: `import study.domains` first")
    reader = _Reader(name=name)
    node = reader.compose(text)
    return reader.value(node, Run, "a run")


@dataclass(frozen=True, kw_only=True)
class Words:
    """How a file says a value in other words than its fields.

    fields_of: the class whose fields are keys, but for those that are `computed`. made: the value,
    of the entries by keyword and of `around`, what was read of the mappings that hold it, nearest
    first. Its own parameters are keys too, or in place of the fields of these names. A ValueError
    of it names the line.
    """

    fields_of: type
    made: Callable[..., Any]
    computed: tuple[str, ...] = ()

    @functools.cached_property
    def types(self) -> dict[str, Any]:
        kept = {k: v for k, v in domain.types_of(self.fields_of).items() if k not in self.computed}
        return kept | {name: each.annotation for name, each in self._own.items()}

    @functools.cached_property
    def required(self) -> frozenset[str]:
        kept = _required(self.fields_of) - {*self.computed, *self._own}
        return kept | {name for name, each in self._own.items() if each.default is each.empty}

    @functools.cached_property
    def _own(self) -> dict[str, inspect.Parameter]:
        every = inspect.signature(self.made, eval_str=True).parameters.items()
        return {k: v for k, v in every if v.kind is v.KEYWORD_ONLY and k != "around"}


def decode_as(
    text: str, declared: type[_T], *, name: str, words: Mapping[type, Words] | None = None
) -> _T:
    """The value of a dataclass that `text` holds; a key `kind` is a field like any other.

    Of each mapping its plain entries are read first, then the others in the file's order.
    """
    reader = _Reader(name=name, legal=declared.__name__, tags="none", words=words or {})
    return reader.value(reader.compose(text), declared, declared.__name__)


@functools.cache
def _required(owner: type) -> frozenset[str]:
    return frozenset(
        each.name
        for each in fields(owner)
        if each.default is MISSING and each.default_factory is MISSING
    )


def _is_kind(member: Any) -> TypeGuard[type]:
    return isinstance(member, type) and is_dataclass(member)


def _legal(declared: Any) -> str:
    """How a type reads in an error."""
    names = []
    for member in domain.members(declared):
        origin = get_origin(member)
        if member is type(None):
            names.append("null")
        elif origin is Literal:
            names.extend(str(value) for value in get_args(member))
        elif origin is tuple:
            inner = get_args(member)
            names.append(
                f"a list of ({_legal(inner[0])})"
                if inner[-1] is Ellipsis
                else f"a list of {len(inner)}: {', '.join(_legal(each) for each in inner)}"
            )
        elif _is_kind(member):
            names.append(f"kind {member.__name__}")
        else:
            words = {int: "an integer", float: "a number", bool: "true or false", str: "text"}
            names.append(words[member])
    return ", ".join(names)


def _nearest(word: str, legal: typing.Iterable[str]) -> str:
    """`did you mean …` where something is near, and all that is legal where nothing is."""
    names = sorted(legal)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"legal: {', '.join(names)}"


@dataclass(kw_only=True)
class _Reader:
    """tags: whether a mapping names its class under the key `kind`. written: whether a run in the
    file states its semantics, as every file does that this project wrote. around: what was read so
    far of the mappings that hold the one being read.
    """

    name: str
    legal: str = "a run, as `study show` prints it"
    tags: Literal["kind", "none"] = "kind"
    words: Mapping[type, Words] = field(default_factory=dict)
    around: ChainMap[str, Any] = field(default_factory=lambda: ChainMap())
    written: bool = False

    def fail(self, node: yaml.Node | yaml.Mark, message: str) -> DecodeError:
        mark = node.start_mark if isinstance(node, yaml.Node) else node
        return DecodeError(f"{self.name}:{mark.line + 1}: {message}")

    def compose(self, text: str) -> yaml.Node:
        if len(text) > LARGEST_FILE:
            raise DecodeError(f"{self.name}:1: {len(text)} characters; legal: {LARGEST_FILE}")
        try:
            if "*" in text or "&" in text:  # an alias may name its own parent or multiply a file
                for event in yaml.parse(text, Loader=Loader):
                    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                        raise self.fail(
                            event.start_mark,
                            f"anchor or alias {event.anchor!r}; legal: write the value out",
                        )
            node = yaml.compose(text, Loader=Loader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 1
            lines = text.splitlines()
            hint = " (a tab; legal: spaces)" if "\t" in "".join(lines[line - 1 : line]) else ""
            raise DecodeError(f"{self.name}:{line}: not YAML: {error.problem}{hint}") from None
        except yaml.YAMLError as error:
            raise DecodeError(f"{self.name}:1: not YAML: {error}") from None
        except RecursionError:
            raise DecodeError(f"{self.name}:1: nested too deeply") from None
        if node is None:
            raise DecodeError(f"{self.name}:1: empty; legal: {self.legal}")
        return node

    def value(self, node: yaml.Node, declared: Any, where: str) -> Any:
        """The value of `node` under the declared type, or an error that names both."""
        self.check_tag(node, where)
        members = domain.members(declared)
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, members, declared, where)
        if isinstance(node, yaml.MappingNode):
            owners = {each.__name__: each for each in members if _is_kind(each)}
            if not owners:
                raise self.fail(node, f"{where} is a mapping; legal: {_legal(declared)}")
            return self.mapping(node, owners, where)
        assert isinstance(node, yaml.SequenceNode)
        for member in members:
            if get_origin(member) is tuple:
                return self.sequence(node, get_args(member), where)
        raise self.fail(node, f"{where} is a list; legal: {_legal(declared)}")

    def check_tag(self, node: yaml.Node, where: str) -> None:
        # A plain scalar resolves to a tag of its own (a date, say) and is read as what was
        # declared; a tag that somebody wrote is refused, `!!python/object` above all.
        if isinstance(node, yaml.ScalarNode):
            good = node.tag.startswith("tag:yaml.org,2002:") and ":python" not in node.tag
        else:
            kind = "map" if isinstance(node, yaml.MappingNode) else "seq"
            good = node.tag == f"tag:yaml.org,2002:{kind}"
        if not good:
            raise self.fail(node, f"{where} has the tag {node.tag!r}; legal: no tags")

    def scalar(
        self, node: yaml.ScalarNode, members: tuple[Any, ...], declared: Any, where: str
    ) -> Any:
        text, quoted = node.value, node.style in tuple("\"'|>")
        for member in members:
            if get_origin(member) is Literal:
                # A Literal's values are words here; `off`, `no` and the like need no quotes.
                if text in get_args(member):
                    return text
            elif quoted:
                if member is str:
                    return text
            elif member is type(None):
                if text in ("null", "~"):
                    return None
            elif member is bool:
                if text in ("true", "false"):
                    return text == "true"
            elif member is int:
                if _INTEGER.match(text):
                    return int(text)
            elif member is float:
                if _FLOAT.match(text):
                    return self.finite(float(text), node, where)
            elif member is str and node.tag == _TEXT_TAG:
                return text
        shown = f"{text!r} (in quotes, so text)" if quoted else repr(text)
        hint = "; put it in quotes" if str in members and not quoted else ""
        choices = [c for m in members if get_origin(m) is Literal for c in get_args(m)]
        near = difflib.get_close_matches(text, choices, n=1, cutoff=0.5)
        hint += f"; did you mean {near[0]!r}?" if near else ""
        raise self.fail(node, f"{where} is {shown}; legal: {_legal(declared)}{hint}")

    def finite(self, number: float, node: yaml.Node, where: str) -> float:
        if math.isfinite(number):
            return number
        raise self.fail(node, f"{where} is too large for a float")

    def sequence(self, node: yaml.SequenceNode, inner: tuple[Any, ...], where: str) -> tuple:
        kinds = [inner[0]] * len(node.value) if inner[-1] is Ellipsis else list(inner)
        if len(kinds) != len(node.value):
            raise self.fail(
                node, f"{where} has {len(node.value)} items; legal: {len(kinds)} ({inner})"
            )
        return tuple(
            self.value(child, kind, f"{where}[{index}]")
            for index, (child, kind) in enumerate(zip(node.value, kinds, strict=True))
        )

    def mapping(self, node: yaml.MappingNode, owners: dict[str, type], where: str) -> Any:
        entries: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, child in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag != _TEXT_TAG:
                raise self.fail(key, f"{where} has a key that is not a word")
            if key.value in entries:
                first = entries[key.value][0].start_mark.line + 1
                raise self.fail(
                    key, f"duplicate key {key.value!r} in {where}; it stands in line {first} too"
                )
            entries[key.value] = (key, child)
        owner = self.owner(node, entries, owners, where)
        words = self.words.get(owner)
        declared = words.types if words else domain.types_of(owner)
        title = owner.__name__
        arguments: dict[str, Any] = {}
        self.around = self.around.new_child(arguments)
        stated: int | None = None
        self.written |= issubclass(owner, Run) and "semantics" in entries
        for name, (key, child) in _plain_first(entries):
            if name == "kind" and self.tags == "kind":
                continue
            if name == "semantics" and self.tags == "kind" and name not in declared:
                stated = number = self.value(child, int, f"{title}.semantics")
                if issubclass(owner, Run):
                    # before its fields, which other code may have named otherwise
                    self.check_semantics(child, title, stated=number, computed=semantics_of(owner))
                continue
            if name not in declared:
                raise self.fail(key, f"unknown key {name!r} in {title}; {_nearest(name, declared)}")
            arguments[name] = self.value(child, declared[name], f"{title}.{name}")
        self.around = self.around.parents
        missing = sorted((words.required if words else _required(owner)) - arguments.keys())
        if missing:
            raise self.fail(node, f"{title} lacks the key {missing[0]!r}; legal: all of {missing}")
        try:
            made = words.made(**arguments, around=self.around) if words else owner(**arguments)
        except ValueError as error:
            raise self.fail(node, str(error)) from None
        if not issubclass(owner, Run) and (stated is not None or self.written):
            # a part's is left out of a file while it is 1, and may depend on the value
            at = entries["semantics"][1] if "semantics" in entries else node
            self.check_semantics(at, title, stated=stated or 1, computed=semantics_of(made))
        return made

    def owner(
        self,
        node: yaml.MappingNode,
        entries: dict[str, tuple[yaml.Node, yaml.Node]],
        owners: dict[str, type],
        where: str,
    ) -> type:
        if self.tags == "none":
            (only,) = owners.values()  # a place that could hold two classes would need a tag
            return only
        if "kind" not in entries:
            raise self.fail(node, f"{where} lacks the key 'kind'; legal: {', '.join(owners)}")
        kind = entries["kind"][1]
        word = kind.value if isinstance(kind, yaml.ScalarNode) else "a collection"
        if word not in owners:
            raise self.fail(kind, f"{where} has kind {word!r}; {_nearest(word, owners)}")
        return owners[word]

    def check_semantics(self, node: yaml.Node, title: str, *, stated: int, computed: int) -> None:
        if stated != computed:
            raise self.fail(
                node,
                f"{title}.semantics is {stated}; this code computes {computed}. The run was made "
                "by other code: check that version out, or declare the run anew",
            )


def _plain_first(entries: dict[str, tuple[yaml.Node, yaml.Node]]):
    """So that a list is read when the words beside it are known."""
    return sorted(entries.items(), key=lambda each: not isinstance(each[1][1], yaml.ScalarNode))


def validate(run: Run, *, seen: dict[int, Any] | None = None) -> None:
    """Refuse a value whose fields are not of their declared types: dataclasses do not check, and
    such a run could not be read back from its own file.

    seen: objects found good before, by identity, for the many runs of one sweep.
    """
    _validate(run, type(run), type(run).__name__, {} if seen is None else seen)


_PLAIN = frozenset((str, int, bool))


def _validate(value: Any, declared: Any, where: str, seen: dict[int, Any]) -> None:
    if id(value) in seen and seen[id(value)] is value:
        return
    for member in domain.members(declared):
        origin = get_origin(member)
        if origin is Literal:
            if isinstance(value, str) and value in get_args(member):
                return
        elif origin is tuple:
            inner = get_args(member)
            if isinstance(value, tuple) and (inner[-1] is Ellipsis or len(value) == len(inner)):
                kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
                for index, (item, kind) in enumerate(zip(value, kinds, strict=True)):
                    _validate(item, kind, f"{where}[{index}]", seen)
                return
        elif type(value) is member or (member is float and type(value) is int):
            if is_dataclass(value):
                for name, kind in domain.types_of(member).items():
                    item = getattr(value, name)
                    if type(item) is not kind or kind not in _PLAIN:  # most of them are plain
                        _validate(item, kind, f"{member.__name__}.{name}", seen)
                seen[id(value)] = value
            elif isinstance(value, float) and not math.isfinite(value):
                break
            return
    raise ValueError(f"{where} is {value!r} ({type(value).__name__}); legal: {_legal(declared)}")
