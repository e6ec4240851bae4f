"""A TOML file's tables as dataclass values, strictly.

Owns types, unknown keys and the line that an error names (tomllib keeps none, so the text is
searched). Does not know what a table means. No torch.
"""

from __future__ import annotations

import contextlib
import difflib
import re
import tomllib
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

_Value = TypeVar("_Value")


class TableError(ValueError):
    """A file that is refused. The message starts with file and line."""


@dataclass(frozen=True, kw_only=True)
class TomlFile:
    """A file and its content. Tables are named as in TOML: `kind.Evaluation`, the outermost ""."""

    path: Path
    text: str
    root: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> TomlFile:
        try:
            text = path.read_text(encoding="utf-8")
            return cls(path=path, text=text, root=tomllib.loads(text))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise TableError(f"{path}: not TOML: {error}") from None

    def fill(self, base: _Value, table: dict[str, Any], *, where: str) -> _Value:
        """`base`, a dataclass value, with the entries of `table`, each of its field's type."""
        declared = typing.get_type_hints(type(base))
        self.check_names(table, declared, where=where)
        values = {
            name: self._value(value, declared[name], where, name) for name, value in table.items()
        }
        try:
            return replace(base, **values)  # type: ignore[type-var]
        except ValueError as error:
            named = next((name for name in values if name in str(error)), "")
            raise self.fail(where, named, str(error)) from None

    def table(self, value: Any, *, where: str) -> dict[str, Any]:
        """The value as a table."""
        if not isinstance(value, dict):
            raise self.fail("", where, f"{where} is {value!r}; legal: a table, [{where}]")
        return dict(value)

    def check_names(self, found: Iterable[str], legal: Iterable[str], *, where: str) -> None:
        names = list(legal)
        for name in found:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"legal: {', '.join(names)}"
                place = f" in [{where}]" if where else ""
                raise self.fail(where, name, f"unknown key {name!r}{place}; {hint}")

    def fail(self, where: str, name: str, message: str) -> TableError:
        line = self._line(where, name)
        return TableError(f"{self.path}{f':{line}' if line else ''}: {message}")

    def _value(self, value: Any, declared: Any, where: str, name: str) -> Any:
        origin = get_origin(declared)
        members = get_args(declared) if origin in (Union, types.UnionType) else (declared,)
        for member in members:
            if get_origin(member) is Literal:
                if any(value == each and type(value) is type(each) for each in get_args(member)):
                    return value
            elif get_origin(member) is tuple:
                if isinstance(value, list):
                    inner = get_args(member)[0]
                    return tuple(self._value(each, inner, where, name) for each in value)
            elif member is Path:
                if isinstance(value, str):
                    return self._path(value, where, name)
            elif member is float and type(value) in (int, float):
                return float(value)
            elif type(value) is member:
                if isinstance(value, str) and not value.isprintable():
                    raise self.fail(where, name, f"{name} has {value!r}; legal: one printable line")
                return value
        legal = ", ".join(_legal(member) for member in members if member is not type(None))
        kind = type(value).__name__
        raise self.fail(where, name, f"{name} has {value!r} ({kind}); legal: {legal}")

    def _path(self, value: str, where: str, name: str) -> Path:
        with contextlib.suppress(RuntimeError):  # a `~` of nobody's, which is not absolute
            value = str(Path(value).expanduser())
        if not Path(value).is_absolute():
            raise self.fail(where, name, f"{name} has {value!r}; legal: an absolute path")
        return Path(value)

    def _line(self, where: str, name: str) -> int | None:
        """The line of a key in its table, or else of the table's header."""
        current, header = "", None
        inner = f"{where}.{name}" if where else name
        for number, line in enumerate(self.text.splitlines(), start=1):
            if found := re.match(r"\s*\[\s*([\w.\-]+)\s*\]", line):
                current = found[1]
                if header is None and current in (where, inner):
                    header = number
            elif current == where and re.match(rf'\s*"?{re.escape(name)}"?\s*[=.]', line):
                return number
        return header


def names(owner: type) -> list[str]:
    """The fields of a dataclass."""
    return [each.name for each in fields(owner)]


def _legal(member: Any) -> str:
    if get_origin(member) is Literal:
        return ", ".join(map(repr, get_args(member)))
    if get_origin(member) is tuple:
        return f"a list of ({_legal(get_args(member)[0])})"
    words = {int: "an integer", float: "a number", bool: "true or false", str: "text"}
    return words.get(member, "an absolute path")
