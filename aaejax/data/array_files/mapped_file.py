"""Files of arrays, read by their rows; what stands for the bytes of files."""

import os
import weakref
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from aaejax.types import UserError


class MappedFile:
    """The rows of an .npy file, read by their place in it.

    They are read and not mapped, since what is mapped counts as memory of the process.
    """

    def __init__(self, array: np.memmap, identity: str | None = None):
        """Makes a source of a memory map of the whole file or of rows of it.

        Args:
          array: The memory map, [N, ...], in C order.
          identity: A text that stands for what the file was made from; by default one for
            the file itself.
        """
        filename = array.filename
        assert filename is not None and array.flags.c_contiguous
        self._path, self._dtype, self._shape = Path(filename), array.dtype, array.shape
        # A view has the offset of its parent: its start says where it is in that.
        self._start, base = array.offset, array
        while isinstance(base.base, np.memmap):
            base = base.base
        self._start += (
            array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
        )
        self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._file)
        self.identity = identity or (
            f"{files_identity([self._path], self._path.parent)} {self._start} "
            f"{array.dtype} {array.shape}"
        )

    def __len__(self) -> int:
        return self._shape[0]

    def __getitem__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The rows with these numbers."""
        found = np.empty((len(rows), *self._shape[1:]), self._dtype)
        flat = found.reshape(len(rows), -1).view(np.uint8)
        size = flat.shape[1]
        # Neighbours are read together.
        starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1).tolist()
        for first, last in zip(starts, [*starts[1:], len(rows)], strict=True):
            into, at = flat[first:last].reshape(-1), self._start + int(rows[first]) * size
            while len(into):
                got = os.preadv(self._file, [into.data], at)
                if not got:
                    raise UserError(f"{self._path} became shorter while it was read")
                into, at = into[got:], at + got
        return {"image": found}


def files_identity(paths: Sequence[Path], root: Path, more: str = "") -> str:
    """Makes a text that stands for the bytes of files: of their names, sizes and times.

    Args:
      paths: The paths of the files.
      root: The folder that their names are counted from.
      more: What else decides what is made of the files.
    """
    total, inside = zlib.crc32(more.encode()), os.path.join(root, "")
    for path in map(os.fspath, paths):
        stat = os.stat(path)
        # What `relpath` gives, in a tenth of the time, where no link or dot is in between.
        if path.startswith(inside) and "/.." not in path:
            name = path[len(inside) :]
        else:
            name = os.path.relpath(path, root)
        line = f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n"
        total = zlib.crc32(os.fsencode(line), total)
    return f"{len(paths)} files {total:08x}"
