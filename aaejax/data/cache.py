"""Packed data: what costs decoding is decoded once, into a file that is then mapped."""

import contextlib
import json
import math
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from aaejax.data.array_files.mapped_file import MappedFile
from aaejax.data.lazy import Rows, workers
from aaejax.data.notes import Tell
from aaejax.types import UserError

_LEFT = 3600  # seconds after which nobody writes to what is there any more
_BLOCK = 2**24  # bytes that each thread has in memory
_MOST_SAID = 2**20  # bytes behind the rows of a file


@dataclass(frozen=True)
class Packing:
    """An array that is written from its first row to its last.

    Attributes:
      shape: The shape of the array, [N, ...].
      dtype: The dtype of its values.
      blocks: A function that gives its rows, some at a time.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    blocks: Callable[[], Generator[np.ndarray]]

    @property
    def nbytes(self) -> int:
        """How many bytes all rows have."""
        return math.prod(self.shape) * self.dtype.itemsize


def of_rows(rows: Rows) -> Packing:
    """Makes a `Packing` of rows, which several threads read."""
    return Packing(rows.shape, rows.dtype, partial(_in_parallel, rows))


@dataclass(frozen=True)
class Expected:
    """What rows in a file must be.

    Attributes:
      identity: A text that stands for what the rows are made of; rows of another identity
        are in another file.
      shape: The shape of the array, [N, ...], None where any length will do.
      dtype: The dtype of its values.
    """

    identity: str
    shape: tuple[int | None, ...]
    dtype: np.dtype

    def fits(self, array: np.ndarray) -> bool:
        """Whether an array is such rows."""
        return (
            array.dtype == self.dtype
            and array.ndim == len(self.shape)
            and array.flags.c_contiguous
            and all(
                length == wanted or (wanted is None and length > 0)
                for length, wanted in zip(array.shape, self.shape, strict=True)
            )
        )


def kept(
    cache: Path,
    expected: Expected,
    make: Callable[[Tell], Packing],
    what: str,
    tell: Tell,
) -> MappedFile:
    """Reads rows from a file of a cache, which is written first where it is not there.

    The file is written under another name, in blocks, and takes its own when all of it is
    on the disk: whoever finds it finds it whole, and of processes that write it at the same
    time one wins. A file that is not as expected is written anew; its values have no
    checksum, which would have to be read in full at every start.

    Args:
      cache: The folder of such files, which is made if need be.
      expected: What the rows must be.
      make: A function that gives what is written. What it tells is kept with the rows, and
        told again whenever they are read.
      what: The name of the rows in messages.
      tell: Takes lines: those that `make` tells, and one when a file was written.

    Returns:
      The rows in the file.

    Raises:
      UserError: The cache can't be written; no part of a file is left there.
    """
    digest = zlib.crc32(expected.identity.encode())
    path = cache / f"{_plain(what)}-{digest:08x}.npy"
    found = _open(path, expected)
    if found is None:
        said: list[str] = []
        packing = make(said.append)
        _write(path, packing, {"identity": expected.identity, "said": said}, what)
        found = _open(path, expected)
        if found is None:
            raise UserError(f"{path} can't be read back: use another --cache folder")
        tell(f"{what}: kept in {path} ({packing.nbytes / 2**20:,.0f} MiB)")
    rows, said = found
    for line in said:
        tell(line)
    return rows


def remove_left(folder: Path, pattern: str) -> None:
    """Removes files and folders of these names that a process left which was killed."""
    for left in folder.glob(pattern):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _LEFT:
                shutil.rmtree(left) if left.is_dir() else left.unlink()


def _open(path: Path, expected: Expected) -> tuple[MappedFile, list[str]] | None:
    """The rows and what was said of them; None where there is no whole file of these."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.memmap) or not expected.fits(array):
            return None
        with path.open("rb") as file:
            file.seek(array.offset + array.nbytes)
            # Behind the rows, and to the end: of a file that was cut it is not whole.
            about = json.loads(file.read(_MOST_SAID + 1))
        identity, said = about["identity"], [str(line) for line in about["said"]]
    # Not there, cut (NumPy maps no more than there is), or another's file.
    except (OSError, ValueError, EOFError, KeyError, TypeError):
        return None
    return (MappedFile(array, identity), said) if identity == expected.identity else None


def _write(path: Path, packing: Packing, about: dict[str, Any], what: str) -> None:
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
        if packing.nbytes > free:
            raise OSError(
                None,
                f"{packing.nbytes / 2**30:,.1f} GiB are needed, {free / 2**30:,.1f} free",
            )
        remove_left(path.parent, ".packing-*")
        descriptor, name = tempfile.mkstemp(prefix=".packing-", dir=path.parent)
        temporary = Path(name)
        with open(descriptor, "wb") as file:
            _write_blocks(file, packing)
            file.write(json.dumps(about).encode())
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp lets nobody else read
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(
            f"{what} can't be kept in {path.parent} ({error.strerror or error}): make "
            "room, give another --cache, or leave it out"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _write_blocks(file, packing: Packing) -> None:
    head = {
        "descr": npy.dtype_to_descr(packing.dtype),
        "fortran_order": False,
        "shape": packing.shape,
    }
    npy.write_array_header_1_0(file, head)
    with contextlib.closing(packing.blocks()) as blocks:
        for block in blocks:
            file.write(np.ascontiguousarray(block).data)


def _in_parallel(rows: Rows) -> Generator[np.ndarray]:
    step = max(1, min(_BLOCK // max(1, rows.nbytes // len(rows)), len(rows) // 64))
    starts = list(range(0, len(rows), step))
    threads = workers(rows)
    with ThreadPoolExecutor(threads) as pool:
        try:
            # As many at once as there are threads, so that memory is bounded.
            for first in range(0, len(starts), threads):
                some = starts[first : first + threads]
                yield from pool.map(lambda start: rows[start : start + step], some)
        finally:
            pool.shutdown(cancel_futures=True)


def _plain(name: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in name)[:60]
