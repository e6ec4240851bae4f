"""What counts as missing in a row, and what stands for it while a template is rendered.

Owns the one rule for mixtures and suites: null, NaN and bytes are no values; -1 in the place of a
class is no label; text without a visible letter is empty. A template may ask whether a value is
there (`is defined`, `is none`, `default`), and whether it is -1; it can't print a missing value,
compare it, count it, or decide by it. What of that skips a row is
`study.language.prompts.templates`' affair.
"""

from __future__ import annotations

import numbers
import unicodedata
from collections.abc import Callable
from typing import Any, NoReturn

from jinja2 import StrictUndefined
from jinja2.exceptions import UndefinedError

# letters by their category, but drawn as nothing: fillers, a joiner, a blank pattern
_INVISIBLE = frozenset("\u034f\u115f\u1160\u2800\u3164\uffa0")


class MissingError(UndefinedError):
    """A value of the row that is null, NaN, bytes, or text without a letter."""


class EmptyError(MissingError):
    """Text without a letter where an answer is printed."""


class UnlabelledError(UndefinedError):
    """A number below zero where a class or a place in a list is wanted."""


def is_blank(text: str) -> bool:
    """Whether nothing of the text can be seen: white space, zero-width letters, controls."""
    return not any(
        unicodedata.category(each)[0] not in "ZC" and each not in _INVISIBLE for each in text
    )


def why_missing(value: Any) -> str:
    """Null, NaN (of any library) or bytes, in words; empty where the value is one."""
    if value is None:
        return "null"
    if isinstance(value, bytes | bytearray | memoryview):
        return "bytes, no text"
    try:
        return "NaN" if bool(value != value) else ""
    except TypeError:
        return "no value"  # pandas.NA compares to itself without an answer
    except ValueError:
        return ""  # arrays compare element by element


def is_no_label(value: Any) -> bool:
    """-1 as a number or as text: what data sets write where a label is hidden or not agreed on."""
    if isinstance(value, str):
        return len(value) < 8 and str(value).strip() in ("-1", "-1.0")
    if type(value) is int:
        return value == -1
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and float(value) == -1


class Absent(StrictUndefined):
    """A value that the row lacks: it may be asked for, and whatever reads it fails."""

    __slots__ = ()
    # a list or a dict that is printed asks its items for theirs
    __repr__ = StrictUndefined._fail_with_undefined_error

    # the template's own question; all else that compares raises
    def __eq__(self, other: object) -> bool:
        return True if other is None else self._fail_with_undefined_error()

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = StrictUndefined._fail_with_undefined_error


class UnlabelledValue:
    """A -1 of a row, in a template that does not say what -1 means: it may be printed in a prompt
    and compared with -1, and whatever decides by it fails.
    """

    column: str

    def refuse(self, *_: Any) -> NoReturn:
        raise UnlabelledError(f"{self.column!r} is -1: no label")

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Absent):
            return NotImplemented
        return other is not None and (is_no_label(other) or self.refuse())

    def __ne__(self, other: object) -> bool:
        return not self == other

    __bool__ = refuse


def _refused(*names: str) -> dict[str, Callable[..., NoReturn]]:
    return {f"__{name}__": UnlabelledValue.refuse for name in names}


_ORDER = ("lt", "le", "gt", "ge")
_SUMS = ("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "mod", "rmod", "pow")
_MORE = ("rpow", "floordiv", "rfloordiv", "divmod", "rdivmod", "neg", "pos", "abs", "round")
_NUMBERS = _refused(*_ORDER, *_SUMS, *_MORE)
_Whole = type("_Whole", (UnlabelledValue, int), {**_NUMBERS, "__hash__": int.__hash__})
_Fraction = type("_Fraction", (UnlabelledValue, float), {**_NUMBERS, "__hash__": float.__hash__})
_Text = type("_Text", (UnlabelledValue, str), {**_refused(*_ORDER), "__hash__": str.__hash__})


def unlabelled(value: Any, *, column: str) -> Any:
    """The same -1, as what refuses to be decided by."""
    kind = _Text if isinstance(value, str) else _Fraction if isinstance(value, float) else _Whole
    made = kind(value)
    made.column = column
    return made


def absent(why: str, *, column: str) -> Absent:
    return Absent(hint=f"{column!r} is {why}", exc=MissingError)
