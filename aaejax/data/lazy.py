"""Rows of a source: read when they are needed, and checked then."""

import copy
import itertools
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from aaejax.data import memory
from aaejax.data.checks import (
    are_counts,
    check_counts,
    check_kind,
    check_values,
    check_white,
    converted,
    extremes,
)
from aaejax.types import Source, UserError

# Data of up to so many bytes are read when they are loaded.
READ_BELOW = 2**30
_SAMPLE = 64  # rows that stand for all where those can't be read at the start,
_SAMPLE_BYTES = 2**28  # fewer where they would take more than this
BLOCK = 2**24  # bytes that are read at once


MOST_WORKERS = 8


def workers(of: Any = None) -> int:
    """Says how many threads read rows: as many as this process may use cores, at most 8.

    There are fewer where a source, or that of some `Rows`, says that fewer are worth it.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4
    source = getattr(of, "source", of)
    return min(cores, MOST_WORKERS, getattr(source, "workers", MOST_WORKERS))


class Rows:
    """The images of a source as an array [N, ...] that is read where it is indexed.

    An index is a slice or an array of row numbers and gives a plain array: uint8, or
    float32 of finite values, those of images in [0, 1].

    Attributes:
      shape: The shape of the whole, [N, ...].
      dtype: The dtype, uint8 or float32.
      unit_range: Whether all values lie in [0, 1], by some rows that were read at the
        start; a later one that does not is refused.
      prepared: A text that says in a fingerprint what was done to rows that were read.

    Raises:
      UserError: Rows can't be examples; it is raised when they are read.
    """

    def __init__(
        self,
        source: Source,
        what: str,
        prepare: Callable[[np.ndarray], np.ndarray] = lambda images: images,
        prepared: str = "",
        missing: bool = False,
    ):
        """Reads a few rows, to see what they are.

        Args:
          source: The source of the images.
          what: The name of the images in messages.
          prepare: A function of rows that were read and checked; it makes what is given.
          prepared: A text that says in a fingerprint what that function does.
          missing: Whether NaN stands for a value that is missing.
        """
        self.source, self._what = source, what
        self._prepare, self.prepared, self._missing = prepare, prepared, missing
        self._numbers = np.arange(len(source))
        # What is done last, by the positions that rows had when it was asked for.
        self._placed: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
        self._positions = self._numbers
        self.unit_range, self._raw = False, None
        self._counts = False
        # Whether rows have a label, once one was read.
        self._labelled: bool | None = None
        self._labels_apart = getattr(source, "labels", None) is not None
        if not len(source):
            raise UserError(f"{what} have 0 examples: give some")
        raw = self._read(self._numbers[:1])
        self._raw = raw.dtype, raw.shape[1:]
        first = self._checked(raw, self._numbers[:1])
        self._shape = prepare(first).shape[1:]
        count = max(1, min(_SAMPLE, _SAMPLE_BYTES // max(raw.nbytes, first.nbytes)))
        chosen = np.unique(np.linspace(0, len(source) - 1, count).astype(np.int64))
        raw = self._read(chosen)
        check_white(itertools.chain([raw], self._blocks(first.nbytes)), raw.dtype, what)
        sample = self._checked(raw, chosen)
        self.dtype, self.unit_range = sample.dtype, True
        if sample.dtype != np.uint8:
            self.unit_range = _in_unit(sample)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the whole, [N, ...]."""
        return (len(self._numbers), *self._shape)

    @property
    def ndim(self) -> int:
        """The number of dimensions of the whole."""
        return len(self._shape) + 1

    @property
    def nbytes(self) -> int:
        """How many bytes all rows have, once they are in memory."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    @property
    def identity(self) -> str:
        """A text that stands for all bytes in a fingerprint."""
        which = zlib.crc32(np.ascontiguousarray(self._numbers).data)
        own = getattr(self.source, "identity", None)
        if own is None:
            total = 0
            for row in np.linspace(0, len(self.source) - 1, 16).astype(np.int64):
                raw = np.ascontiguousarray(self._read(row[None]))
                total = zlib.crc32(raw.data, total)
            own = f"{total:08x}"
        return f"{own} {self.prepared} {which:08x}"

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: Any) -> np.ndarray:
        numbers = self._numbers[index]
        rows = np.atleast_1d(numbers).reshape(-1)
        if not len(rows):
            return np.empty((*numbers.shape, *self._shape), self.dtype)
        images = self._prepare(self._checked(self._read(rows), rows))
        if self._counts and not are_counts(images):
            for row, image in zip(rows.tolist(), images, strict=True):
                check_counts(image[None], f"{self._what}, {self._name(row)}")
        if self._placed is not None:
            images = self._placed(images, self._positions[index].reshape(-1))
        return images.reshape(*numbers.shape, *self._shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Reads all rows into memory; raises UserError where they don't fit."""
        memory.check(self.nbytes, self._what)
        whole = np.empty(self.shape, self.dtype)
        step = max(1, BLOCK // max(1, self.nbytes // len(self)))
        starts = range(0, len(self), min(step, max(1, len(self) // (4 * workers(self)))))

        def fill(start: int) -> None:
            whole[start : start + starts.step] = self[start : start + starts.step]

        with ThreadPoolExecutor(workers(self)) as pool:
            jobs = [pool.submit(fill, start) for start in starts]
            try:
                for job in jobs:
                    job.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def then(self, prepare: Callable[[np.ndarray], np.ndarray], prepared: str) -> "Rows":
        """Returns these rows with their values changed once more: float32, of any range."""
        chosen = self._changed(prepare, prepared)
        chosen.dtype, chosen.unit_range = np.dtype(np.float32), False
        return chosen

    def as_pictures(
        self, prepare: Callable[[np.ndarray], np.ndarray], prepared: str
    ) -> "Rows":
        """Returns these rows changed once more: of the same dtype and range, of any shape.

        A first one is read, so that what can't be changed is refused at once.
        """
        chosen = self._changed(prepare, prepared)
        chosen._shape = prepare(self[:1]).shape[1:]
        return chosen

    def _changed(
        self, prepare: Callable[[np.ndarray], np.ndarray], prepared: str
    ) -> "Rows":
        chosen, before = copy.copy(self), self._prepare
        chosen._prepare = lambda images: prepare(before(images))
        chosen.prepared = f"{self.prepared} {prepared}"
        return chosen

    def counted(self) -> "Rows":
        """Returns these rows, of which each must be whole numbers from 0 on when read."""
        chosen = copy.copy(self)
        chosen._counts = True
        return chosen

    def then_by_position(
        self, prepare: Callable[[np.ndarray, np.ndarray], np.ndarray], prepared: str
    ) -> "Rows":
        """Returns these rows as a function of images and their positions here makes them.

        The positions are [n], int. What it makes must have the same shape, dtype and range.
        """
        chosen = copy.copy(self)
        chosen._placed, chosen._positions = prepare, np.arange(len(self))
        chosen.prepared = f"{self.prepared} {prepared}"
        return chosen

    def take(self, numbers: np.ndarray | slice) -> "Rows":
        """Returns the rows with these numbers, in their order; nothing is read."""
        chosen = copy.copy(self)
        chosen._numbers = self._numbers[numbers]
        chosen._positions = self._positions[numbers]
        return chosen

    def _blocks(self, size: int) -> Iterator[np.ndarray]:
        """Yields all rows as the source has them, in pieces of up to `BLOCK` bytes."""
        step = max(1, BLOCK // max(1, size))
        for start in range(0, len(self), step):
            yield self._read(self._numbers[start : start + step])

    def _read(self, rows: np.ndarray) -> np.ndarray:
        found = self.source[rows]
        if not isinstance(found, Mapping) or "image" not in found:
            raise UserError(
                f"{self._what}: the source answers {type(found).__name__}, not a dict with "
                '"image" in it: see aaejax.data.Source'
            )
        labelled = "label" in found or self._labels_apart
        if self._labelled is None:
            self._labelled = labelled
        if labelled != self._labelled:
            raise UserError(
                f"{self._what}, {self._name(rows[0])} and on: {some_labels(labelled)}"
            )
        try:
            images = np.asarray(found["image"])
        except ValueError as error:  # of several shapes
            raise UserError(
                f"{self._what}, {self._name(rows[0])} and on: no array ({error}); all must "
                "be alike"
            ) from error
        if images.ndim == 0:
            raise UserError(
                f'{self._what}: the source\'s "image" is {type(found["image"]).__name__}: '
                "give an array [n, ...]"
            )
        if len(images) != len(rows):
            raise UserError(
                f"{self._what}: asked for {len(rows)} rows, the source gives {len(images)}"
            )
        if self._raw is not None and (images.dtype, images.shape[1:]) != self._raw:
            raise UserError(
                f"{self._what}, {self._name(rows[0])} and on: {images.dtype} "
                f"{list(images.shape[1:])}, but the first are {self._raw[0]} "
                f"{list(self._raw[1])}; all must be alike"
            )
        return images

    def _checked(self, images: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Checks images, and makes uint8 or float32, [n, H, W, C] or [n, features]."""
        check_kind(images, self._what)
        images = converted(images)
        if images.dtype == np.uint8:
            return images
        unit = self.unit_range or images.ndim == 4
        if self._missing:
            low, high = extremes(images)
        else:
            low, high = images.min(), images.max()  # NaN where there is one
        if not (np.isfinite(low) and np.isfinite(high)) or (unit and (low < 0 or high > 1)):
            # Row by row, to name the one.
            for row, image in zip(rows.tolist(), images, strict=True):
                name = f"{self._what}, {self._name(row)}"
                check_values(image[None], name, unit, self._missing)
        return images

    def _name(self, row: int) -> str:
        names = getattr(self.source, "name_of", None)
        return f"row {row}" if names is None else names(int(row))


Images = np.ndarray | Rows


def in_unit_range(images: Images) -> bool:
    """Whether all values lie in [0, 1]; for `Rows` by what is known of them."""
    if isinstance(images, Rows):
        return images.unit_range
    return _in_unit(images)


def in_counts(images: Images) -> bool:
    """Whether all values are whole numbers from 0 on; for `Rows` by the first 64 rows."""
    return are_counts(images[:64] if isinstance(images, Rows) else images)


def _in_unit(x: np.ndarray) -> bool:
    low, high = extremes(x)
    return low >= 0 and high <= 1


def some_labels(these: bool, name: str = "label") -> str:
    """Makes the message for rows some of which have a label, or the like, and others none.

    Args:
      these: Whether the rows at hand have one and the first row has none, or the other way
        round.
      name: The name of what they have.
    """
    have, others = ("", "not the first") if these else ("no ", "the first has one")
    unknown = ", -1 where it is unknown" * (name == "label")
    return f'{have}"{name}" here, but {others}: give all one{unknown}'
