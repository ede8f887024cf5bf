"""Checks of words and numbers, whether a command line, Python or a stranger gives them."""

import dataclasses
import math
import reprlib
import types
import typing
from typing import Any, Literal, Union

import numpy as np

from aaejax.types import UserError

FLOAT_MAX = float(np.finfo(np.float32).max)


def check_word(name: str, word: Any, words: Any) -> None:
    """Raises UserError where a word is none of a `Literal`'s."""
    wrong = _allowed(words, word)
    if wrong:
        raise UserError(f"{name} is {reprlib.repr(word)}: it must be {wrong}")


def check_words(record: Any) -> None:
    """Raises UserError where a field of a dataclass has none of its Literal's values."""
    for name, kind in typing.get_type_hints(type(record)).items():
        if typing.get_origin(kind) is Literal:
            check_word(name, getattr(record, name), kind)


def check_fields(options: Any) -> None:
    """Checks the fields of a dataclass against their annotations.

    A number must be finite as a float32, for that is what it becomes.

    Raises:
      UserError: a field is none of its Literal's values, or of another type.
    """
    hints = typing.get_type_hints(type(options))
    for each in dataclasses.fields(options):
        value = getattr(options, each.name)
        allowed = _allowed(hints[each.name], value)
        if allowed:
            raise UserError(f"{each.name} is {reprlib.repr(value)}: it must be {allowed}")


def check_at_least(options: Any, least: int, *names: str, most: float = math.inf) -> None:
    """Raises UserError where one of these fields is smaller, or larger than `most`."""
    for name in names:
        value = getattr(options, name)
        if not least <= value <= most:
            bound = f"at least {least}" if least else "0 or more"
            bound = bound if math.isinf(most) else f"in {least} ... {most}"
            raise UserError(f"{name} is {reprlib.repr(value)}: it must be {bound}")


def check_positive(options: Any, *names: str) -> None:
    """Raises UserError where one of these fields is 0 or less, as a float32."""
    for name in names:
        value = getattr(options, name)
        if not np.float32(value) > 0:
            raise UserError(f"{name} is {reprlib.repr(value)}: it must be positive")


def _allowed(kind: Any, value: Any) -> str:
    """What a value of this annotation must be; "" where it is that."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return ""
    if origin is Literal:
        return "" if value in args else f"one of {', '.join(map(repr, args))}"
    if origin in (Union, types.UnionType):
        each = [_allowed(arg, value) for arg in args]
        return " or ".join(each) if all(each) else ""
    if origin is tuple:  # tuple[X, ...]
        values = value if isinstance(value, tuple) else [None]
        wrong = next(filter(None, (_allowed(args[0], x) for x in values)), "")
        return f"a tuple, each {wrong}" if wrong else ""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is float:
        return "" if number and abs(value) <= FLOAT_MAX else "a finite number"
    if kind is int:
        return "" if number and isinstance(value, int) else "a whole number"
    if kind is bool:
        return "" if isinstance(value, bool) else "true or false"
    if kind is type(None):
        return "" if value is None else "none"
    return "" if isinstance(value, kind) else f"of type {kind.__name__}"
