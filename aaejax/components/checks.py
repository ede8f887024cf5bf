"""Checks of words and numbers, whether a command line, Python or a stranger gives them."""

import dataclasses
import math
import reprlib
import types
import typing
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, Union

import jax
import numpy as np
from jax.core import Tracer

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

    A number must be finite as a float32, for that is what it becomes. Scalars of NumPy and
    JAX become Python's.

    Raises:
      UserError: A field is none of its Literal's values, is of another type, or is a number
        that is not finite.
    """
    hints = typing.get_type_hints(type(options))
    for each in dataclasses.fields(options):
        given = getattr(options, each.name)
        value = tuple(map(_plain, given)) if type(given) is tuple else _plain(given)
        if value is not given:
            object.__setattr__(options, each.name, value)
        allowed = _allowed(hints[each.name], value)
        if allowed:
            raise UserError(f"{each.name} is {reprlib.repr(value)}: it must be {allowed}")


def check_at_least(options: Any, least: int, *names: str, most: float = math.inf) -> None:
    """Raises UserError where one of these fields is smaller, or larger than `most`."""
    for name in names:
        check_number(name, getattr(options, name), least, most)


def check_positive(options: Any, *names: str) -> None:
    """Raises UserError where one of these fields is 0 or less, as a float32."""
    for name in names:
        check_positive_number(name, getattr(options, name))


def check_number(
    name: str,
    value: Any,
    least: float = -math.inf,
    most: float = math.inf,
    *,
    whole: bool = False,
) -> None:
    """Raises UserError for what is no finite (or whole) number, or out of a range."""
    value = _plain(value)
    bound = _allowed(int if whole else float, value)
    if not bound and not least <= value <= most:
        bound = f"at least {least}" if least else "0 or more"
        bound = bound if math.isinf(most) else f"in {least} ... {most}"
    if bound:
        raise UserError(f"{name} is {reprlib.repr(value)}: it must be {bound}")


def check_positive_number(name: str, value: Any) -> None:
    """Raises UserError for what is no finite number above 0, as a float32."""
    check_number(name, value)
    if not np.float32(value) > 0:
        raise UserError(f"{name} is {reprlib.repr(value)}: it must be positive")


def check_optimizers(
    optimizers: Any, needed: Collection[str], unused: Collection[str] = ()
) -> None:
    """Raises UserError where optimizers by name are not those that a model has phases for.

    Args:
      optimizers: The optimizers that are given, by name.
      needed: The names that must be there.
      unused: Names that may be there as well.
    """
    if not isinstance(optimizers, Mapping):
        raise UserError(
            f"optimizers are of type {type(optimizers).__name__}: give a dict with "
            f"{', '.join(needed)}"
        )
    missing = [name for name in needed if name not in optimizers]
    strange = [str(name) for name in optimizers if name not in {*needed, *unused}]
    if missing or strange:
        lack = f"no {', '.join(missing)}" if missing else ""
        more = f"{', '.join(strange)}, which no phase has" if strange else ""
        raise UserError(
            f"optimizers have {' but '.join(filter(None, (lack, more)))}: give "
            f"{', '.join(needed)}"
        )


def check_seed(seed: int) -> None:
    """Raises UserError where a seed is not in 0 ... 2^32 - 1."""
    if not 0 <= seed < 2**32:
        raise UserError(f"seed {seed}: it must be in 0 ... 2^32 - 1")


@contextmanager
def traced(call: str, wanted: str) -> Iterator[None]:
    """A context in which a user's function is asked for its shapes; nothing is drawn.

    Args:
      call: What is called on what, "x can't be called on y", for the message.
      wanted: What the function must give.

    Raises:
      UserError: The user's own code raised something, which the message tells in one line.
    """
    try:
        with jax.debug_key_reuse(False):
            yield
    except UserError:
        raise
    except Exception as error:  # whatever the user's own code raises
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{call} ({type(error).__name__}: {reason}): it must take that and give "
            f"{wanted}"
        ) from error


def _plain(value: Any) -> Any:
    """A scalar of NumPy or JAX as one of Python; anything else as it is."""
    if isinstance(value, Tracer):
        return value
    scalar = isinstance(value, np.ndarray | jax.Array) and value.shape == ()
    return value.item() if scalar or isinstance(value, np.generic) else value


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
