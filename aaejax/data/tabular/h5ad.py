"""The tables of .h5ad files: X, the names of its columns, and a column of obs.

What is read of the layout that anndata writes: X as an array or as a CSR matrix (a group
with data, indices, indptr and the attribute shape), the attribute _index of var and its
array, and of obs one column, an array or a categorical (a group with codes and categories).
Layers, obsm and the rest are not looked at.
"""

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from aaejax.data.array_files.hdf5 import File, gathered
from aaejax.data.array_files.mapped_file import files_identity
from aaejax.data.lazy import Rows
from aaejax.data.notes import Tell, listing
from aaejax.data.tabular.columns import Column, Columns
from aaejax.data.tabular.seen_columns import SeenNumbers
from aaejax.data.tabular.tables import Told, check_columns, class_labels, tell_of_scales
from aaejax.types import UserError


class H5adRows:
    """A source of the rows of X; those of a sparse X are made dense when they are read."""

    def __init__(self, file: File):
        self._file, self.identity = file, files_identity([file.path], file.path.parent)
        x = file.file.get("X")
        if x is None:
            raise UserError(f"{file.path} has no X: write it by adata.write_h5ad()")
        self._starts: np.ndarray | None = None
        if hasattr(x, "shape"):
            self.shape, self._dense = x.shape, x
        else:
            self._starts = self._sparse(x)
        if len(self.shape) != 2:
            raise UserError(f"{file.path}: X has shape {list(self.shape)}, no table")

    def _sparse(self, x: Any) -> np.ndarray:
        """Finds where each row of a sparse X starts in its values."""
        kind = x.attrs.get("encoding-type", x.attrs.get("h5sparse_format", "?"))
        shape = x.attrs.get("shape", x.attrs.get("h5sparse_shape"))
        wanted = ("data", "indices", "indptr")
        if not str(kind).startswith("csr") or shape is None or not set(wanted) <= set(x):
            raise UserError(
                f"{self._file.path}: X is a {kind}, not dense or CSR: write it anew after "
                "adata.X = adata.X.tocsr()"
            )
        self.shape = tuple(int(n) for n in shape)
        self._data, self._indices = x["data"], x["indices"]
        starts = np.asarray(x["indptr"][:], np.int64)
        whole = len(starts) == self.shape[0] + 1 and (np.diff(starts) >= 0).all()
        if not whole or starts[0] != 0 or starts[-1] != len(self._data):
            raise UserError(f"{self._file.path}: the rows of X are damaged: write it anew")
        return starts

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The rows with these numbers: "image" [n, columns], float32."""
        with self._file.lock:
            return {"image": gathered(rows, self._read).astype(np.float32, copy=False)}

    def _read(self, rows: slice) -> np.ndarray:
        if self._starts is None:
            return self._dense[rows]
        starts = self._starts[rows.start : rows.stop + 1]
        part = slice(int(starts[0]), int(starts[-1]))
        column = self._indices[part]
        if len(column) and not (column.min() >= 0 and column.max() < self.shape[1]):
            raise UserError(f"{self._file.path}: X has values outside of its columns")
        shape = len(starts) - 1, self.shape[1]
        # Values that are there twice are summed, as by whoever reads the file with SciPy.
        given = self._data[part].astype(np.float32), column, starts - starts[0]
        return csr_matrix(given, shape).toarray()


def read(
    path: Path,
    told: Told,
    columns: Columns | None,
    raw: Tell,
    cache: Path | None,
    tell: Tell,
) -> dict[str, Any]:
    """Reads an .h5ad file.

    Args:
      path: The file's path.
      told: The names of the columns of obs that have labels, condition and weights.
      columns: The columns of a run, as in `tables.read`; or None.
      raw: Takes a line on numbers that differ much in scale, as in `tables.read`.
      cache: A folder that keeps rows of more than 1 GiB, dense; None for none.
      tell: Takes a line where rows were kept.

    Returns:
      The arguments of `aaejax.data.from_arrays`; features of more than 1 GiB are `Rows`.

    Raises:
      UserError: The file is none such, or columns are lacking or not known.
    """
    with contextlib.closing(File(path)) as file:
        source = H5adRows(file)
        names = _index(file, "var")
        if len(names) != source.shape[1]:
            raise UserError(
                f"{path}: var has {len(names)} names, X {source.shape[1]} columns"
            )
        twice = len(names) - len(set(names))
        if twice:
            raise UserError(
                f"{path}: {twice} names of var are there twice: "
                "adata.var_names_make_unique() makes them unique"
            )
        order, label = slice(None), told.label
        if columns is None:
            columns = Columns(tuple(map(Column, names)), label)
        else:
            obs = set(file.file.get("obs", ()))  # h5py's own has no None in it
            label = columns.label if columns.label in obs else None
            if told.weight not in obs:  # it may be lacking too
                told = replace(told, weight=None)
            check_columns(str(path), names, columns)
            if list(columns.names) != names:
                place = {name: number for number, name in enumerate(names)}
                order = np.array([place[name] for name in columns.names])
        # NumPy would print a few of many.
        read = order if isinstance(order, slice) else order.tolist()
        rows = Rows(source, str(path), lambda x: x[:, order], f"columns {read}")
        found: dict[str, Any] = {
            "train_images": file.loaded(rows, str(path), cache, tell),
            "columns": columns,
        }
        tell_of_scales(found["train_images"], columns, str(path), raw)
        if label is not None:
            found |= class_labels(_cells(file, label), str(path))
        seen = {name: SeenNumbers(name, what=f"{path}, obs") for name in told.numbers}
        for name, column in seen.items():
            column.add(_cells(file, name))
        return found | told.arrays(seen)


def _index(file: File, group: str) -> list[str]:
    """Names of the rows of a data frame in the file."""
    frame = file.file.get(group)
    name = None if frame is None else frame.attrs.get("_index")
    if hasattr(frame, "shape"):  # records, in place of an array for each column
        raise UserError(
            f"{file.path}: {group} is laid out as anndata before 0.7 did: "
            "anndata.read_h5ad reads it, and adata.write_h5ad() writes it as it should be"
        )
    if frame is None or name is None or name not in frame:
        raise UserError(
            f"{file.path}: {group} has no names: write it by adata.write_h5ad()"
        )
    if not hasattr(frame[name], "shape"):  # texts that might be missing
        name = f"{name}/values"
    return [str(each) for each in file.read(f"{group}/{name}")]


def _cells(file: File, name: str) -> np.ndarray:
    """Reads the cells of a column of obs, as a `table_files.Table` has them."""
    obs = file.file.get("obs", {})
    if name not in obs:
        raise UserError(
            f"{file.path}: obs has no column {name!r}: it has "
            f"{listing(map(repr, obs)) or 'none'}"
        )
    if name in obs.get("__categories", ()):  # a categorical, as anndata 0.7 laid it out
        places = f"obs/{name}", f"obs/__categories/{name}"
    elif not hasattr(obs[name], "shape") and {"values", "mask"} <= set(obs[name]):
        cells, gone = (file.read(f"obs/{name}/{part}") for part in ("values", "mask"))
        if cells.dtype.kind in "OTU":
            texts = cells.astype(object)
            texts[gone] = None
            return texts
        return np.where(gone, np.nan, cells.astype(np.float64))
    elif not hasattr(obs[name], "shape"):  # a categorical
        if not {"codes", "categories"} <= set(obs[name]):
            raise UserError(f"{file.path}: obs {name!r} is no column of labels")
        places = f"obs/{name}/codes", f"obs/{name}/categories"
    else:
        cells = file.read(f"obs/{name}")
        return cells.astype(object if cells.dtype.kind in "OTU" else np.float64)
    codes, categories = map(file.read, places)
    texts = np.array([*map(str, categories), None], object)
    if not (codes.min(initial=0) >= -1 and codes.max(initial=0) < len(texts) - 1):
        raise UserError(f"{file.path}: obs {name!r} has codes of no category")
    return texts[codes]
