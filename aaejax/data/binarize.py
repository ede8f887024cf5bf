"""Grey pixels as bits: the draws that are the same in every run."""

import itertools
import math
from typing import Literal

import numpy as np

from aaejax.data import memory
from aaejax.data.lazy import Images, Rows
from aaejax.types import UserError

Binarize = Literal["no", "static", "dynamic"]
SEED = 2008  # of the draws; another one would be other data
ROWS = 256  # drawn at once


def check_grey(shape: tuple[int, ...], name: str) -> None:
    """Raises UserError where examples of this shape are no grey pictures."""
    if len(shape) != 3:
        raise UserError(
            f"--binarize: {name} are vectors, and it is for grey pictures: leave it out"
        )
    if shape[2] != 1:
        raise UserError(
            f"--binarize: {name} have {shape[2]} channels, and it is for grey pictures: "
            "leave it out, or add --grey"
        )


def bits(images: Images, part: int, what: str) -> Images:
    """Draws each pixel: 1 with its own value as probability (Salakhutdinov & Murray 2008).

    The draws of an example follow from its position and the part alone.

    Args:
      images: The images, [N, ...], uint8 or float32 in [0, 1].
      part: 0 for training examples, 1 for held-out ones.
      what: The name of the images in messages.

    Returns:
      The images as bits, [N, ...], of the same dtype: 0 and 255, or 0.0 and 1.0.
    """
    if isinstance(images, Rows):
        return images.then_by_position(
            lambda rows, positions: _drawn(rows, positions, part),
            f"binarized {part}",
        )
    memory.check(images.nbytes, f"{what} as bits")
    return _drawn(images, np.arange(len(images)), part)


def _drawn(images: np.ndarray, positions: np.ndarray, part: int) -> np.ndarray:
    full = 255 if images.dtype == np.uint8 else 1
    made = np.empty(images.shape, images.dtype)
    # Rows that follow each other are drawn together, as many as are small.
    ends = np.flatnonzero(np.diff(positions) != 1) + 1
    for start, stop in itertools.pairwise([0, *ends.tolist(), len(positions)]):
        for first in range(start, stop, ROWS):
            rows = slice(first, min(first + ROWS, stop))
            uniform = _uniform(int(positions[first]), images[rows].shape, part)
            made[rows] = full * (uniform * full < images[rows])
    return made


def _uniform(position: int, shape: tuple[int, ...], part: int) -> np.ndarray:
    """Numbers in [0, 1) for examples from this position on: float64 of that shape."""
    n, size = shape[0], math.prod(shape[1:])
    draws = -(-size // 4)  # the generator makes four numbers at each count
    # The stream of this generator, unlike what is drawn from one, never changes.
    source = np.random.Philox(key=SEED, counter=[position * draws, 0, part, 0])
    numbers = source.random_raw(n * draws * 4).reshape(n, draws * 4)[:, :size]
    return ((numbers >> 11) * 2.0**-53).reshape(shape)
