"""Tables -> features: numbers as they are, texts one-hot, what is missing NaN."""

from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from aaejax.data import memory
from aaejax.data.cache import Expected, Packing, kept
from aaejax.data.checks import are_counts, blocks
from aaejax.data.lazy import READ_BELOW, Images, Rows
from aaejax.data.notes import Tell, ignore, listing
from aaejax.data.tabular.columns import Column, Columns, moments
from aaejax.data.tabular.seen_columns import (
    Seen,
    SeenLabels,
    SeenNumbers,
    as_numbers,
    cell_at,
    is_number,
    look,
    missing_cells,
)
from aaejax.data.tabular.table_files import Cells, Table
from aaejax.types import UserError

_SCALES_DIFFER = 10  # columns, so many times
_FLOAT_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Told:
    """Names of the columns that are no features, but tell something of an example.

    Attributes:
      label: The column of the labels; None for none.
      condition: The columns of the numbers of the condition; () for none.
      weight: The column of the weights; None for none.
    """

    label: str | None = None
    condition: tuple[str, ...] = ()
    weight: str | None = None

    @property
    def numbers(self) -> tuple[str, ...]:
        """The columns that must have numbers: the condition's and the weights'."""
        return (*self.condition, *filter(None, [self.weight]))

    def check(self, what: str, there: Collection[str]) -> None:
        """Raises UserError where columns of numbers are not there, or named twice."""
        for name in self.numbers:
            if name not in there:
                raise UserError(
                    f"{what} has no column {name!r} for the "
                    f"{'condition' if name in self.condition else 'weights'}: it has "
                    f"{listing(map(repr, there))}"
                )
        both = [name for name in (self.label, *self.numbers) if name is not None]
        twice = [name for name in both if both.count(name) > 1]
        if twice:
            raise UserError(
                f"{what}: column {twice[0]!r} is named twice, for the label, condition or "
                "weights: name it once"
            )

    def arrays(self, seen: Mapping[str, Seen]) -> dict[str, np.ndarray]:
        """Makes arguments of `from_arrays` of the columns of numbers that were seen."""
        of = {n: x.numbers_of_all for n, x in seen.items() if isinstance(x, SeenNumbers)}
        found = {}
        if self.condition:
            found["train_condition"] = np.stack([of[n] for n in self.condition], axis=1)
        if self.weight is not None:
            found["train_weight"] = of[self.weight]
        return found


NOTHING_TOLD = Told()


def read(
    table: Table,
    told: Told = NOTHING_TOLD,
    columns: Columns | None = None,
    raw: Tell = ignore,
    cache: Path | None = None,
    tell: Tell = ignore,
) -> dict[str, Any]:
    """Reads a table, twice: to see what its columns are, and their values.

    Args:
      table: The table, of which nothing was read yet but the names.
      told: The names of the columns that are no features.
      columns: The columns of a run, which the table's must be, in any order; the label and
        the weight may be lacking.
      raw: Takes a line where numbers differ so much in scale that they should not be
        trained on as they are.
      cache: A folder that keeps the features of a table of more than 1 GiB.
      tell: Takes a line on columns of texts, and where something was kept.

    Returns:
      The arguments of `aaejax.data.from_arrays`: features, NaN where a value is missing,
      and labels, a condition and weights where there are any.

    Raises:
      UserError: Columns are lacking or not known, or a cell can't be.
    """
    if columns is not None:  # of other data the label and the weight may be lacking
        weight = told.weight if told.weight in table.names else None
        told = replace(told, label=columns.label, weight=weight)
    told.check(table.what, table.names)
    label = told.label
    names = _wanted(table, told, columns)
    seen = look(table, None if label not in table.names else label, told.numbers)
    labels = seen.get(label) if label is not None else None
    rows = seen[names[0]].rows
    if not rows:
        raise UserError(f"{table.what} has no rows below its names: give some")
    if columns is None:
        made = [Column(name, seen[name].categories(table)) for name in names]
        missing = any(seen[name].missing is not None for name in names)
        columns = Columns(tuple(made), label, missing)
        texts = [f"{c.name!r} ({c.width})" for c in made if c.categories]
        if texts:
            tell(f"{table.what}: columns of texts become categories: {listing(texts)}")
    elif not columns.missing:
        for name in names:
            if seen[name].missing is not None:
                raise UserError(
                    f"{cell_at(table, seen[name].missing, name)} is empty, and the run was "
                    "trained without missing values: fill it, or leave that row out"
                )
    x = _features(table, columns, rows, cache, tell)
    tell_of_scales(x, columns, table.what, raw)
    found = {"train_images": x, "columns": columns, **told.arrays(seen)}
    if table.left_out:
        tell(f"{table.what}: not read: {listing(table.left_out)}, the index of a frame")
    if isinstance(labels, SeenLabels):
        found |= labels.labels(table.what)
        if "-1" in found.get("class_names", ()):
            tell(
                f"{table.what}: the label -1 is a class as any other: leave cells of "
                f"column {label!r} empty where it is unknown"
            )
    return found


def _features(
    table: Table, columns: Columns, rows: int, cache: Path | None, tell: Tell
) -> Images:
    """All features [N, F], in memory, or in the cache where they are many."""
    packing = Packing(
        (rows, len(columns.features)),
        np.dtype(np.float32),
        lambda: encoded(table, columns),
    )
    if cache is not None and packing.nbytes > READ_BELOW:
        identity = f"{table.identity} {columns}"
        expected = Expected(identity, packing.shape, packing.dtype)
        file = kept(cache, expected, lambda _: packing, table.what, tell)
        return Rows(file, table.what, missing=columns.missing)
    hint = "" if cache else " (--cache DIR keeps a table on disk)"
    # While it is split and standardised.
    memory.check(2 * packing.nbytes, f"{table.what}{hint}")
    x, at = np.empty(packing.shape, packing.dtype), 0
    for block in packing.blocks():
        x[at : at + len(block)] = block
        at += len(block)
    return x


def encoded(table: Table, columns: Columns) -> Generator[np.ndarray]:
    """Yields features [n, F] of some rows as the table has them, then of the next ones.

    Raises:
      UserError: A cell can't be a value of its column.
    """
    places = {column.name: (column, at) for column, at in columns.places()}
    at = 0
    for block in table.blocks():
        x = np.empty((len(block[0]), len(columns.features)), np.float32)
        for name, cells in zip(table.names, block, strict=True):
            if name not in places:
                continue  # the labels
            column, features = places[name]
            if column.categories:
                x[:, features] = _one_hot(cells, column, table, at)
            else:
                x[:, features.start] = _finite(cells, column, table, at)
        yield x
        at += len(x)


def tell_of_scales(x: Images, columns: Columns, what: str, tell: Tell) -> None:
    """Says where numbers of a table differ much in scale; for `Rows` by some of them."""
    if tell is ignore:
        return
    if isinstance(x, Rows):
        x = x[np.unique(np.linspace(0, len(x) - 1, 1000).astype(np.int64))]
    mean, std = moments((block for _, block in blocks(x)), len(columns.features))
    numbers = [
        (scale, column.name)
        for column, at in columns.places()
        if not column.categories and (scale := float(np.hypot(mean[at], std[at])[0])) > 0
    ]
    (small, few), (large, many) = (f(numbers, default=(1.0, "")) for f in (min, max))
    if large > _SCALES_DIFFER * small:
        counts = "; counts take --output softmax --reconstruction negative-binomial"
        tell(
            f"{what}: the scales of its columns differ ({many!r} is about {large:.3g}, "
            f"{few!r} {small:.3g}), and the largest outweigh the others in the loss: "
            f"--standardise makes them alike{counts * are_counts(x)}"
        )


def _wanted(table: Table, told: Told, columns: Columns | None) -> list[str]:
    """Names of the columns that become features; raises UserError where some are wrong."""
    label = told.label
    there = [name for name in table.names if name not in (label, *told.numbers)]
    if columns is None:
        if label is not None and label not in table.names:
            raise UserError(
                f"{table.what} has no column {label!r} for the labels: it has "
                f"{listing(map(repr, table.names))}"
            )
        if not there:
            raise UserError(
                f"{table.what} has no column but the labels, condition and weights: give "
                "features"
            )
        return there
    check_columns(table.what, there, columns)
    return list(columns.names)


def check_columns(what: str, there: Sequence[str], columns: Columns) -> None:
    """Raises UserError where these names are not those of a run's columns."""
    known, found = set(columns.names), set(there)
    lacking = [name for name in columns.names if name not in found]
    unknown = [name for name in there if name not in known]
    if lacking or unknown:
        said = [f"no column {listing(map(repr, lacking))}"] if lacking else []
        said += [f"{listing(map(repr, unknown))}, unknown to the run"] if unknown else []
        raise UserError(
            f"{what} has {' and '.join(said)}: give the columns of the run, "
            f"{listing(map(repr, columns.names))}, in any order"
        )


def class_labels(cells: Cells, what: str) -> dict[str, Any]:
    """Makes arguments of `from_arrays` of a column of labels; {} where none is known."""
    seen = SeenLabels("")
    seen.add(cells)
    return seen.labels(what)


def _finite(cells: Cells, column: Column, table: Table, at: int) -> np.ndarray:
    """Reads cells as finite numbers [n]; raises UserError where one is none."""
    values = as_numbers(cells)
    if values is None:
        known = np.flatnonzero(~missing_cells(cells))
        bad = next(int(n) for n in known if not is_number(cells[n]))
        raise UserError(
            f"{cell_at(table, at + bad, column.name)} is {cells[bad]!r}, where a number is "
            "needed: mend it, or leave it empty if it is missing"
        )
    wrong = np.abs(values) > _FLOAT_MAX  # not of NaN
    if wrong.any():
        bad = int(np.argmax(wrong))
        raise UserError(
            f"{cell_at(table, at + bad, column.name)} is {values[bad]:g}, no finite "
            "float32: mend it, or leave it empty if it is missing"
        )
    return values


def _digits(x: float) -> str:
    """Writes a number as a file of text would have it: 1234567, not 1.23457e+06."""
    return str(int(x)) if x.is_integer() else repr(float(x))


def _one_hot(cells: Cells, column: Column, table: Table, at: int) -> np.ndarray:
    """Makes [n, categories] of 0 and 1 of cells, NaN where a cell is missing."""
    if cells.dtype == np.float64:  # categories may be written as numbers
        cells = np.array([None if x != x else _digits(x) for x in cells], object)
    gone = missing_cells(cells)
    index = {text: number for number, text in enumerate(column.categories)}
    numbers = np.array(
        [0 if no else index.get(x.strip(), -1) for x, no in zip(cells, gone, strict=True)]
    )
    if (numbers < 0).any():
        bad = int(np.argmin(numbers))
        raise UserError(
            f"{cell_at(table, at + bad, column.name)} is {cells[bad].strip()!r}, which the "
            f"run never saw: it knows {listing(map(repr, column.categories))}"
        )
    found = np.eye(len(column.categories), dtype=np.float32)[numbers]
    found[gone] = np.nan
    return found
