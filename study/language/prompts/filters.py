"""Filters that stand between a row's values and what a template does with them.

Owns what each does with a value that is missing, -1, blank or of another kind than it is compared
with; where they are put in says `study.language.prompts.guard`, what is missing
`study.language.prompts.missing`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jinja2
from jinja2.exceptions import UndefinedError

from study.language.prompts.missing import (
    Absent,
    EmptyError,
    MissingError,
    UnlabelledError,
    UnlabelledValue,
    is_blank,
    is_no_label,
    unlabelled,
    why_missing,
)

LEAVES = ("capitalize", "lower", "string", "strip", "title", "trim", "upper")
"""Methods and filters that leave the text -1 what it is."""


def bound(value: Any) -> Any:
    """A place in a list that a row gives: never below zero, which Python counts from the end."""
    match value:
        case Absent():
            bool(value)
        case UnlabelledValue():
            value.refuse()
        case bool():
            raise UndefinedError(f"{value} is no place in a list")
        case float() if value.is_integer():
            # a table that held a missing number once gives all of them as fractions
            return bound(int(value))
        case int() if value < 0:
            raise UnlabelledError(f"{value} is no place in a list")
    return value


@jinja2.pass_environment
def item(environment: jinja2.Environment, holder: Any, place: Any) -> Any:
    if not isinstance(holder, Mapping | Absent):
        place = bound(place)
        if isinstance(holder, list | tuple | str | range) and not isinstance(place, int):
            # a text would name a method of the list
            raise UndefinedError(f"{place!r:.60} is no place in a list")
    return environment.getitem(holder, place)


def decides(value: Any) -> Any:
    if isinstance(value, str) and is_blank(value):
        raise MissingError("a text without a letter decides")
    return value


def compared(value: Any, others: tuple[Any, ...], answer: bool) -> Any:
    """A value beside the template's own: unequal in kind would be unequal for every row."""
    numbers = any(isinstance(each, int | float) for each in others)
    texts = any(isinstance(each, str) and not is_blank(each) for each in others)
    asks = any(each is None or (isinstance(each, str) and is_blank(each)) for each in others)
    match value:
        case UnlabelledValue():
            pass
        case str() if numbers and not texts and not is_blank(value):
            raise UndefinedError(f"{value!r:.60} is text, compared with numbers: {others}")
        case str() if answer and not asks:
            return decides(value)
        case int() | float() if texts and not numbers:
            raise UndefinedError(f"{value} is a number, compared with text: {others}")
    return value


def answer(value: Any) -> Any:
    match value:
        case UnlabelledValue() if not isinstance(value, str) or value.column == "label":
            value.refuse()
        case str() if is_blank(value):
            raise EmptyError("a text without a letter in the answer")
    return value


def number(convert: Callable[..., Any]) -> Callable[..., Any]:
    """`int` and `float` without their silent 0 for what is no number."""

    @functools.wraps(convert)
    def converted(value: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(value, UnlabelledValue) and not isinstance(value, str):
            return value
        if args or kwargs:
            return convert(value, *args, **kwargs)
        found = convert(value, None)
        if found is None or why_missing(found):
            raise (MissingError if is_blank(str(value)) else UndefinedError)(
                f"{value!r:.60} is no number"
            )
        column = value.column if isinstance(value, UnlabelledValue) else str(value)
        return unlabelled(found, column=column) if is_no_label(found) else found

    return converted


def labelled(filter_function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter of a value that is there, and that makes no text or other number of a -1 that is no
    label.
    """

    @functools.wraps(filter_function)
    def there(*args: Any, **kwargs: Any) -> Any:
        for value in args[:2]:  # the first may be jinja's own
            if isinstance(value, Absent):
                bool(value)
            if isinstance(value, UnlabelledValue):
                if not isinstance(value, str):
                    value.refuse()
                if filter_function.__name__.removeprefix("do_") in (*LEAVES, "soft_str"):
                    return value
        return filter_function(*args, **kwargs)

    return there


def read(test: Callable[..., Any]) -> Callable[..., Any]:
    """A test of a value that is there."""

    @functools.wraps(test)
    def tested(value: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(value, Absent | UnlabelledValue):
            bool(value)
        return test(value, *args, **kwargs)

    return tested


def printed(value: Any) -> Any:
    """What an expression prints; a template's own None and a method that was never called are no
    text either.
    """
    if isinstance(value, jinja2.Undefined | str):
        return value
    if why := why_missing(value):
        raise MissingError(f"{why} is printed")
    if callable(value):
        raise UndefinedError(f"{value!r:.60} is printed: a field that the row lacks")
    return value
