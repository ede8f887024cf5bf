"""Pictures in files, as a viewer shows them: turned, on a ground, the first frame."""

import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image

from aaejax.data import memory
from aaejax.data.lazy import MOST_WORKERS
from aaejax.data.mapped_file import files_identity
from aaejax.data.notes import listing
from aaejax.data.reading import Reading
from aaejax.types import UserError

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
    *(".pgm", ".ppm", ".pnm", ".pbm"),
)
# Threads that read heads where the disk is slow, as over a network. Elsewhere they take
# three times as long as one: to parse a head holds Python's lock.
_SLOW_DISK = 8
# Whatever a file is called: of other decoders some start programs, as that of PostScript.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
# Pixels of a picture whose decoding, outside of the lock, takes less than all around it.
SMALL = 10_000
# Bytes a pixel while one picture is decoded: itself, with alpha, the ground and the two
# blended, of 4 each. And while it becomes one of another size: that, its bytes, and these
# as an array.
_WORKING = 16
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class _Head(NamedTuple):
    """What the head of a file says, before anything is decoded."""

    size: tuple[int, int]  # before the picture is turned, as EXIF may say after the pixels
    mode: str  # PIL's
    transparent: bool
    frames: bool  # whether there are more than one


class PictureFiles:
    """Pictures in files as a source: decoded when read, each as a viewer shows it.

    EXIF orientation is applied, what is transparent is blended with the background, and of
    several frames the first is used. An image is uint8 [H, W, C]: C is 3 if any picture or
    the ground under it is in colour, else 1.

    Attributes:
      identity: names, sizes and times of the files, and how they are read.
      workers: how many threads are worth it.
    """

    def __init__(self, paths: Sequence[Path], root: Path, reading: Reading, what: str):
        """Reads the heads of all.

        Args:
          paths: N regular files, 1 or more.
          root: that their names are counted from.
          reading: how they are read.
          what: names the pictures in messages.

        Raises:
          UserError: pictures of several sizes that are not resized, of over 8 bits a pixel,
            or one that cannot be opened.
        """
        self._paths, self._reading = paths, reading
        self.identity = files_identity(paths, root, repr(reading))
        heads = _heads(paths)
        grey = reading.grey or all(head.mode in ("1", "L", "LA") for head in heads)
        if not reading.grey and len(set(reading.ground)) > 1:
            grey = grey and not any(head.transparent for head in heads)
        self._mode = "L" if grey else "RGB"
        self.several_frames = sum(head.frames for head in heads)
        for path, head in zip(paths, heads, strict=True):
            if head.mode[0] in "IF":  # PIL would clip such values at 255
                raise UserError(
                    f"{path} has over 8 bits a pixel; save it with 8, or give an .npy file "
                    "of uint16"
                )
        if reading.size is None:
            _check_sizes([head.size for head in heads], what)
        largest = max(head.size[0] * head.size[1] for head in heads)
        width, height = reading.size or (0, 0)
        small = largest + width * height <= SMALL
        self.workers = 1 if small else MOST_WORKERS
        at_once = min(len(paths), self.workers)
        resized = f" that become {width}x{height}" if reading.size else ""
        memory.check(
            (largest + width * height) * at_once * _WORKING,
            f"{what}: {at_once} pictures at once, of up to {largest:,} pixels{resized},",
        )
        self.shape = self._pixels(0).shape

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The pictures of these numbers, uint8 [n, H, W, C]."""
        images = np.empty((len(rows), *self.shape), np.uint8)
        for at, row in enumerate(rows):
            pixels = self._pixels(int(row))
            if pixels.shape != self.shape:  # turned by what stands behind its pixels
                sizes = [(x.shape[1], x.shape[0]) for x in (images[0], pixels)]
                _refuse_sizes(Counter(sizes), f"{self._paths[0]} and {self._paths[row]}")
            images[at] = pixels
        return {"image": images}

    def name_of(self, row: int) -> str:
        """The file of a row."""
        return str(self._paths[row])

    def _pixels(self, row: int) -> np.ndarray:
        return _pixels(self._paths[row], self._mode, self._reading)


def _heads(paths: Sequence[Path]) -> list[_Head]:
    """The heads of all, by one thread, or by many where it would wait for the disk."""
    first = paths[:100]
    wall, cpu = time.perf_counter(), time.process_time()
    heads = [_head(path) for path in first]
    rest = paths[len(first) :]
    if time.perf_counter() - wall < 2 * (time.process_time() - cpu):
        return heads + list(map(_head, rest))
    with ThreadPoolExecutor(_SLOW_DISK) as pool:
        return heads + list(pool.map(_head, rest))


def _check_sizes(sizes: Sequence[tuple[int, int]], what: str) -> None:
    """Raises UserError for sizes that no turning makes alike."""
    counts = Counter(sizes)
    if len({tuple(sorted(size)) for size in counts}) > 1:
        _refuse_sizes(counts, what)


def _refuse_sizes(counts: Counter[tuple[int, int]], what: str) -> None:
    """Which sizes, how many of each, and one that would do for all."""
    sides = sorted(side for size, n in counts.items() for side in [min(size)] * n)
    proposal = min(64, sides[len(sides) // 2])
    names = (f"{width}x{height} ({n:,})" for (width, height), n in counts.most_common())
    raise UserError(
        f"{what}: pictures of {len(counts):,} sizes, width x height: {listing(names)}; say "
        f"--resize {proposal} to make the shorter side {proposal} and cut out the middle, "
        f"or --resize {proposal}x{proposal} to squeeze them"
    )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A PIL image; whatever a decoder raises is a UserError that names the file."""
    # PIL warns of large pictures, which are bounded here, and of odd metadata. The filter
    # stays: to take it back would do so for the other threads too.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        # Opened here: of a path PIL maps uncompressed pixels, which scrambles turned TIFFs.
        with path.open("rb") as file, Image.open(file, formats=_FORMATS) as image:
            yield image
    except Image.DecompressionBombError as error:
        raise UserError(f"{path} claims too large a picture: {error}") from error
    except Exception as error:  # each format's decoder raises its own kinds
        reason = getattr(error, "strerror", None)
        raise UserError(
            f"{path} cannot be decoded as an image{f' ({reason})' if reason else ''}; mend "
            "or delete it"
        ) from error


def _head(path: Path) -> _Head:
    with _opened(path) as image:
        frames = getattr(image, "is_animated", False)
        return _Head(image.size, image.mode, image.has_transparency_data, frames)


def _pixels(path: Path, mode: str, reading: Reading) -> np.ndarray:
    """uint8 [H, W, C], upright, without alpha, at the size that it gets."""
    with _opened(path) as image:
        image.load()  # turns TIFFs itself; a PNG's EXIF may stand behind its pixels
        turn = _UPRIGHT.get(_orientation(image))
        if turn is not None:
            image = image.transpose(turn)
        if image.has_transparency_data:
            over = image.convert("RGBA")
            under = Image.new("RGBA", over.size, (*reading.ground, 255))
            image = Image.alpha_composite(under, over)
        pixels = np.asarray(reading.resized(image.convert(mode)))
    return pixels.reshape(*pixels.shape[:2], -1)


def _orientation(image: Any) -> Any:
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # broken EXIF turns no picture, in viewers neither
        return None
