"""A picture in a file, as a viewer shows it; also a program that reads many.

The program is what `decoders.py` starts. It imports nothing of this package, whose own
import takes a second and JAX. It reads pickled requests from its standard input until
that ends, as it does with the process that started it, however that ends.
"""

import os
import pickle
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image

# Whatever a file is called: of other decoders some start programs, as that of PostScript.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)  # of these: width and height change places


class UnreadableError(ValueError):
    """A file that is no picture; its message is one line that names it."""


class Head(NamedTuple):
    """What the head of a file says, before anything is decoded."""

    size: tuple[int, int]  # before the picture is turned, as EXIF may say after the pixels
    mode: str  # PIL's; "I" too where there are over 8 bits of several colours
    transparent: bool
    frames: bool  # whether there are more than one


class How(NamedTuple):
    """How pictures are made of files.

    Attributes:
      mode: The mode of PIL that they get, "L" or "RGB".
      ground: The colour that transparent pixels lie on, (R, G, B) of 0..255.
      size: The width and height that they get; None where they keep theirs.
      cut: Whether the middle is cut out first, as wide as high.
    """

    mode: str
    ground: tuple[int, int, int]
    size: tuple[int, int] | None
    cut: bool


def heads(paths: list[Path]) -> list[Head]:
    """Reads the heads of all files; raises UnreadableError for one that is no picture."""
    return list(map(_head, paths))


def upright_sizes(paths: list[Path]) -> list[tuple[int, int]]:
    """Width and height of each once it is turned; those of a PNG need its decoding."""
    return list(map(_upright_size, paths))


def decoded(paths: list[Path], how: How) -> list[np.ndarray]:
    """Decodes pictures: [H, W, C], uint8, each, upright, without alpha, at its new size.

    Raises:
      UnreadableError: A file is no picture.
    """
    return [_pixels(path, how) for path in paths]


def resized(image: Any, size: tuple[int, int] | None, cut: bool) -> Any:
    """Brings a PIL image to the size that it gets; the arguments are as in `How`."""
    if size is None or size == image.size:
        return image
    box = None
    if cut:
        side = min(image.size)
        left, top = ((length - side) / 2 for length in image.size)
        box = (left, top, left + side, top + side)
    # Linear: it leaves no value outside of the range of those that it is made from.
    return image.resize(size, Image.Resampling.BILINEAR, box)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A PIL image; whatever a decoder raises is an UnreadableError that names the file."""
    # PIL warns of large pictures, which are bounded here, and of odd metadata. The filter
    # stays: to take it back would do so for the other threads too.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        # Opened here: of a path PIL maps uncompressed pixels, which scrambles turned TIFFs.
        with path.open("rb") as file, Image.open(file, formats=_FORMATS) as image:
            yield image
    except Image.DecompressionBombError as error:
        raise UnreadableError(f"{path} claims too large a picture: {error}") from error
    except Exception as error:  # each format's decoder raises its own kinds
        reason = getattr(error, "strerror", None)
        raise UnreadableError(
            f"{path} cannot be decoded as an image{f' ({reason})' if reason else ''}; mend "
            "or delete it"
        ) from error


def _head(path: Path) -> Head:
    with _opened(path) as image:
        frames = getattr(image, "is_animated", False)
        # Of colours with 16 bits PIL would drop the lower ones.
        deep = any(";16" in str(tile[3]) for tile in image.tile)
        mode = "I" if deep else image.mode
        return Head(image.size, mode, image.has_transparency_data, frames)


def _upright_size(path: Path) -> tuple[int, int]:
    with _opened(path) as image:
        width, height = image.size
        # PIL gives the size of a TIFF as it is once it is turned.
        turned = image.format != "TIFF" and _orientation(image) in _SIDEWAYS
        return (height, width) if turned else (width, height)


def _pixels(path: Path, how: How) -> np.ndarray:
    with _opened(path) as image:
        image.load()  # turns TIFFs itself; a PNG's EXIF may stand behind its pixels
        turn = _UPRIGHT.get(_orientation(image))
        if turn is not None:
            image = image.transpose(turn)
        if image.has_transparency_data:
            over = image.convert("RGBA")
            under = Image.new("RGBA", over.size, (*how.ground, 255))
            image = Image.alpha_composite(under, over)
        pixels = np.asarray(resized(image.convert(how.mode), how.size, how.cut))
    return pixels.reshape(*pixels.shape[:2], -1)


def _orientation(image: Any) -> Any:
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # broken EXIF turns no picture, in viewers neither
        return None


def _serve() -> None:
    """Answers requests, (name of a function, its arguments), until there are no more."""
    # Ctrl-C is sent to all; who started this one decides, and its end is the end of input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests = sys.stdin.buffer
    # What a decoder prints must not come between the answers.
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        # Plain tuples: the classes of this program are nobody else's.
        functions = {
            "heads": lambda paths: list(map(tuple, heads(paths))),
            "decoded": lambda paths, how: decoded(paths, How(*how)),
        }
        while True:
            try:
                name, arguments = pickle.load(requests)
            except EOFError:
                return
            try:
                answer: Any = functions[name](*arguments)
            except UnreadableError as error:
                answer = str(error)
            pickle.dump(answer, answers, protocol=5)
            answers.flush()


if __name__ == "__main__":
    try:
        _serve()
    except BrokenPipeError:
        os._exit(0)  # nobody reads answers any more, and there is nothing to clean up
