"""Arrays in HDF5 files, and the tables of .h5ad files, read by their rows."""

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from aaejax.data.array_files.mapped_file import files_identity
from aaejax.data.array_files.npz import choose
from aaejax.data.cache import Expected, kept, of_rows
from aaejax.data.lazy import READ_BELOW, Images, Rows
from aaejax.data.notes import Tell, listing
from aaejax.data.reading import Reading
from aaejax.types import UserError, missing

_CHUNKS = 2**26  # bytes of unpacked chunks that are kept of a dataset


class File:
    """An open HDF5 file, for one thread at a time: the library takes no more."""

    def __init__(self, path: Path):
        """Opens the file.

        Raises:
          UserError: The package h5py is not installed, or the file is no HDF5 file.
        """
        try:
            import h5py
        except ImportError as error:
            raise missing(f"{path}: HDF5", "hdf5", "h5py") from error
        self.path, self.lock = path, threading.Lock()
        self._h5py: Any = h5py
        self._needed = False
        try:
            self.file: Any = h5py.File(path, "r", rdcc_nbytes=_CHUNKS)
        except OSError as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{path} can't be read as HDF5 ({reason}): write it anew"
            ) from error

    def datasets(self) -> list[str]:
        """Lists the names of all arrays in the file itself, those in groups with paths."""
        found: list[str] = []

        def visit(name: str, node: Any) -> None:
            if isinstance(node, self._h5py.Dataset):
                found.append(name)

        self.file.visititems(visit)  # goes through no link to another file
        return found

    def array(self, name: str) -> Any:
        """Finds an array by name, and reads none of it yet.

        Raises:
          UserError: The file has no such array.
        """
        there = self.datasets()
        if name.strip("/") not in there:
            raise UserError(
                f"{self.path} has no array {name!r}: it has "
                f"{listing(map(repr, there)) or 'none'}"
            )
        return self.file[name]

    def read(self, name: str) -> np.ndarray:
        """Reads all values of an array; texts become strings."""
        array = self.array(name)
        with self.lock:
            if self._h5py.check_string_dtype(array.dtype) is not None:
                return array.asstr(errors="backslashreplace")[()]
            return array[()]

    def loaded(self, rows: Rows, what: str, cache: Path | None, tell: Tell) -> Images:
        """Reads rows of this file into memory, or into a cache, or leaves them to be read.

        Rows of up to `lazy.READ_BELOW` bytes are read into memory; more go into the cache
        where there is one.

        Args:
          rows: The rows, which are of this file.
          what: The name of the rows in messages.
          cache: The folder of the cache, as in `cache.kept`; None for none.
          tell: Takes a line where rows were kept, as in `cache.kept`.
        """
        if rows.nbytes <= READ_BELOW:
            return np.asarray(rows)
        if cache is not None:
            expected = Expected(rows.identity, rows.shape, rows.dtype)
            file = kept(cache, expected, lambda _: of_rows(rows), self.path.name, tell)
            # A run goes on with a cache or without.
            file.identity = getattr(rows.source, "identity", file.identity)
            return Rows(file, what, prepared=rows.prepared)
        self._needed = True
        return rows

    def close(self) -> None:
        """Closes the file where no rows are read later, so that others may write it."""
        if not self._needed:
            self.file.close()


class HDF5Rows:
    """A source of the rows of an array in a file."""

    def __init__(self, file: File, name: str):
        self._file, self._array, self._name = file, file.array(name), name
        if not self._array.shape:
            raise UserError(f"{file.path}: {name!r} is one value: give an array [N, ...]")
        self.identity = f"{files_identity([file.path], file.path.parent)} {name}"

    def __len__(self) -> int:
        return self._array.shape[0]

    def __getitem__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The rows with these numbers."""
        with self._file.lock:
            return {"image": gathered(rows, lambda some: self._array[some])}


def gathered(rows: np.ndarray, read: Callable[[slice], np.ndarray]) -> np.ndarray:
    """Reads the rows with these numbers [n], in any order, some perhaps twice.

    Rows that follow each other are read at once: `read` is given their slice.
    """
    wanted, places = np.unique(rows, return_inverse=True)
    starts = np.flatnonzero(np.diff(wanted, prepend=-2) != 1).tolist()
    ends = [*starts[1:], len(wanted)]
    parts = [
        read(slice(int(wanted[first]), int(wanted[last - 1]) + 1))
        for first, last in zip(starts, ends, strict=True)
    ]
    return np.concatenate(parts)[places]


def read(path: Path, reading: Reading, cache: Path | None, tell: Tell) -> dict[str, Any]:
    """Reads an .h5 or .hdf5 file.

    Args:
      path: The file's path.
      reading: How data are read. Its `key` is the name of the array of images or vectors;
        by default those that have the names which arrays of an .npz may have, or the only
        one that there is. Its `label_key` is the name of the array of labels; by default
        they are found by their names, where `key` is None. Its `condition_key` and
        `weight_key` are those of conditions and weights, as in an .npz where `key` is None.
      cache: A folder that keeps images of more than 1 GiB, unpacked; None for none.
      tell: Takes a line on arrays that are not read, and where some were kept.

    Returns:
      The arguments of `aaejax.data.from_arrays`; images of more than 1 GiB are `Rows`.

    Raises:
      UserError: The file has no such arrays.
    """
    named = {} if reading.label_key is None else {"train_labels": reading.label_key}
    with contextlib.closing(File(path)) as file:
        if reading.key is None:
            names = file.datasets()
            chosen, unread = choose(names, reading.asked)
            if "train_images" not in chosen and len(names) == 1:
                chosen, unread = chosen | {"train_images": names[0]}, []
            if "train_images" not in chosen:
                raise UserError(
                    f"{path} holds the arrays {listing(map(repr, names)) or '(none)'}: say "
                    "which by --key (and --label-key)"
                )
            if named and "test_images" in chosen:
                raise UserError(
                    f"{path} has two parts, --label-key names the labels of one: "
                    "call them y_train and y_test, or say by --key what to read"
                )
            chosen |= named
            unread = [name for name in unread if name not in named.values()]
            if unread:
                tell(f"{path.name}: not read: {listing(map(repr, unread))}")
        else:
            told = {f"train_{kind}": name for kind, name in reading.asked.items()}
            chosen = {"train_images": reading.key, **named, **told}
        found: dict[str, Any] = {}
        for part, name in chosen.items():
            if part.endswith("images"):
                what = f"{path}: {name}"
                rows = Rows(HDF5Rows(file, name), what)
                found[part] = file.loaded(rows, what, cache, tell)
            else:
                file.array(name)  # which is there
                found[part] = file.read(name)
        return found
