"""Labels from outside, checked, and the classes that they name."""

import re
import reprlib
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from aaejax.data.checks import as_array
from aaejax.data.notes import listing
from aaejax.types import UserError


def check_labels(value: Any, n: int, what: str) -> np.ndarray | None:
    """Checks labels that the user gives, and makes int64 >= -1 or strings, [N], of them.

    Raises:
      UserError: The labels have another shape, length or dtype, or some are below -1.
    """
    if value is None:
        return None
    y = as_array(value, what)
    if y.ndim == 2 and y.shape[1] == 1:  # as in Keras's CIFAR and in MedMNIST
        y = y[:, 0]
    if y.ndim != 1:
        hint = "; if they are one-hot pass labels.argmax(1)" * (y.ndim == 2)
        raise UserError(f"{what} have shape {y.shape}; integer labels [N] needed{hint}")
    if len(y) != n:
        raise UserError(f"{what} are {len(y)} but images are {n}; pass one label an image")
    if y.dtype.kind in "OT" and all(isinstance(label, str) for label in y):
        y = y.astype(str)
    if y.dtype.kind == "S":
        try:
            y = np.char.decode(y, "utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{what} are bytes but no UTF-8; pass strings") from error
    if y.dtype.kind == "U":
        return y
    if y.dtype.kind not in "iu":
        raise UserError(
            f"{what} are {y.dtype}; allowed are integers and strings: pass "
            "labels.astype(np.int32) if each is a whole number"
        )
    if y.min() < -1 or y.max() > np.iinfo(np.int64).max:
        raise UserError(
            f"{what} lie in {y.min()}..{y.max()}; allowed are 0, 1, ... below 2^63, or -1 "
            "for unknown"
        )
    return y.astype(np.int64)


def name_classes(
    labels: Sequence[np.ndarray | None], what: str, class_names: Sequence[str] | None
) -> tuple[list[np.ndarray | None], tuple[str, ...]]:
    """Turns labels into the numbers of classes, and finds the names of all classes.

    Args:
      labels: The labels of each part of the data, as `check_labels` gives them.
      what: The name of the data in messages.
      class_names: The names of class 0, 1, ...; by default the values that there are, those
        that are numbers first and by their size.

    Returns:
      The class numbers of each part, [N], int32, with -1 for "unknown", or None for a part
      without labels (for all parts where no label is known); and the K names.

    Raises:
      UserError: Labels are integers in one part and strings in another, a label has no
        name, a name is given twice, or there are so many values that they are no classes.
    """
    given = [y for y in labels if y is not None]
    if not given or all(y.dtype.kind != "U" and y.max() < 0 for y in given):
        return [None for _ in labels], ()  # no label is known
    if len({y.dtype.kind for y in given}) > 1:
        raise UserError(f"{what}: train or test labels are strings, the others integers")
    strings = given[0].dtype.kind == "U"
    values = np.unique(np.concatenate([np.unique(y) for y in given]))
    if not strings:
        values = values[values >= 0]
    named = _given_names(class_names, what)
    if named:
        names = named
    else:
        names = sorted_names(map(str, values.tolist()))
        known = sum(len(y) if strings else int((y >= 0).sum()) for y in given)
        check_count(names, known, what)
    if strings or not named:
        index = {name: number for number, name in enumerate(names)}
        unknown = [str(value) for value in values if str(value) not in index]
        if unknown:
            raise UserError(
                f"{what}: label {unknown[0]!r} is not in class_names {listing(names)}"
            )
        numbers = np.array([index[str(value)] for value in values], np.int32)
    else:
        if values[-1] >= len(names):
            raise UserError(
                f"{what}: label {values[-1]} has no name among the {len(names)} "
                "class_names; name all classes"
            )
        numbers = values.astype(np.int32)

    def indices(y: np.ndarray | None) -> np.ndarray | None:
        if y is None:
            return None
        at = numbers[np.searchsorted(values, y)]  # -1 comes first, whatever that is
        return at if strings else np.where(y < 0, np.int32(-1), at)

    return [indices(y) for y in labels], names


def check_count(names: Sequence[str], known: int, what: str) -> None:
    """Raises UserError where so many examples have more classes than there can be."""
    if len(names) > max(100, known // 2):
        raise UserError(
            f"{what}: the labels of {known:,} examples have {len(names):,} different "
            "values, as numbers of examples or measurements have; leave them out, or "
            "give classes"
        )


def sorted_names(names: Iterable[str]) -> tuple[str, ...]:
    """Sorts names: those that are numbers first and by their size."""
    return tuple(sorted(names, key=_order))


def is_number(name: str) -> bool:
    """Whether a class's name is a number: no other can stand for it."""
    return bool(re.fullmatch(r"-?\d+(\.\d+)?", name))


def _given_names(class_names: Sequence[str] | None, what: str) -> tuple[str, ...]:
    if class_names is None:
        return ()
    # An array, or what pandas calls an Index, is ordered too; a set or a dict is not.
    listed = isinstance(class_names, Sequence) or hasattr(class_names, "__array__")
    names = tuple(str(name) for name in class_names) if listed else ()
    if not listed or isinstance(class_names, str | bytes) or len(set(names)) < len(names):
        raise UserError(
            f"{what}: class_names are {reprlib.repr(class_names)}; pass one name a class, "
            "none twice, in a list"
        )
    return names


def _order(name: str) -> tuple[bool, Decimal, str]:
    number = is_number(name)
    return not number, Decimal(name if number else 0), name
