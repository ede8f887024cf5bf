"""Images and vectors from outside, checked: dtype, shape, range."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from aaejax.data import memory
from aaejax.types import UserError

# Of a dtype: the most that values of a narrower one reach, its own white, that one.
_NARROWER = {
    np.dtype(np.uint8): (1, 255, "x.astype(bool)"),
    np.dtype(np.uint16): (255, 65535, "x.astype(np.uint8)"),
}


def blocks(x: Any) -> Iterator[tuple[int, np.ndarray]]:
    """Yields pieces of about 64 MB with their first index: all may be more than the RAM."""
    size = max(1, 2**26 // max(1, x[:1].nbytes))
    for start in range(0, len(x), size):
        yield start, x[start : start + size]


def as_array(value: Any, what: str) -> np.ndarray:
    """Makes an array of what may be a list; a memory map stays one.

    Raises:
      UserError: Some values are masked, or rows differ in shape.
    """
    masked = [value] if isinstance(value, np.ndarray) else value
    if isinstance(masked, list | tuple) and any(map(np.ma.is_masked, masked)):
        raise UserError(
            f"{what} have masked values; fill them by x.filled(...) (labels by -1, for "
            "unknown), or leave those examples out"
        )
    if isinstance(value, np.ma.MaskedArray):  # of which nothing is masked
        return value.data
    if isinstance(value, np.ndarray):  # np.asarray would turn a memmap into a plain array
        return value
    try:
        return np.asarray(value)
    except ValueError as error:  # a ragged list
        raise UserError(
            f"{what} differ in shape from one another; pass one array [N, ...]"
        ) from error


def check_images(value: Any, what: str, missing: bool = False) -> np.ndarray:
    """Checks images or vectors that the user gives.

    Args:
      value: An array, or what becomes one.
      what: The name of the array in messages.
      missing: Whether NaN stands for a value that is missing.

    Returns:
      Images [N, H, W, C] or vectors [N, features], uint8 or float32.

    Raises:
      UserError: The dtype, the shape or a value is none that examples have.
    """
    x = as_array(value, what)
    check_kind(x, what)
    check_white((block for _, block in blocks(x)), x.dtype, what)
    if x.dtype not in (np.uint8, np.float32):
        memory.check(4 * x.size, f"{what} as float32")
    x = converted(x)
    if x.dtype != np.uint8:
        check_values(x, what, x.ndim == 4, missing)
    return x


def check_white(pieces: Iterable[np.ndarray], dtype: np.dtype, what: str) -> None:
    """Raises UserError for integers that are those of a narrower dtype: nearly black.

    Args:
      pieces: All values, in pieces; they are read up to the first that is brighter.
      dtype: The dtype of the values.
      what: The name of the values in messages.
    """
    if dtype not in _NARROWER:
        return
    most, white, narrower = _NARROWER[dtype]
    high = 0
    for piece in pieces:
        high = max(high, int(piece.max()))
        if high > most:
            return
    if high:
        raise UserError(
            f"{what} are {dtype} but reach only {high}, where white is {white}; pass "
            f"{narrower}"
        )


def check_kind(x: np.ndarray, what: str) -> None:
    """Raises UserError for a dtype or a shape that no examples have."""
    if x.dtype not in (np.uint8, np.uint16, np.bool_) and x.dtype.kind != "f":
        hint = "; if they lie in 0..255 pass x.astype(np.uint8)" * (x.dtype.kind in "iu")
        if hint and x.ndim == 2:
            hint += ", if they are counts x.astype(np.float32)"
        raise UserError(
            f"{what} are {x.dtype}; allowed are uint8, uint16, bool, float{hint}"
        )
    if x.ndim not in (2, 3, 4) or x.size == 0:
        raise UserError(
            f"{what} have shape {x.shape}; allowed are [N, H, W, C], [N, H, W] and "
            "vectors [N, features], none of them 0: reshape them"
        )
    # A picture is rarely as low as it has channels.
    if x.ndim == 4 and x.shape[1] in (1, 3, 4) and x.shape[3] > 4:
        raise UserError(
            f"{what} have shape {x.shape}, that is {x.shape[3]} channels; if they are "
            "[N, C, H, W] pass x.transpose(0, 2, 3, 1)"
        )


def converted(x: np.ndarray) -> np.ndarray:
    """Makes uint8 or float32 of examples of any allowed kind; grey ones get a channel.

    uint16 becomes float32 in [0, 1], by 65535; bool becomes 0.0 and 1.0.
    """
    if x.ndim == 3:
        x = x[..., None]
    if x.dtype == np.uint8:
        return x
    with np.errstate(over="ignore"):  # what float32 cannot hold is reported as inf
        made = x.astype(np.float32, copy=False)
    return made / np.float32(65535) if x.dtype == np.uint16 else made


def check_values(x: np.ndarray, what: str, unit_range: bool, missing: bool = False) -> None:
    """Raises UserError for floats that are not finite, or not in [0, 1] where they must be.

    With `missing`, NaN stands for a missing value and is allowed.
    """
    bad, first, low, high = 0, None, np.inf, -np.inf
    for start, block in blocks(x):
        finite = ~np.isinf(block) if missing else np.isfinite(block)
        if not finite.all():
            bad += int((~finite).sum())
            if first is None:
                where = np.argwhere(~finite)[0].tolist()
                first = [where[0] + start, *where[1:]]
        else:
            least, most = extremes(block)
            low, high = min(low, least), max(high, most)
    if bad:
        raise UserError(
            f"{what} hold {bad} values that are NaN or infinite, the first at index "
            f"{first}; replace or leave them out"
        )
    if unit_range and (low < 0 or high > 1):
        hint = "scale them, or np.clip(x, 0, 1) if it is rounding"
        if low >= 0 and 2 < high <= 255:
            hint = "they look like 0..255: divide by 255 or pass uint8"
        elif low >= -1 and high <= 1:
            hint = "they look like -1..1: pass (x + 1) / 2"
        raise UserError(
            f"{what} lie in [{low:.9g}, {high:.9g}]; float images must lie in "
            f"[0, 1]: {hint}"
        )


def are_counts(x: np.ndarray) -> bool:
    """Whether all values are whole numbers from 0 on."""
    return all(
        bool((block >= 0).all() and (block == np.floor(block)).all())
        for _, block in blocks(x)
    )


def check_counts(x: np.ndarray, what: str) -> np.ndarray:
    """Returns the values as they are; raises UserError where some are no counts."""
    for start, block in blocks(x):
        bad = (block < 0) | (block != np.floor(block))
        if bad.any():
            row, column = np.argwhere(bad)[0].tolist()
            where = f", row {start + row}" * (len(x) > 1)
            raise UserError(
                f"{what}{where}: {block[row, column]:.9g}, feature {column}, is no count: "
                "counts are whole numbers from 0 on"
            )
    return x


def extremes(x: np.ndarray) -> tuple[float, float]:
    """Finds the smallest and the largest value of those that are not NaN."""
    low, high = float(x.min()), float(x.max())
    if np.isnan(low):  # these take longer
        low, high = (float(f.reduce(x, axis=None)) for f in (np.fmin, np.fmax))
    return low, high
