"""What the features of a table are: names, categories, means and standard deviations."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

MOST_CATEGORIES = 1000  # of one column


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
      name: The column's name in the table.
      categories: The categories of a column of texts, which becomes one feature for each of
        them; () for a column of numbers.
      mean: The number that is subtracted from the numbers.
      std: The number that they are then divided by; with mean 0 and std 1 they stay as they
        are.
    """

    name: str
    categories: tuple[str, ...] = ()
    mean: float = 0.0
    std: float = 1.0

    @property
    def width(self) -> int:
        """How many features the column becomes."""
        return len(self.categories) or 1

    @property
    def features(self) -> list[str]:
        """The features' names: the column's own, or "colour=red", "colour=green", ..."""
        return [f"{self.name}={each}" for each in self.categories] or [self.name]


@dataclass(frozen=True)
class Columns:
    """The columns that the features [F] of examples are made of, in their order.

    Attributes:
      columns: The columns, in the order of their features.
      label: The name of the column that the labels are from; None where there is none.
      missing: Whether values may be missing, which are NaN among the features.
    """

    columns: tuple[Column, ...]
    label: str | None = None
    missing: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(column.name for column in self.columns)

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the F features."""
        return tuple(name for column in self.columns for name in column.features)

    @cached_property
    def standardised(self) -> bool:
        """Whether the features are other numbers than the table has."""
        return any((column.mean, column.std) != (0.0, 1.0) for column in self.columns)

    def places(self) -> Iterator[tuple[Column, slice]]:
        """Yields each column, and where its features are."""
        at = 0
        for column in self.columns:
            yield column, slice(at, at + column.width)
            at += column.width

    def scaled(self, x: np.ndarray) -> np.ndarray:
        """Turns features [..., F] as the table has them into those that are trained on.

        They become float32 where the columns are standardised, and stay as they are
        elsewhere. A uint8 value stands for itself over 255, as that of a pixel does.
        """
        mean, std = self._scales
        return ((_floats(x) - mean) / std).astype(np.float32) if self.standardised else x

    def unscaled(self, x: np.ndarray) -> np.ndarray:
        """Turns features [..., F] as they are trained on into the table's own, float32."""
        mean, std = self._scales
        return (x * std + mean).astype(np.float32) if self.standardised else x

    @cached_property
    def _scales(self) -> tuple[np.ndarray, np.ndarray]:
        widths = [column.width for column in self.columns]
        means, stds = ([getattr(c, n) for c in self.columns] for n in ("mean", "std"))
        return np.repeat(means, widths), np.repeat(stds, widths)

    def fitted(self, mean: np.ndarray, std: np.ndarray) -> "Columns":
        """Returns these columns with the mean and std [F]; categories stay 0 and 1."""
        columns = [
            column
            if column.categories
            else replace(column, mean=float(mean[at][0]), std=float(std[at][0]))
            for column, at in self.places()
        ]
        return replace(self, columns=tuple(columns))

    def table(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Turns features [N, F] as the table has them into its columns by name, [N] each.

        Of categories the one with the largest value is taken; where all are missing, "".
        """
        found = {}
        for column, at in self.places():
            values = x[:, at]
            if not column.categories:
                found[column.name] = values[:, 0]
                continue
            texts = np.array(["", *column.categories])
            known = ~np.isnan(values).all(axis=1)
            found[column.name] = texts[np.where(known, 1 + _largest(values), 0)]
        return found

    def json(self) -> dict[str, Any]:
        """Returns what is saved as JSON, which `columns_of` reads."""
        return {
            "names": list(self.names),
            "categories": {
                c.name: list(c.categories) for c in self.columns if c.categories
            },
            "mean": [column.mean for column in self.columns],
            "std": [column.std for column in self.columns],
            "label": self.label,
            "missing": self.missing,
        }


def _largest(values: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(values), -np.inf, values).argmax(axis=1)


def columns_of(saved: Any, features: int) -> Columns:
    """Makes `Columns` of JSON that anybody may have written.

    Args:
      saved: The JSON, as `Columns.json` gives it.
      features: The number of features that there must be.

    Raises:
      ValueError, TypeError, KeyError: The JSON can't be that of columns.
    """
    names, label, missing = saved["names"], saved["label"], saved["missing"]
    _check_names(names, "columns")
    if not (label is None or isinstance(label, str)) or not isinstance(missing, bool):
        raise TypeError("label or missing")
    categories = saved["categories"]
    if not isinstance(categories, Mapping) or not set(categories) <= set(names):
        raise ValueError("categories")
    for each in categories.values():
        _check_names(each, "categories")
    scales = saved["mean"], saved["std"]
    for values in scales:
        if not isinstance(values, list) or len(values) != len(names):
            raise ValueError("mean or std")
        if not all(type(x) in (int, float) and math.isfinite(x) for x in values):
            raise ValueError("mean or std")
    if not all(std > 0 for std in scales[1]):
        raise ValueError("a std that is not positive")
    columns = tuple(
        Column(name, tuple(categories.get(name, ())), float(mean), float(std))
        for name, mean, std in zip(names, *scales, strict=True)
    )
    found = Columns(columns, label, missing)
    if sum(column.width for column in columns) != features:
        raise ValueError(f"columns that are not {features} features")
    return found


def _check_names(names: Any, what: str) -> None:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError(what)
    if not names or len(set(names)) < len(names):
        raise ValueError(what)


def numbered(features: int) -> Columns:
    """Makes columns of features without names: "x0", "x1", ..."""
    return Columns(tuple(Column(f"x{number}") for number in range(features)))


def moments(blocks: Iterator[np.ndarray], features: int) -> tuple[np.ndarray, np.ndarray]:
    """Computes the mean and standard deviation of the known values of each feature.

    Args:
      blocks: The values in blocks, [n, F] each, NaN where a value is missing.
      features: The number of features, F.

    Returns:
      The means and the standard deviations, [F], float64, each; a std of 0 becomes 1. Both
      are NaN for a feature of which no value is known.
    """
    count, mean, away = (np.zeros(features) for _ in range(3))
    # Small pieces, since what is made of one takes ten times its bytes.
    for block in (p for b in blocks for p in np.array_split(b, 1 + b.nbytes // 2**22)):
        known = ~np.isnan(block)
        here = known.sum(axis=0)
        x = np.where(known, _floats(block), 0)
        middle = x.sum(axis=0) / np.maximum(here, 1)
        spread = np.where(known, x - middle, 0)
        # Chan et al. 1979: sums of squares around the means of two parts become one.
        total, step = np.maximum(count + here, 1), middle - mean
        away += (spread * spread).sum(axis=0) + step * step * count * here / total
        mean += step * here / total
        count += here
    known = np.where(count, 1.0, np.nan)
    std = np.sqrt(away / np.maximum(count, 1))
    # What float64 made of equal values is above 0.
    return mean * known, np.where(std > 1e-9 * np.abs(mean), std, 1.0) * known


def _floats(x: np.ndarray) -> np.ndarray:
    return x / 255.0 if x.dtype == np.uint8 else x.astype(np.float64)
