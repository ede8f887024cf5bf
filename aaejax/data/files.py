"""Files of examples, told apart by their suffixes: arrays, tables, HDF5."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aaejax.data.array_files import hdf5, npz
from aaejax.data.notes import Tell, ignore
from aaejax.data.reading import Reading
from aaejax.data.tabular import h5ad, table_files, tables
from aaejax.data.tabular.columns import Columns


@dataclass(frozen=True)
class How:
    """How a file is read: what the arguments of `aaejax.data.load` say of it."""

    reading: Reading
    columns: Columns | None  # of a run
    cache: Path | None
    tell: Tell

    @property
    def raw(self) -> Tell:
        """What takes a line on numbers that should not be trained on as they are."""
        fresh = self.columns is None and not self.reading.standardise
        return self.tell if fresh else ignore


def _told(how: How) -> tables.Told:
    reading = how.reading
    return tables.Told(
        reading.label_column, reading.condition_columns, reading.weight_column
    )


def _arrays(path: Path, how: How) -> dict[str, Any]:
    return npz.read(path, how.reading, how.tell)


def _table(kind: Callable[[Path], table_files.Table]):
    def read(path: Path, how: How) -> dict[str, Any]:
        told, cache = _told(how), how.cache
        return tables.read(kind(path), told, how.columns, how.raw, cache, how.tell)

    return read


def _hdf5(path: Path, how: How) -> dict[str, Any]:
    return hdf5.read(path, how.reading, how.cache, how.tell)


def _h5ad(path: Path, how: How) -> dict[str, Any]:
    return h5ad.read(path, _told(how), how.columns, how.raw, how.cache, how.tell)


_COLUMNS = ("label_column", "condition_columns", "weight_column")
_KEYS = ("key", "label_key", "condition_key", "weight_key")
# Of each suffix what reads it, and the options that it has.
KINDS: dict[str, tuple[Callable[[Path, How], dict[str, Any]], tuple[str, ...]]] = {
    ".npz": (_arrays, ("condition_key", "weight_key")),
    ".npy": (_arrays, ()),
    ".csv": (_table(table_files.TextTable), _COLUMNS),
    ".tsv": (_table(table_files.TextTable), _COLUMNS),
    ".parquet": (_table(table_files.ParquetTable), _COLUMNS),
    ".h5": (_hdf5, _KEYS),
    ".hdf5": (_hdf5, _KEYS),
    ".h5ad": (_h5ad, _COLUMNS),
}


def options(path: Path) -> tuple[str, ...]:
    """Returns the options of `reading.PLACES` that a file of this suffix has."""
    return KINDS.get(path.suffix.lower(), KINDS[".npz"])[1]


def read(path: Path, how: How) -> dict[str, Any]:
    """Reads the arguments of `aaejax.data.from_arrays` from a file.

    A file of no known suffix is read as one of arrays, .npz or .npy.

    Raises:
      UserError: The file has no data, or files of this kind have not such options.
    """
    reader, _ = KINDS.get(path.suffix.lower(), KINDS[".npz"])
    how.reading.check_reads(str(path), *options(path))
    return {"columns": how.columns} | reader(path, how)
