"""Arrays with a row for each example -> CSV and Parquet."""

import csv
import io
from pathlib import Path

import numpy as np

from aaejax.data.tabular.columns import Columns
from aaejax.types import UserError, missing

SUFFIXES = (".csv", ".parquet")


def columns(arrays: dict[str, np.ndarray], names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Makes the columns of a table, [N] each; an array [N, n] becomes name_0, name_1, ...

    Args:
      arrays: The arrays, by name.
      names: The names of those that have a row for each example; others are left out.
    """
    found: dict[str, np.ndarray] = {}
    for name in names:
        if name not in arrays:
            continue
        array = arrays[name]
        if array.ndim == 1:
            found[name] = array
        else:
            found |= {f"{name}_{i}": array[:, i] for i in range(array.shape[1])}
    return found


def of_examples(
    images: np.ndarray, rows: np.ndarray | None, columns: Columns
) -> dict[str, np.ndarray]:
    """Makes a table of examples like the one that the run was trained on.

    Args:
      images: The features as that table has them, [N, F], or [N, 2, F] with their
        reconstructions.
      rows: The numbers of the examples in their data, [N], for reconstructions; else None.
      columns: The columns of the run.

    Returns:
      For samples, the columns of the table. For reconstructions, "row", these columns with
      the reconstruction in place of what is missing, and "reconstruction_..." of each.

    Raises:
      UserError: A column of the run has one of these names.
    """
    if rows is None:
        return columns.table(images)
    given, made = images[:, 0], images[:, 1]
    whole = columns.table(np.where(np.isnan(given), made, given))
    again = {f"reconstruction_{name}": x for name, x in columns.table(made).items()}
    for name in whole:
        if name == "row" or name in again:
            raise UserError(
                f"the run's data have a column {name!r}, as the table would have beside "
                "them: write .npz"
            )
    return {"row": rows, **whole, **again}


def check_extra(path: Path) -> None:
    """Raises UserError where what writes this file is not installed."""
    if path.suffix.lower() == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise missing("Parquet", "parquet", "pyarrow", "write a .csv") from error


def write(path: Path, table: dict[str, np.ndarray], numbered: bool = True) -> None:
    """Writes columns [N], in their order.

    Args:
      path: The path of the file, whose suffix, one of `SUFFIXES`, says how.
      table: The columns, by name.
      numbered: Whether a .csv gets a first column "row", of numbers from 0.
    """
    if path.suffix.lower() == ".parquet":
        check_extra(path)
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.table(table), str(path))
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if numbered:
        table = {"row": np.arange(len(next(iter(table.values())))), **table}
    writer.writerow(table)
    for values in zip(*table.values(), strict=True):
        writer.writerow(map(_text, values))
    path.write_text(text.getvalue())


def _text(value: np.generic) -> str:
    # The shortest text that gives the same number again.
    return str(int(value)) if isinstance(value, np.bool_) else str(value)
