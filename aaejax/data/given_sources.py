"""Objects that a user gives as a source: refused where they can be none; their labels."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from aaejax.data.lazy import BLOCK, some_labels, workers
from aaejax.types import Source, UserError


def labels_of(source: Source) -> np.ndarray | None:
    """The labels of all rows of a source, [N], or None where it has none.

    Where it has no `labels` every row is read for it.
    """
    whole = getattr(source, "labels", None)
    if whole is not None:
        return np.asarray(whole)
    first = source[np.array([0])]
    if "label" not in first:
        return None
    # All of a row is read for its label.
    size = sum(np.asarray(value).nbytes for value in first.values())
    step = max(1, min(1000, BLOCK // max(1, size)))
    blocks = [
        np.arange(at, min(at + step, len(source))) for at in range(0, len(source), step)
    ]

    def labels(rows: np.ndarray) -> np.ndarray:
        found = source[rows]
        if "label" not in found:
            raise UserError(f"the source, row {rows[0]} and on: {some_labels(False)}")
        return found["label"]

    with ThreadPoolExecutor(workers()) as pool:
        return np.concatenate(list(pool.map(labels, blocks)))


class ByExample:
    """A source that answers one row number at a time, as those of Grain and TFDS do."""

    def __init__(self, source: Any):
        self._source = source
        self.labels = getattr(source, "labels", None)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The rows of these numbers, of each the image and the label."""
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
            if self.labels is None and ("label" in each) != ("label" in examples[0]):
                raise UserError(f"row {number}: {some_labels('label' in each)}")
        labelled = self.labels is None and "label" in examples[0]
        names = ["image", "label"] if labelled else ["image"]
        try:
            return {name: np.stack([each[name] for each in examples]) for name in names}
        except ValueError as error:
            sizes = {np.shape(each["image"]) for each in examples}
            raise UserError(
                f"examples differ in shape ({sorted(map(list, sizes))}): let the source "
                "resize them"
            ) from error


def as_source(value: Any) -> Source:
    """A source of anything that can be one: see `aaejax.data.Source`.

    Raises:
      UserError: it has no length or no rows, or is a collection of Python's own.
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
    return value
