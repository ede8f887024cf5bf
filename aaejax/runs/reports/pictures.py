"""Arrays -> PNG."""

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from aaejax.types import printable

BORDER = 2  # white pixels between images

File = Path | BinaryIO  # of the PNG: a path, or open for writing bytes


def write_grid(file: File, images: np.ndarray, columns: int | None = None) -> None:
    """Writes images in rows, small ones enlarged by whole factors.

    Args:
      file: The path of the PNG, or a file open for writing bytes.
      images: The images [N, H, W, C], clipped to [0, 1]; of their channels those of
        `shown_channels` are seen.
      columns: The number of images in a row; by default all is as square as can be.
    """
    images = images[..., : shown_channels(images.shape[3])]
    n, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    pixels = np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)
    sheet = np.full(
        (rows * (height + BORDER) + BORDER, columns * (width + BORDER) + BORDER, channels),
        255,
        np.uint8,
    )
    for number, image in enumerate(pixels):
        row, column = divmod(number, columns)
        top, left = BORDER + row * (height + BORDER), BORDER + column * (width + BORDER)
        sheet[top : top + height, left : left + width] = image
    picture = Image.fromarray(sheet[..., 0] if channels == 1 else sheet)
    factor = max(1, round(640 / picture.width))
    size = (picture.width * factor, picture.height * factor)
    picture.resize(size, Image.Resampling.NEAREST).save(file, "PNG")


def shown_channels(channels: int) -> int:
    """How many channels a picture shows, the first ones: 1 or 3."""
    return 3 if channels >= 3 else 1


def tell_of_channels(channels: int, tell: Callable[[str], None]) -> None:
    """Says which channels pictures show, where these are not all."""
    shown = shown_channels(channels)
    if shown != channels:
        which = "the first" if shown == 1 else "the first 3, as red, green and blue"
        tell(f"pictures show {which}, of {channels} channels")


def write_pairs(file: File, originals: np.ndarray, made: np.ndarray) -> None:
    """Writes rows of ten originals, each row over the row of what was made of them.

    Args:
      file: The path of the PNG, or a file open for writing bytes.
      originals: The original images, [N, H, W, C].
      made: The image that was made of each, [N, H, W, C].
    """
    columns = min(10, len(originals))
    # White where the last row has no images, so that each stands under its original.
    empty = np.ones((-len(originals) % columns, *originals.shape[1:]), originals.dtype)
    parts = [np.concatenate([part, empty]) for part in (originals, made)]
    rows = [part.reshape(-1, columns, *part.shape[1:]) for part in parts]
    sheet = np.stack(rows, axis=1)  # [rows, 2, columns, H, W, C]
    write_grid(file, sheet.reshape(-1, *sheet.shape[3:]), columns)


def write_rows(file: File, images: np.ndarray) -> None:
    """Writes images [rows, columns, H, W, C] as they stand."""
    write_grid(file, images.reshape(-1, *images.shape[2:]), images.shape[1])


def write_scatter(
    file: File,
    codes: np.ndarray,
    labels: np.ndarray | None,
    prior: np.ndarray,
    class_names: tuple[str, ...] = (),
) -> None:
    """Draws codes in the plane, coloured by label, over samples of the prior in grey.

    Args:
      file: The path of the PNG, or a file open for writing bytes.
      codes: The codes, [N, 2].
      labels: The label of each code, [N], or None.
      prior: The samples of the prior, [M, 2].
      class_names: The names of the classes, for the legend.
    """
    from matplotlib.figure import Figure  # over a second: only 2-D codes pay for it

    figure = Figure(figsize=(7, 6.2), layout="constrained")
    axes = figure.add_subplot(xlabel="z1", ylabel="z2", aspect="equal")
    points = [axes.scatter(*prior.T, s=3, color="0.8")]
    names = ["prior"]
    if labels is None:
        points.append(axes.scatter(*codes.T, s=4, color="C0"))
        names.append("codes")
    else:
        for number, label in enumerate(np.unique(labels)):
            chosen = codes[labels == label]
            points.append(axes.scatter(*chosen.T, s=4, color=f"C{number % 10}"))
            known = 0 <= label < len(class_names)
            names.append(class_names[label] if known else str(label))
    # Outside the axes, and at most thirty names: a legend of hundreds hides the picture.
    legend = axes.legend(points[:30], [""] * len(points[:30]), markerscale=4,
                         loc="center left", bbox_to_anchor=(1, 0.5))  # fmt: skip
    # Set here, since a legend leaves out names that start with "_"; $ is no mathematics.
    for text, name in zip(legend.get_texts(), names, strict=False):
        text.set(parse_math=False, text=shortened(name))
    with warnings.catch_warnings():  # a character that the font lacks is drawn as a box
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        # Tight: else the legend may be cut.
        figure.savefig(file, format="png", dpi=100, bbox_inches="tight")


def shortened(name: str) -> str:
    """A name as text of at most 40 characters, all of them visible."""
    text = printable(name)
    return text if len(text) <= 40 else text[:39] + "\u2026"
