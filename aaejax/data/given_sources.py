"""Objects that a user gives as a source: refused where they can be none; what they tell
of their rows beside the images.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from numbers import Integral
from typing import Any

import numpy as np

from aaejax.data.lazy import BLOCK, some_labels, workers
from aaejax.types import Source, UserError

# What a row may have beside its image, the attribute of all rows, and the argument of
# `from_arrays`.
_TOLD = {
    "label": ("labels", "labels"),
    "condition": ("conditions", "condition"),
    "weight": ("weights", "weight"),
}


def told_of(source: Source) -> dict[str, np.ndarray]:
    """Reads what all rows of a source have beside images, as arguments of `from_arrays`.

    Where it has no `labels`, `conditions` or `weights`, but its rows have such, every row
    is read for them.
    """
    found: dict[str, np.ndarray] = {}
    first = source[np.array([0])]
    rows_have: list[str] = []
    for name, (attribute, argument) in _TOLD.items():
        whole = getattr(source, attribute, None)
        if whole is not None:
            found[argument] = np.asarray(whole)
        elif name in first:
            rows_have.append(name)
    if not rows_have:
        return found
    # All of a row is read for its label.
    size = sum(np.asarray(value).nbytes for value in first.values())
    step = max(1, min(1000, BLOCK // max(1, size)))
    blocks = [
        np.arange(at, min(at + step, len(source))) for at in range(0, len(source), step)
    ]

    def told(rows: np.ndarray) -> list[np.ndarray]:
        answer = source[rows]
        for name in rows_have:
            if name not in answer:
                raise UserError(
                    f"the source, row {rows[0]} and on: {some_labels(False, name)}"
                )
        told = [np.asarray(answer[name]) for name in rows_have]
        for name, values in zip(rows_have, told, strict=True):
            if values.shape[:1] != (len(rows),):
                raise UserError(
                    f"the source, row {rows[0]} and on: {name!r} has shape "
                    f"{list(values.shape)} for {len(rows)} rows: give one each"
                )
        return told

    with ThreadPoolExecutor(workers(source)) as pool:
        parts = list(pool.map(told, blocks))
    for name, values in zip(rows_have, zip(*parts, strict=True), strict=True):
        found[_TOLD[name][1]] = np.concatenate(values)
    return found


class ByExample:
    """A source that answers one row number at a time, as those of Grain and TFDS do."""

    def __init__(self, source: Any):
        self._source = source
        for attribute, _ in _TOLD.values():
            setattr(self, attribute, getattr(source, attribute, None))

        for attribute in ("identity", "workers", "name_of"):
            if hasattr(source, attribute):
                setattr(self, attribute, getattr(source, attribute))
        self._in_rows = [n for n in _TOLD if getattr(self, _TOLD[n][0]) is None]

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The rows with these numbers: the image and what is beside it in the row."""
        numbers = [int(row) for row in rows]
        several = getattr(self._source, "__getitems__", None)
        examples: Sequence[Any]
        if several is not None:
            examples = several(numbers)
        else:
            examples = [self._source[number] for number in numbers]
        if len(examples) != len(numbers):
            raise UserError(
                f"asked for {len(numbers)} examples, the source gives {len(examples)}"
            )
        for number, each in zip(numbers, examples, strict=True):
            if not isinstance(each, Mapping) or "image" not in each:
                raise UserError(
                    f"row {number} is {type(each).__name__}, not a dict with "
                    '"image" in it: see aaejax.data.Source'
                )
            for name in self._in_rows:
                if (name in each) != (name in examples[0]):
                    raise UserError(f"row {number}: {some_labels(name in each, name)}")
        names = ["image", *(name for name in self._in_rows if name in examples[0])]
        try:
            return {name: np.stack([each[name] for each in examples]) for name in names}
        except ValueError as error:
            sizes = {np.shape(each["image"]) for each in examples}
            raise UserError(
                f"examples differ in shape ({sorted(map(list, sizes))}): let the source "
                "resize them"
            ) from error


def as_source(value: Any) -> Source:
    """Makes a source of anything that can be one: see `aaejax.data.Source`.

    Raises:
      UserError: The value has no length or no rows, is a collection of Python's own, or has
        an `identity` that is no text or `workers` below 1.
    """
    if isinstance(value, str | bytes | list | tuple | Mapping | np.ndarray | type):
        raise UserError(
            f"a source can't be a {type(value).__name__}: it is an object that answers an "
            "array of row numbers with a dict of arrays, see aaejax.data.Source; arrays "
            "go to from_arrays, names of files to load"
        )
    if hasattr(value, "__getitems__") or type(value).__module__.startswith("grain."):
        value = ByExample(value)
    if not hasattr(value, "__len__") or not hasattr(value, "__getitem__"):
        raise UserError(
            f"{type(value).__name__} is no source: it must have a length and answer an "
            "array of row numbers with a dict of arrays, see aaejax.data.Source"
        )
    identity, threads = getattr(value, "identity", None), getattr(value, "workers", 1)
    if not isinstance(identity, str | None):
        raise UserError(
            f"the source's identity is of type {type(identity).__name__}: it must be a "
            "text, as an attribute or a property"
        )
    if isinstance(threads, bool) or not isinstance(threads, Integral) or threads < 1:
        raise UserError(f"the source's workers is {threads!r}: it must be at least 1")
    return value
