"""Tables as files and frames hold them: columns by name, read in blocks of rows."""

import csv
import itertools
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from aaejax.data.array_files.mapped_file import files_identity
from aaejax.types import UserError, missing

_CELLS = 2**20  # of a block; a text takes some 60 bytes,
_NUMBERS = 2**23  # and a number 8, so that where there are no texts a block may be larger
# Of a column [n]: float64, NaN where missing; or str objects as they stand, None or a word
# for what is missing where it is so.
Cells = np.ndarray


class Table(Protocol):
    """Rows of columns, which can be read from the start as often as need be."""

    what: str  # in messages
    names: tuple[str, ...]  # of the columns
    first: int  # the number of row 0 in messages
    categorical: frozenset[str]  # columns that are texts, whatever these look like
    left_out: tuple[str, ...]  # columns that are none of the data, as an index

    @property
    def identity(self) -> str:
        """A text that stands for all bytes."""
        ...

    def blocks(self) -> Iterator[list[Cells]]:
        """Yields some rows of all columns, then the next ones."""
        ...


class TextTable:
    """A .csv or .tsv file whose first row names the columns; quoted text may be any."""

    first = 2  # as a spreadsheet counts, with the names above
    left_out: tuple[str, ...] = ()
    categorical: frozenset[str] = frozenset()

    def __init__(self, path: Path):
        """Reads the names of the columns.

        Raises:
          UserError: There are no names, or names that can't be.
        """
        self.path, self.what = path, str(path)
        self._delimiter = "\t"
        if path.suffix.lower() != ".tsv":
            with path.open("rb") as file:
                head = file.readline(2**20)
            # The first of these that there is: semicolons where commas are decimal.
            self._delimiter = next((d for d in ",;\t" if d.encode() in head), ",")
        names = next(self._rows(), None)
        if names is None:
            raise UserError(f"{path} is empty: its first row must name the columns")
        self.names = tuple(name.strip() for name in names)
        _check_names(self.names, self.what)
        _check_head(self.names, self.what)

    @property
    def identity(self) -> str:
        """A text that stands for the name, size and time of the file."""
        return files_identity([self.path], self.path.parent)

    def _open(self):
        return self.path.open(encoding="utf-8-sig", newline="")

    def _rows(self) -> Iterator[list[str]]:
        """Yields all rows, the names first; below the last one there may be empty lines."""
        with self._open() as file:
            reader = csv.reader(file, delimiter=self._delimiter, strict=True)
            empty = 0  # the first line that is
            try:
                for row in reader:
                    if row and empty:
                        raise UserError(
                            f"{self.what}, line {empty} is empty, with rows below it: "
                            "delete it"
                        )
                    if row:
                        yield row
                    else:
                        empty = empty or reader.line_num
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{self.what}, near line {reader.line_num}: this is no text in UTF-8; "
                    "save it as UTF-8"
                ) from error
            except csv.Error as error:
                raise UserError(
                    f"{self.what}, line {reader.line_num}: {error}; mend that line"
                ) from error

    def blocks(self) -> Iterator[list[Cells]]:
        """Yields blocks of rows, as columns of texts."""
        rows = itertools.islice(self._rows(), 1, None)
        size, done = max(1, _CELLS // len(self.names)), 0
        while some := list(itertools.islice(rows, size)):
            for number, row in enumerate(some):
                if len(row) != len(self.names):
                    raise UserError(
                        f"{self.what}, row {self.first + done + number} has {len(row)} "
                        f"cells, the first row names {len(self.names)} columns: mend it"
                    )
            done += len(some)
            yield [np.array(column, object) for column in zip(*some, strict=True)]


class ParquetTable:
    """A .parquet file: numbers, bools and texts. An index that pandas wrote is left out."""

    first = 0

    def __init__(self, path: Path):
        """Reads the file's head.

        Raises:
          UserError: The package pyarrow is not installed, or the file is no Parquet file.
        """
        try:
            from pyarrow import parquet
        except ImportError as error:
            raise missing(f"{path}: Parquet", "parquet", "pyarrow") from error
        self.path, self.what = path, str(path)
        try:
            # In pieces: a column of a row group may be larger than memory.
            # Read ahead, it would keep the bytes of the whole file.
            self._open = lambda: parquet.ParquetFile(
                path, buffer_size=2**16, pre_buffer=False
            )
            with self._open() as file:
                schema = file.schema_arrow
        except Exception as error:  # pyarrow raises many kinds
            raise self._broken(error) from error
        index, categorical = _of_pandas(schema.metadata)
        self.left_out = tuple(name for name in schema.names if name in index)
        self.names = tuple(name for name in schema.names if name not in index)
        self.categorical = categorical | {
            each.name for each in schema if str(each.type).startswith("dictionary<")
        }
        _check_names(self.names, self.what)
        texts = any(str(each.type).endswith(("string", ">")) for each in schema)
        self._rows_of_block = max(1, (_CELLS if texts else _NUMBERS) // len(self.names))

    @property
    def identity(self) -> str:
        """A text that stands for the name, size and time of the file."""
        return files_identity([self.path], self.path.parent)

    def blocks(self) -> Iterator[list[Cells]]:
        """Yields blocks of rows, as columns of numbers or texts by their types."""
        try:
            with self._open() as file:
                for batch in file.iter_batches(self._rows_of_block, columns=self.names):
                    yield [
                        _of_arrow(
                            batch.column(name),
                            f"{self.what}, column {name!r}",
                            name in self.categorical,
                        )
                        for name in self.names
                    ]
        except (UserError, GeneratorExit):
            raise
        except Exception as error:
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> UserError:
        reason = " ".join(str(error).split())[:200]
        return UserError(
            f"{self.path} can't be read as Parquet ({type(error).__name__}: {reason}): "
            "write it anew"
        )


def _of_pandas(metadata: dict[bytes, bytes] | None) -> tuple[frozenset, frozenset]:
    """What pandas wrote of a frame: the columns that were its index, and the categorical.

    The second may have no type of their own in Parquet, as categories that are numbers.
    """
    try:
        written = json.loads((metadata or {}).get(b"pandas", b"{}"))
    except ValueError:
        written = {}
    index = [each for each in written.get("index_columns", ()) if isinstance(each, str)]
    categorical = [
        each["field_name"]
        for each in written.get("columns", ())
        if each.get("pandas_type") == "categorical"
    ]
    return frozenset(index), frozenset(categorical)


def _of_arrow(column: Any, what: str, categorical: bool) -> Cells:
    import pyarrow
    from pyarrow import types

    kind = column.type
    if categorical:
        if types.is_dictionary(kind):
            column = column.dictionary_decode()
        kind = pyarrow.string()
        column = column.cast(kind)
    if types.is_null(kind):
        return np.full(len(column), np.nan)
    if types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind):
        wide = column.cast(pyarrow.float64(), safe=False)
        return wide.to_numpy(zero_copy_only=False)
    if types.is_decimal(kind):
        return column.cast(pyarrow.float64()).to_numpy(zero_copy_only=False)
    if types.is_string(kind) or types.is_large_string(kind):
        return column.to_numpy(zero_copy_only=False)
    raise UserError(f"{what} is of type {kind}: give numbers or texts, or leave it out")


class FrameTable:
    """A data frame of pandas, or an object that has `columns` and `[name]` as one has."""

    first = 0
    left_out: tuple[str, ...] = ()

    def __init__(self, frame: Any, what: str):
        """Takes the names of the columns; nothing is copied yet.

        Raises:
          UserError: The frame has no columns, or names that can't be.
        """
        names = getattr(frame, "columns", None)
        if names is None or not hasattr(frame, "__getitem__"):
            raise UserError(
                f"{what} is of type {type(frame).__name__}: give a data frame, or arrays "
                "to data.from_arrays"
            )
        self._frame, self.what = frame, what
        self._keys = list(names)
        self.names = tuple(map(str, self._keys))
        _check_names(self.names, what)
        self.categorical = frozenset(
            str(key)
            for key in self._keys
            if type(getattr(frame[key], "dtype", None)).__name__ == "CategoricalDtype"
        )

    @property
    def identity(self) -> str:
        """An empty text: frames are in memory, and none is needed."""
        return ""

    def blocks(self) -> Iterator[list[Cells]]:
        """Yields all rows at once; they are in memory at any rate."""
        yield [
            _of_series(self._frame[key], f"{self.what}, column {name!r}")
            for key, name in zip(self._keys, self.names, strict=True)
        ]


def _of_series(series: Any, what: str) -> Cells:
    kind = getattr(series.dtype, "kind", "O")  # "M", "m": times
    named = type(series.dtype).__name__
    if kind in "biuf" and named != "CategoricalDtype":
        to_numpy = getattr(series, "to_numpy", None)
        if to_numpy is not None and getattr(series, "hasnans", False):
            return np.asarray(to_numpy(dtype=np.float64, na_value=np.nan))
        return np.asarray(series, np.float64)
    if kind in "OTUS" or named in ("StringDtype", "CategoricalDtype"):
        values = np.asarray(series, object)
        cells = np.array([None if _is_missing(x) else x for x in values], object)
        odd = next((x for x in cells if x is not None and not _is_scalar(x)), None)
        if odd is None:
            return np.array([None if x is None else str(x) for x in cells], object)
        kind = type(odd).__name__
    raise UserError(f"{what} is of type {kind}: give numbers or texts, or leave it out")


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ == "NAType":  # of pandas, which is unlike all
        return True
    return bool(np.isscalar(value) and value != value)


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | int | float | np.number | np.bool_)


def _check_names(names: Sequence[str], what: str) -> None:
    """Raises UserError where there is no column, or one of no or another's name."""
    if not names:
        raise UserError(f"{what} has no columns: give some")
    for number, name in enumerate(names):
        if not name.strip():
            raise UserError(
                f"{what}: column {number + 1} has no name: name it, or leave it out (the "
                "index of pandas: to_csv(..., index=False))"
            )
        if name in names[:number]:
            raise UserError(f"{what}: two columns are called {name!r}: rename one")


def _check_head(names: Sequence[str], what: str) -> None:
    """Raises UserError where the first row holds values: numbers that count nothing."""
    values = []
    for name in names:
        with suppress(ValueError):
            values.append(float(name))
    if len(values) < len(names):  # texts too: values where most are numbers, and not years
        wrong = 2 * len(values) > len(names) and any(
            math.isfinite(x) and not x.is_integer() for x in values
        )
    else:
        wrong = values not in [[float(n + k) for n in range(len(names))] for k in (0, 1)]
    if wrong:
        raise UserError(
            f"{what}: the first row has numbers ({names[0]}, ...), and must name the "
            "columns: write their names above"
        )
