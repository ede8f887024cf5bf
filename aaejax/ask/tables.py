"""Arrays with a row for each example -> CSV and Parquet."""

import csv
import io
from pathlib import Path

import numpy as np

from aaejax.types import UserError

SUFFIXES = (".csv", ".parquet")


def columns(arrays: dict[str, np.ndarray], names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The columns of a table, [N] each; an array [N, n] becomes name_0, name_1, ...

    Args:
      arrays: by name.
      names: of those that have a row for each example; the others are left out.
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


def check_extra(path: Path) -> None:
    """Raises UserError where what writes this file is not installed."""
    if path.suffix.lower() == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise UserError(
                "Parquet needs pyarrow: pip install pyarrow, or write a .csv"
            ) from error


def write(path: Path, table: dict[str, np.ndarray]) -> None:
    """Writes columns [N], in their order, as the suffix says; one of `SUFFIXES`."""
    if path.suffix.lower() == ".parquet":
        check_extra(path)
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.table(table), str(path))
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", *table])
    for row, values in enumerate(zip(*table.values(), strict=True)):
        writer.writerow([row, *map(_text, values)])
    path.write_text(text.getvalue())


def _text(value: np.generic) -> str:
    # The shortest text that gives the same number again.
    return str(int(value)) if isinstance(value, np.bool_) else str(value)
