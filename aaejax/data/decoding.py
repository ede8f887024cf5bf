"""Pictures from files, as a viewer shows them: turned, on a ground, the first frame."""

import re
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image

from aaejax.data import memory
from aaejax.data.notes import Tell
from aaejax.types import UserError

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
    *(".pgm", ".ppm", ".pnm", ".pbm"),
)
_WORKERS = 8
# Bytes a pixel while one picture is decoded: itself, with alpha, the ground and the two
# blended, of 4 each.
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


def ground(background: str) -> tuple[int, int, int]:
    """The colour (R, G, B), 0..255, of a word or of `#rrggbb`.

    Raises:
      UserError: anything else.
    """
    words = {"white": "#ffffff", "black": "#000000"}
    code = words.get(background, background)
    if not isinstance(code, str) or not re.fullmatch("#[0-9a-fA-F]{6}", code):
        raise UserError(
            f"background is {background!r}: it must be white, black or #rrggbb, as #808080"
        )
    red, green, blue = bytes.fromhex(code[1:])
    return red, green, blue


class _Head(NamedTuple):
    """What the head of a file says, before anything is decoded."""

    size: tuple[int, int]  # before the picture is turned, as EXIF may say after the pixels
    mode: str  # PIL's
    transparent: bool
    frames: bool  # whether there are more than one


def decode(paths: Sequence[Path], background: str, tell: Tell, what: str) -> np.ndarray:
    """Decodes pictures of one size, each as a viewer shows it.

    EXIF orientation is applied, what is transparent is blended with the background, and of
    several frames the first is used.

    Args:
      paths: N regular files, 1 or more.
      background: of what is transparent, see `ground`.
      tell: takes what is to be said.
      what: names the pictures in messages.

    Returns:
      uint8 [N, H, W, C]: C is 3 if any picture or the ground under it is in colour, else 1.

    Raises:
      UserError: pictures of several sizes, of over 8 bits a pixel, more than fit into the
        memory, or one that cannot be decoded.
    """
    colour = ground(background)
    with warnings.catch_warnings(), ThreadPoolExecutor(_WORKERS) as pool:
        # PIL warns of large pictures, which are bounded here, and of odd metadata.
        warnings.simplefilter("ignore")
        heads = list(pool.map(_head, paths))
        grey = all(head.mode in ("1", "L", "LA") for head in heads)
        if len(set(colour)) > 1 and any(head.transparent for head in heads):
            grey = False
        _check_heads(paths, heads, 1 if grey else 3, what)
        mode = "L" if grey else "RGB"
        first = _pixels(paths[0], mode, colour)
        images = np.empty((len(paths), *first.shape), np.uint8)
        images[0] = first

        def fill(number: int) -> None:
            pixels = _pixels(paths[number], mode, colour)
            if pixels.shape != first.shape:
                _refuse_sizes(paths[0], first.shape, paths[number], pixels.shape)
            images[number] = pixels

        for _ in pool.map(fill, range(1, len(paths))):
            pass
    more = sum(head.frames for head in heads)
    if more:
        tell(
            f"{what}: {more:,} of {len(paths):,} pictures have several frames; the first "
            "is used"
        )
    return images


def _check_heads(
    paths: Sequence[Path], heads: Sequence[_Head], channels: int, what: str
) -> None:
    """Refuses by their heads what could not be decoded into one array."""
    (width, height), *_ = heads[0]
    for path, head in zip(paths, heads, strict=True):
        if sorted(head.size) != sorted((width, height)):
            _refuse_sizes(paths[0], (height, width), path, head.size[::-1])
        if head.mode[0] in "IF":  # PIL would clip such values at 255
            raise UserError(f"{path} has over 8 bits a pixel; save it with 8")
    pixels = width * height
    at_once = min(len(paths), _WORKERS) * _WORKING
    memory.check(
        pixels * (channels * len(paths) + at_once),
        f"{what}: {len(paths):,} pictures of {width}x{height}",
    )


def _refuse_sizes(one: Path, shape: Sequence[int], other: Path, its: Sequence[int]) -> None:
    raise UserError(
        f"{one} is {shape[1]}x{shape[0]} but {other} is {its[1]}x{its[0]}; resize all "
        "images to one size"
    )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A PIL image; whatever a decoder raises is a UserError that names the file."""
    try:
        # Opened here: of a path PIL maps uncompressed pixels, which scrambles turned TIFFs.
        with path.open("rb") as file, Image.open(file) as image:
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


def _pixels(path: Path, mode: str, colour: tuple[int, int, int]) -> np.ndarray:
    """uint8 [H, W, C], upright and without alpha."""
    with _opened(path) as image:
        image.load()  # turns TIFFs itself; a PNG's EXIF may stand behind its pixels
        turn = _UPRIGHT.get(_orientation(image))
        if turn is not None:
            image = image.transpose(turn)
        if image.has_transparency_data:
            over = image.convert("RGBA")
            under = Image.new("RGBA", over.size, (*colour, 255))
            image = Image.alpha_composite(under, over)
        pixels = np.asarray(image.convert(mode))
    return pixels.reshape(*pixels.shape[:2], -1)


def _orientation(image: Any) -> Any:
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # broken EXIF turns no picture, in viewers neither
        return None
