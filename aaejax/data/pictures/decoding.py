"""Pictures in files, as a viewer shows them: turned, on a ground, the first frame."""

import contextlib
import itertools
import resource
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from aaejax.data import lazy, memory
from aaejax.data.array_files.mapped_file import files_identity
from aaejax.data.notes import listing
from aaejax.data.pictures import picture_files
from aaejax.data.pictures.decoders import Decoders
from aaejax.data.pictures.picture_files import Head, UnreadableError
from aaejax.data.reading import Reading
from aaejax.types import UserError

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
    *(".pgm", ".ppm", ".pnm", ".pbm"),
)
# Threads that read heads where the disk is slow, as over a network. Elsewhere they take
# three times as long as one: to parse a head holds Python's lock.
_SLOW_DISK = 8
_SLOW = 1e-3  # seconds of waiting for one, ten times what a head takes
# Pixels of a picture whose decoding, outside of the lock, takes less than all around it.
SMALL = 10_000
# From so many small pictures on they are decoded by processes, which take 0.2 s to start.
MANY = 5000
_HEADS_AT_ONCE = 500
_WORTH_A_PROCESS = 16  # rows that are asked for at once
# Bytes a pixel while one picture is decoded: itself, with alpha, the ground and the two
# blended, of 4 each. And while it becomes one of another size: that, its bytes, and these
# as an array.
_WORKING = 16


class PictureFiles:
    """Pictures in files as a source: decoded when read, each as a viewer shows it.

    EXIF orientation is applied, what is transparent is blended with the background, and of
    several frames the first is used. An image is uint8 [H, W, C]: C is 3 if any picture or
    the ground under it is in colour, else 1.

    Attributes:
      identity: A text that stands for the names, sizes and times of the files, and for how
        they are read.
      workers: The number of threads that are worth it.
    """

    def __init__(self, paths: Sequence[Path], root: Path, reading: Reading, what: str):
        """Reads the heads of all files.

        Args:
          paths: The paths of N regular files, 1 or more.
          root: The folder that the files' names are counted from.
          reading: How the pictures are read.
          what: The name of the pictures in messages.

        Raises:
          UserError: Pictures have several sizes and are not resized, one has over 8 bits
            a pixel, or one cannot be opened.
        """
        self._paths = paths
        self.identity = files_identity(paths, root, repr(reading))
        self._decoders: Decoders | None = None
        heads = self._heads()
        grey = reading.grey or all(head.mode in ("1", "L", "LA") for head in heads)
        if not reading.grey and len(set(reading.ground)) > 1:
            grey = grey and not any(head.transparent for head in heads)
        self._how = picture_files.How(
            "L" if grey else "RGB", reading.ground, reading.size, reading.cut
        )
        self.several_frames = sum(head.frames for head in heads)
        for path, head in zip(paths, heads, strict=True):
            if head.mode[0] in "IF":  # PIL would clip such values at 255
                raise UserError(
                    f"{path} has over 8 bits a pixel; save it with 8, or give an .npy file "
                    "of uint16"
                )
        if reading.size is None:
            sizes = [head.size for head in heads]
            if len(set(sizes)) > 1 and len({tuple(sorted(size)) for size in sizes}) == 1:
                sizes = _read(picture_files.upright_sizes, list(paths))
            _check_sizes(sizes, what)
        largest = max(head.size[0] * head.size[1] for head in heads)
        width, height = reading.size or (0, 0)
        small = largest + width * height <= SMALL
        if not small:
            self._decoders = None  # threads do as well, without the copies
        self.workers = lazy.MOST_WORKERS if self._decoders or not small else 1
        at_once = min(len(paths), self.workers)
        resized = f" that become {width}x{height}" if reading.size else ""
        memory.check(
            (largest + width * height) * at_once * _WORKING,
            f"{what}: {at_once} pictures at once, of up to {largest:,} pixels{resized},",
        )
        self.shape = _read(picture_files.decoded, paths[:1], self._how)[0].shape

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The pictures with these numbers: "image" [n, H, W, C], uint8."""
        images = np.empty((len(rows), *self.shape), np.uint8)
        paths = [self._paths[row] for row in rows.tolist()]
        if self._decoders is not None and len(rows) >= _WORTH_A_PROCESS:
            decoded = iter(self._decoders.decoded(paths, self._how))
        else:
            decoded = (_read(picture_files.decoded, [p], self._how)[0] for p in paths)
        for at, (row, pixels) in enumerate(zip(rows.tolist(), decoded, strict=True)):
            if pixels.shape != self.shape:  # turned by what stands behind its pixels
                sizes = [(x.shape[1], x.shape[0]) for x in (images[0], pixels)]
                _refuse_sizes(Counter(sizes), f"{self._paths[0]} and {self._paths[row]}")
            images[at] = pixels
        return {"image": images}

    def name_of(self, row: int) -> str:
        """Returns the path of a row's file."""
        return str(self._paths[row])

    def _heads(self) -> list[Head]:
        """Reads the heads of all files.

        One thread reads them, or many where it would wait for the disk, or processes, which
        are kept, where there are many pictures.
        """
        paths = list(self._paths)
        first, rest = paths[:100], paths[100:]
        wall, slept = time.perf_counter(), _times_asleep()
        found = _read(picture_files.heads, first)
        wall, slept = time.perf_counter() - wall, _times_asleep() - slept
        # Asleep once a file: not for other programs alone, which leave no core.
        waits = wall > _SLOW * len(first) and slept >= len(first)
        threads, read = _SLOW_DISK if waits else 1, partial(_read, picture_files.heads)
        cores = lazy.workers()
        if len(paths) >= MANY and cores > 1 and not waits:
            with contextlib.suppress(OSError):  # where no process may start there is none
                self._decoders = Decoders(cores)
                threads, read = cores, self._decoders.heads
        starts = range(0, len(rest), _HEADS_AT_ONCE)
        with ThreadPoolExecutor(threads) as pool:
            parts = pool.map(lambda at: read(rest[at : at + _HEADS_AT_ONCE]), starts)
            return list(itertools.chain(found, *parts))


def _times_asleep() -> int:
    """How often this process gave up its core, to wait for something."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw


def _read(function: Callable[..., list[Any]], *arguments: Any) -> list[Any]:
    """Calls a function of `picture_files`, whose error becomes one of the user's."""
    try:
        return function(*arguments)
    except UnreadableError as error:
        raise UserError(str(error)) from error


def _check_sizes(sizes: Sequence[tuple[int, int]], what: str) -> None:
    """Raises UserError where there are several."""
    counts = Counter(sizes)
    if len(counts) > 1:
        _refuse_sizes(counts, what)


def _refuse_sizes(counts: Counter[tuple[int, int]], what: str) -> None:
    """Raises UserError that says the sizes, how many of each, and one that would do."""
    sides = sorted(side for size, n in counts.items() for side in [min(size)] * n)
    proposal = min(64, sides[len(sides) // 2])
    names = (f"{width}x{height} ({n:,})" for (width, height), n in counts.most_common())
    raise UserError(
        f"{what}: pictures of {len(counts):,} sizes, width x height: {listing(names)}; say "
        f"--resize {proposal} to make the shorter side {proposal} and cut out the middle, "
        f"or --resize {proposal}x{proposal} to squeeze them"
    )
