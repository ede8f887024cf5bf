"""How data are read: pictures at which size and in which colours, tables by columns."""

import math
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from aaejax.data import memory
from aaejax.data.checks import blocks
from aaejax.data.pictures import picture_files
from aaejax.types import UserError

# Options that say where in a file something is, and of what kind that file is.
PLACES = {
    "label_column": "table",
    "condition_columns": "table",
    "weight_column": "table",
    "key": "HDF5 file",
    "label_key": "HDF5 file",
    "condition_key": ".npz or HDF5 file",
    "weight_key": ".npz or HDF5 file",
}
_MOST_PIXELS = 16_384  # of one side
# What PIL's conversion to "L" takes of red, green and blue, in 65,536ths.
_LUMA = (19595, 38470, 7471)


@dataclass(frozen=True)
class Reading:
    """How data are read.

    Attributes:
      background: The colour that transparent pixels lie on: white, black or #rrggbb.
      resize: The size that pictures get: "64", to make the shorter side 64 pixels and cut
        out the middle, 64x64; "64x48", to make all 64 wide and 48 high whatever their shape
        was; None to leave sizes as they are.
      grey: Whether colours become grey.
      label_column: The name of the column of a table that has the labels.
      standardise: Whether each feature of tables and vectors gets mean 0 and standard
        deviation 1 in the training part.
      key: The name of the array in an HDF5 file that has the examples.
      label_key: The name of the array in an HDF5 file that has the labels.
      condition_columns: The names of the columns of a table that are the condition.
      weight_column: The name of the column of a table that has the weights.
      condition_key: The name of the array in an .npz or HDF5 file that has the conditions.
      weight_key: The name of the array in an .npz or HDF5 file that has the weights.

    Raises:
      UserError: The background or the size is none of these.
    """

    background: str = "white"
    resize: str | None = None
    grey: bool = False
    label_column: str | None = None
    standardise: bool = False
    key: str | None = None
    label_key: str | None = None
    # Not in the repr, which is part of what a cache is known by.
    condition_columns: tuple[str, ...] = field(default=(), repr=False)
    weight_column: str | None = field(default=None, repr=False)
    condition_key: str | None = field(default=None, repr=False)
    weight_key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "resize", _resize_word(self.resize))
        object.__setattr__(self, "condition_columns", tuple(self.condition_columns))
        _ = self.ground

    @property
    def ground(self) -> tuple[int, int, int]:
        """The background as (R, G, B), 0..255."""
        words = {"white": "#ffffff", "black": "#000000"}
        code = words.get(self.background, self.background)
        if not isinstance(code, str) or not re.fullmatch("#[0-9a-fA-F]{6}", code):
            raise UserError(
                f"background is {self.background!r}: it must be white, black or #rrggbb, "
                "as #808080"
            )
        red, green, blue = bytes.fromhex(code[1:])
        return red, green, blue

    @property
    def asked(self) -> dict[str, str]:
        """The names of the arrays of "condition" and "weight" that are to be read."""
        both = {"condition": self.condition_key, "weight": self.weight_key}
        return {kind: name for kind, name in both.items() if name is not None}

    @property
    def cut(self) -> bool:
        """Whether the middle of a picture is cut out before it is resized."""
        return self.resize is not None and "x" not in self.resize

    @property
    def size(self) -> tuple[int, int] | None:
        """The width and height that pictures get; None where they keep theirs."""
        if self.resize is None:
            return None
        width, _, height = self.resize.partition("x")
        return int(width), int(height or width)

    def check_reads(self, what: str, *options: str) -> None:
        """Raises UserError where an option is given that data of this kind have not.

        Args:
          what: The name of the data in the message.
          options: The options that data of this kind have, of those that say where in
            a file something is (`PLACES`).
        """
        for name, kind in PLACES.items():
            if getattr(self, name) and name not in options:
                option = name.replace("_", "-")
                raise UserError(f"{what} is no {kind}: leave --{option} out")

    @property
    def changes(self) -> bool:
        """Whether arrays of pictures become others: they are resized or become grey."""
        return self.resize is not None or self.grey

    def resized(self, image: Any) -> Any:
        """Brings a PIL image to the size that it gets."""
        return picture_files.resized(image, self.size, self.cut)

    def arrays(self, images: np.ndarray, what: str) -> np.ndarray:
        """Resizes pictures and makes them grey, as they are trained on.

        Args:
          images: The pictures as they are, [N, H, W, C], uint8 or float32.
          what: The name of the pictures in messages.

        Returns:
          The pictures as they are trained on, [N, H, W, C], of the same dtype.

        Raises:
          UserError: The examples are vectors, their channels have no grey, or the pictures
            would be larger than the memory that is free.
        """
        if not self.changes:
            return images
        word = "--resize" if self.resize else "--grey"
        if images.ndim != 4:
            raise UserError(f"{what} are vectors: {word} is for images, leave it out")
        channels = images.shape[3]
        to_grey = self.grey and channels != 1
        if to_grey and channels != 3:
            raise UserError(
                f"{what} have {channels} channels: --grey is for the 3 of RGB, leave it out"
            )
        if self.resize is None and not to_grey:
            return images
        width, height = self.size or images.shape[2:0:-1]
        shape = len(images), height, width, 1 if to_grey else channels
        memory.check(math.prod(shape) * images.itemsize, f"{what} of {width}x{height}")
        made = np.empty(shape, images.dtype)
        for start, block in blocks(images):
            part = made[start : start + len(block)]
            block = _luma(block) if to_grey else block
            if self.resize is None:
                part[:] = block
            else:
                self._resize(block, part)
        return made

    def _resize(self, images: np.ndarray, into: np.ndarray) -> None:
        for number, image in enumerate(images):
            for channel in range(image.shape[2]):
                # uint8 becomes PIL's mode L, float32 its mode F.
                one = Image.fromarray(np.ascontiguousarray(image[..., channel]))
                into[number, ..., channel] = np.asarray(self.resized(one))


def _luma(images: np.ndarray) -> np.ndarray:
    """RGB [N, H, W, 3] -> grey [N, H, W, 1], uint8 as PIL does it."""
    if images.dtype == np.uint8:
        total = images.astype(np.uint32) @ np.array(_LUMA, np.uint32) + 2**15
        return (total >> 16).astype(np.uint8)[..., None]
    return (images @ (np.array(_LUMA, np.float32) / 2**16))[..., None]


def _resize_word(resize: Any) -> str | None:
    if resize is None:
        return None
    word = str(resize).strip()
    sides = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", word)
    if not sides or any(not 1 <= int(s) <= _MOST_PIXELS for s in sides.groups() if s):
        raise UserError(
            f"resize is {word!r}: it must be a side, as 64, or width x height, as 64x48, "
            f"of 1 to {_MOST_PIXELS:,} pixels"
        )
    return word
